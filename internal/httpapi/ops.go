package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"
)

// readyTimeout bounds one answer of /readyz.
const readyTimeout = 5 * time.Second

// readyKept is how long the answer of a shared look holds.
const readyKept = 2 * time.Second

// ShareLook is for the part of [Probes.Ready] that costs something: who asks for
// /readyz is not known, nor how often. Those who ask at a time share one look, whose
// answer holds for two seconds.
func ShareLook(look func(context.Context) error, log *zap.Logger, metrics *Metrics) func(context.Context) error {
	return (&readiness{look: look, log: log.Named("httpapi"), metrics: metrics}).ask
}

// readiness asks once for all who want to know at a time, and a little later.
type readiness struct {
	look    func(context.Context) error
	log     *zap.Logger
	metrics *Metrics
	shared  shared[struct{}]
	// What was found, and when. Only one looks at a time.
	at  time.Time
	err error
}

func (r *readiness) ask(ctx context.Context) error {
	_, err := r.shared.do(ctx, "", func(ctx context.Context) (struct{}, error) {
		if !r.at.IsZero() && time.Since(r.at) < readyKept {
			return struct{}{}, r.err
		}
		err := r.look(ctx)
		if errors.Is(ctx.Err(), context.Canceled) { // it says that somebody left, and nothing of us
			return struct{}{}, err
		}
		r.at, r.err = time.Now(), err
		return struct{}{}, err
	})
	if look, is := errors.AsType[*lookPanic](err); is {
		r.metrics.panics.Inc()
		r.log.Error("a look for /readyz ended in a panic", zap.Any("panic", look.cause), zap.ByteString("stack", look.stack))
	}
	return err
}

// Probes answer for the daemon's state. Both have to be quick.
type Probes struct {
	// Started returns why HANA must not be started yet, nil once it may. It depends
	// neither on HANA nor on the store.
	Started func() error
	// Ready returns why no job could be taken now, or nil.
	Ready func(ctx context.Context) error
}

// Health is the answer of the probes.
type Health struct {
	Status string `json:"status"`
	// Reason says why the daemon is not started or not ready.
	Reason string `json:"reason,omitempty"`
}

// Ops serves /metrics, /startupz, /healthz and /readyz: for a listener of its own,
// without authentication, and without anything that changes a job. /healthz answers
// as long as the process does and depends on nothing else: restarting pipestreamer
// because HANA or the store is away would only break a running backup. Nor does
// /startupz: Kubernetes starts HANA only after a sidecar's startup probe, and HANA
// has to start while the store is away.
func Ops(gatherer prometheus.Gatherer, probes Probes, log *zap.Logger) http.Handler {
	mux := http.NewServeMux()
	for pattern, handler := range opsRoutes(gatherer, probes, log.Named("httpapi")) {
		mux.Handle(pattern, handler)
	}
	return mux
}

func opsRoutes(gatherer prometheus.Gatherer, probes Probes, log *zap.Logger) map[string]http.Handler {
	answer := func(w http.ResponseWriter, status int, health Health) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		if err := json.NewEncoder(w).Encode(health); err != nil {
			log.Debug("a client went away", zap.Error(err))
		}
	}
	return map[string]http.Handler{
		"GET /metrics": promhttp.HandlerFor(gatherer, promhttp.HandlerOpts{ErrorLog: zap.NewStdLog(log)}),
		"GET /startupz": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if err := probes.Started(); err != nil {
				answer(w, http.StatusServiceUnavailable, Health{Status: "not started", Reason: err.Error()})
				return
			}
			answer(w, http.StatusOK, Health{Status: "started"})
		}),
		"GET /healthz": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			answer(w, http.StatusOK, Health{Status: "ok"})
		}),
		"GET /readyz": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
			defer cancel()
			if err := probes.Ready(ctx); err != nil {
				answer(w, http.StatusServiceUnavailable, Health{Status: "not ready", Reason: err.Error()})
				return
			}
			answer(w, http.StatusOK, Health{Status: "ready"})
		}),
	}
}
