package httpapi

import (
	"context"
	"net/http"
	"time"
)

// Daemon says who answers.
type Daemon struct {
	SID     string `json:"sid"`
	Version string `json:"version"`
	// StartedAt is when this process began to serve.
	StartedAt time.Time `json:"started_at"`
	// Time is the daemon's clock, by which all times of the interface go.
	Time time.Time `json:"time"`
}

func (s *Server) showDaemon(w http.ResponseWriter, _ *http.Request) error {
	daemon := s.options.Daemon
	daemon.Time = time.Now().UTC()
	s.writeJSON(w, http.StatusOK, daemon)
	return nil
}

// Daemon asks who answers.
func (c *Client) Daemon(ctx context.Context) (Daemon, error) {
	return call[Daemon](ctx, c, http.MethodGet, "/v1/daemon", nil, nil)
}

// mountPage serves the status page, if there is one, beside the interface.
func (s *Server) mountPage() {
	if s.options.Page == nil {
		return
	}
	for _, pattern := range []string{"GET /{$}", "GET /page/{file...}"} {
		s.mux.Handle(pattern, s.options.Page)
	}
}
