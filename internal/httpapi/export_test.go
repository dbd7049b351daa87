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
)

// Patterns lists the routes of both listeners.
func Patterns(s *Server) []string {
	return slices.Sorted(func(yield func(string) bool) {
		for pattern := range maps.Keys(s.routes()) {
			// The document has no way to say that a path ends here.
			if !yield(strings.TrimSuffix(pattern, "{$}")) {
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

// ServeWith is Serve with a changed server.
func ServeWith(ctx context.Context, listener net.Listener, handler http.Handler, log *zap.Logger, change func(*http.Server)) error {
	server := newHTTPServer(ctx, handler, log)
	change(server)
	return run(ctx, server, listener, log)
}
