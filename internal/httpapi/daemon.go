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
	// DrainingSince is when the daemon was drained: it takes no jobs any more.
	DrainingSince time.Time `json:"draining_since,omitzero"`
	// Time is the daemon's clock, by which all times of the interface go.
	Time time.Time `json:"time"`
}

func (s *Server) showDaemon(w http.ResponseWriter, _ *http.Request) error {
	daemon := s.options.Daemon
	daemon.Time, daemon.DrainingSince = time.Now().UTC(), s.options.DrainingSince()
	s.writeJSON(w, http.StatusOK, daemon)
	return nil
}

func (s *Server) showPage(w http.ResponseWriter, r *http.Request) error {
	if s.options.Page == nil {
		return newProblem(http.StatusNotFound, "unknown_path", "No status page", "this daemon has none")
	}
	s.options.Page.ServeHTTP(w, r)
	return nil
}

// Daemon asks who answers.
func (c *Client) Daemon(ctx context.Context) (Daemon, error) {
	return call[Daemon](ctx, c, http.MethodGet, "/v1/daemon", nil, nil)
}
