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

// documented is a pattern as the document has it, which has no way to say where a
// path ends.
func documented(pattern string) string {
	return strings.ReplaceAll(strings.TrimSuffix(pattern, "{$}"), "...}", "}")
}

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

// MaxStreamsOfOne is how many event streams an identity may have.
const MaxStreamsOfOne = maxStreamsOfOne

// MaxEventStreams is how many may follow all jobs at once.
const MaxEventStreams = maxEventStreams

// DialWith has a client reach its daemon by dial.
func (c *Client) DialWith(dial func() net.Conn) {
	c.http.Transport.(*http.Transport).DialContext = func(context.Context, string, string) (net.Conn, error) { return dial(), nil }
}

// Shared is shared.
type Shared[T any] struct{ shared[T] }

// Do is do.
func (s *Shared[T]) Do(ctx context.Context, key string, look func(context.Context) (T, error)) (T, error) {
	return s.do(ctx, key, look)
}
