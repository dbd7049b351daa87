package httpapi

import (
	"context"
	"net/http"
	"strings"

	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/internal/job"
)

// NewStarting returns a Server for the time in which there are no jobs yet, for
// example because the store cannot be opened. What needs them is answered with 503
// and the reason, which is asked for with each request; the rest is as with [New].
func NewStarting(reason func() error, options Options, log *zap.Logger, metrics *Metrics) *Server {
	s := newServer(nil, options, log, metrics)
	notYet := func(http.ResponseWriter, *http.Request) error {
		p := newProblem(http.StatusServiceUnavailable, "starting", "The daemon is starting", reason().Error())
		p.Hint = "mend what it names, or send the request again later, with the same idempotency key"
		return p
	}
	for pattern, handle := range s.routes() {
		if needsJobs(pattern) {
			handle = notYet
		}
		s.serve(pattern, handle)
	}
	return s
}

// needsJobs says whether a route can be served only once there are jobs.
func needsJobs(pattern string) bool {
	_, path, _ := strings.Cut(pattern, " ")
	return strings.HasPrefix(path, "/v1/") && path != "/v1/drain" && path != "/v1/daemon"
}

func (s *Server) drain(w http.ResponseWriter, _ *http.Request) error {
	running := s.options.Drain()
	if running == nil {
		running = []job.Record{}
	}
	s.writeJSON(w, http.StatusAccepted, jobList{Jobs: running})
	return nil
}

// Drain lets the daemon take no new jobs from now on, and returns those that
// still run. Nothing but a restart undoes it.
func (c *Client) Drain(ctx context.Context) ([]job.Record, error) {
	list, err := call[jobList](ctx, c, http.MethodPost, "/v1/drain", nil, nil)
	return list.Jobs, err
}
