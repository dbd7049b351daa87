package httpapi

import (
	"context"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/internal/access"
)

// documented is a pattern as the document has it, which has no way to say that a
// path ends here.
func documented(pattern string) string { return strings.TrimSuffix(pattern, "{$}") }

// Patterns lists the routes of both listeners.
func Patterns(s *Server) []string {
	return slices.Sorted(func(yield func(string) bool) {
		for pattern := range maps.Keys(s.routes()) {
			if !yield(documented(pattern)) {
				return
			}
		}
		for pattern := range maps.Keys(opsRoutes(prometheus.NewRegistry(), Probes{}, zap.NewNop())) {
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
		words[documented(pattern)] = role.String()
	}
	return words
}

// JobPatterns lists the routes of the interface for jobs.
func JobPatterns(s *Server) []string {
	var patterns []string
	for _, pattern := range slices.Sorted(maps.Keys(s.routes())) {
		patterns = append(patterns, documented(pattern))
	}
	return patterns
}

// RoleOf is roleOf.
func RoleOf(pattern string) access.Role { return roleOf(pattern) }

// MaxConnections is maxConnections.
const MaxConnections = maxConnections

// ServeWith is Serve with a changed server.
func ServeWith(ctx context.Context, listener net.Listener, handler http.Handler, log *zap.Logger, change func(*http.Server)) error {
	server := newHTTPServer(ctx, handler, log)
	change(server)
	return run(ctx, server, listener, log)
}
