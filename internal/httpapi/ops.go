package httpapi

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"
)

// readyTimeout bounds one answer of /readyz.
const readyTimeout = 5 * time.Second

// Health is the answer of /healthz and /readyz.
type Health struct {
	Status string `json:"status"`
	// Reason says why the daemon is not ready.
	Reason string `json:"reason,omitempty"`
}

// Ops serves /metrics, /healthz and /readyz: for a listener of its own, without
// authentication, and without anything that changes a job. /healthz answers as
// long as the process does and depends on nothing else: restarting pipestreamer
// because HANA or the store is away would only break a running backup.
func Ops(gatherer prometheus.Gatherer, ready func(context.Context) error, log *zap.Logger) http.Handler {
	mux := http.NewServeMux()
	for pattern, handler := range opsRoutes(gatherer, ready, log.Named("httpapi")) {
		mux.Handle(pattern, handler)
	}
	return mux
}

func opsRoutes(gatherer prometheus.Gatherer, ready func(context.Context) error, log *zap.Logger) map[string]http.Handler {
	answer := func(w http.ResponseWriter, status int, health Health) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		if err := json.NewEncoder(w).Encode(health); err != nil {
			log.Debug("a client went away", zap.Error(err))
		}
	}
	return map[string]http.Handler{
		"GET /metrics": promhttp.HandlerFor(gatherer, promhttp.HandlerOpts{ErrorLog: zap.NewStdLog(log)}),
		"GET /healthz": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			answer(w, http.StatusOK, Health{Status: "ok"})
		}),
		"GET /readyz": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
			defer cancel()
			if err := ready(ctx); err != nil {
				answer(w, http.StatusServiceUnavailable, Health{Status: "not ready", Reason: err.Error()})
				return
			}
			answer(w, http.StatusOK, Health{Status: "ready"})
		}),
	}
}
