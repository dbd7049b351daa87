package httpapi

import (
	"context"
	"maps"
	"net"
	"net/http"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
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

// ServeWith is Serve with a changed server.
func ServeWith(ctx context.Context, listener net.Listener, handler http.Handler, log *zap.Logger, change func(*http.Server)) error {
	server := newServer(ctx, handler, log)
	change(server)
	return run(ctx, server, listener, log)
}

// MaxEventStreams is how many may follow all jobs at once.
const MaxEventStreams = maxEventStreams

// Shared is shared.
type Shared[T any] struct{ shared[T] }

// Do is do.
func (s *Shared[T]) Do(ctx context.Context, key string, look func(context.Context) (T, error)) (T, error) {
	return s.do(ctx, key, look)
}
