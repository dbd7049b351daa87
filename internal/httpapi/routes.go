package httpapi

import (
	"net/http"

	"github.com/pipestreamer/pipestreamer/internal/access"
)

// handler answers a request or returns why it did not.
type handler func(w http.ResponseWriter, r *http.Request) error

// routes are all routes of the interface, by pattern of http.ServeMux.
func (s *Server) routes() map[string]handler {
	return map[string]handler{
		"POST /v1/backups":         s.startBackup,
		"POST /v1/restores":        s.startRestore,
		"POST /v1/verifications":   s.startVerification,
		"POST /v1/probes":          s.startProbe,
		"GET /v1/jobs":             s.listJobs,
		"GET /v1/jobs/{id}":        s.showJob,
		"DELETE /v1/jobs/{id}":     s.cancelJob,
		"GET /v1/jobs/{id}/events": s.followJob,
		"GET /v1/events":           s.followJobs,
		"GET /v1/daemon":           s.showDaemon,
		"GET /v1/backups":          s.listBackups,
		"GET /v1/backups/{id}":     s.showBackup,
		"GET /v1/logs":             s.listLogs,
		"GET /v1/recovery":         s.showRecovery,
		"GET /v1/bandwidth":        s.showBandwidth,
		"PUT /v1/bandwidth":        s.setBandwidth,
		"POST /v1/drain":           s.drain,

		"GET /{$}":            s.showPage,
		"GET /page/{file...}": s.showPage,

		"GET /debug/config":          s.showConfig,
		"GET /debug/pprof/{$}":       s.listProfiles,
		"GET /debug/pprof/{profile}": s.showProfile,
	}
}

// routeRoles is the role that each route needs. One that is not named here
// needs an operator.
func routeRoles() map[string]access.Role {
	return map[string]access.Role{
		"POST /v1/backups":         access.Trigger,
		"POST /v1/verifications":   access.Trigger,
		"POST /v1/restores":        access.Operator,
		"POST /v1/probes":          access.Operator,
		"GET /v1/jobs":             access.Reader,
		"GET /v1/jobs/{id}":        access.Reader,
		"DELETE /v1/jobs/{id}":     access.Trigger, // only what it has asked for: cancelJob
		"GET /v1/jobs/{id}/events": access.Reader,
		"GET /v1/backups":          access.Reader,
		"GET /v1/backups/{id}":     access.Reader,
		"GET /v1/logs":             access.Reader,
		"GET /v1/recovery":         access.Reader,
		"GET /v1/bandwidth":        access.Reader,
		"PUT /v1/bandwidth":        access.Operator,
		"POST /v1/drain":           access.Operator,
		"GET /v1/events":           access.Reader,
		"GET /v1/daemon":           access.Reader,

		"GET /{$}":            access.Reader,
		"GET /page/{file...}": access.Reader,

		"GET /debug/config":          access.Operator,
		"GET /debug/pprof/{$}":       access.Operator,
		"GET /debug/pprof/{profile}": access.Operator,
	}
}

// roleOf is the role that a route needs.
func roleOf(pattern string) access.Role {
	if role, named := routeRoles()[pattern]; named {
		return role
	}
	return access.Operator
}
