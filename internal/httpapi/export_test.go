package httpapi

import (
	"context"
	"maps"
	"net"
	"net/http"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/internal/access"
)

// Patterns lists the routes of both listeners.
func Patterns(s *Server) []string {
	return slices.Sorted(func(yield func(string) bool) {
		for pattern := range maps.Keys(s.routes()) {
			if !yield(pattern) {
				return
			}
		}
		for pattern := range maps.Keys(opsRoutes(prometheus.NewRegistry(), nil, zap.NewNop())) {
			if !yield(pattern) {
				return
			}
		}
	})
}

// RouteRoles is routeRoles, by the words for roles.
func RouteRoles() map[string]string {
	words := map[string]string{}
	for pattern, role := range routeRoles() {
		words[pattern] = role.String()
	}
	return words
}

// JobPatterns lists the routes of the interface for jobs.
func JobPatterns(s *Server) []string { return slices.Sorted(maps.Keys(s.routes())) }

// RoleOf is roleOf.
func RoleOf(pattern string) access.Role { return roleOf(pattern) }

// MaxConnections is maxConnections.
const MaxConnections = maxConnections

// ServeWith is Serve with a changed server.
func ServeWith(ctx context.Context, listener net.Listener, handler http.Handler, log *zap.Logger, change func(*http.Server)) error {
	server := newServer(ctx, handler, log)
	change(server)
	return run(ctx, server, listener, log)
}
