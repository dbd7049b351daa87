package httpapi

import (
	"context"
	"net/http"
	"strings"

	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/internal/access"
	"github.com/pipestreamer/pipestreamer/internal/job"
)

// auditEntry is what becomes known of a request while it is answered, for its
// line in the audit log. It belongs to the goroutine that answers.
type auditEntry struct {
	identity string
	role     access.Role
	refused  access.Reason
	cause    string
	jobID    string
	database string
	key      string
	problem  string
}

type entryKey struct{}

func withEntry(ctx context.Context, e *auditEntry) context.Context {
	return context.WithValue(ctx, entryKey{}, e)
}

// entryOf returns the entry of a request; outside of one, one that nobody reads.
func entryOf(ctx context.Context) *auditEntry {
	if e, is := ctx.Value(entryKey{}).(*auditEntry); is {
		return e
	}
	return new(auditEntry)
}

// concerns notes the job that a request started or changed.
func (e *auditEntry) concerns(record *job.Record) { e.jobID, e.database = record.ID, record.Database }

// writeNoted writes a problem that the audit log tells of.
func (s *Server) writeNoted(w http.ResponseWriter, r *http.Request, p *Problem) {
	e := entryOf(r.Context())
	e.problem = strings.TrimPrefix(p.Type, problemType)
	if e.jobID == "" {
		e.jobID = p.JobID
	}
	s.writeProblem(w, p)
}

// audit writes one line for each request that changes something or was refused
// it, for each that looks behind the interface (/debug/), and for those that only
// look with credentials that do not suffice: whoever guesses or pries leaves a
// trace. Of those that look, and of those that come too often, only some are told
// of, so that they do not fill the log.
func (s *Server) audit(r *http.Request, e *auditEntry, status int) {
	switch {
	case e.refused == "" && strings.HasPrefix(r.Pattern, "GET /debug/"):
		s.writeAudit(r, e, status) // a profile costs time, a trace and the settings tell much
	case access.Safe(r.Method) || r.Method == http.MethodOptions:
		// Browsers look without credentials first.
		if e.refused != "" && e.refused != access.NoCredentials {
			s.looked.Do(func() { s.writeAudit(r, e, status) })
		}
	case e.refused == access.TooManyFailures || e.refused == access.TooManyRequests || e.refused == access.ReviewUnavailable:
		s.tooMany.Do(func() { s.writeAudit(r, e, status) })
	default:
		s.writeAudit(r, e, status)
	}
}

func (s *Server) writeAudit(r *http.Request, e *auditEntry, status int) {
	_, pattern := s.mux.Handler(r) // known also when the request was refused before it was routed
	_, route, _ := strings.Cut(pattern, " ")
	fields := []zap.Field{
		zap.String("identity", e.identity), zap.Stringer("role", e.role), zap.String("remote", r.RemoteAddr),
		zap.String("method", r.Method), zap.String("route", route), zap.Int("status", status),
	}
	for _, f := range []struct{ key, text string }{
		{"job_id", e.jobID}, {"database", e.database}, {"idempotency_key", e.key}, {"problem", e.problem}, {"refused", string(e.refused)}, {"cause", e.cause},
	} {
		if f.text != "" {
			fields = append(fields, zap.String(f.key, f.text))
		}
	}
	s.auditLog.Info("call", fields...)
}
