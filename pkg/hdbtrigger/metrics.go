package hdbtrigger

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// Metrics counts what is said to HANA. The label statement takes the few kinds
// of statements.go, the label result takes ok, error (HANA reported one) and
// unknown (no answer).
type Metrics struct {
	statements *prometheus.CounterVec
	duration   *prometheus.HistogramVec
	logins     *prometheus.CounterVec
	lastError  prometheus.Gauge
}

// NewMetrics registers the metrics of this room, once per registerer.
func NewMetrics(registerer prometheus.Registerer) *Metrics {
	registerer.MustRegister(newDriverStats())
	factory := promauto.With(registerer)
	m := &Metrics{
		statements: factory.NewCounterVec(prometheus.CounterOpts{
			Namespace: "pipestreamer", Subsystem: "hana", Name: "statements_total",
			Help: "Statements that were sent to HANA, by kind and by result.",
		}, []string{"statement", "result"}),
		duration: factory.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "pipestreamer", Subsystem: "hana", Name: "statement_duration_seconds",
			Help:    "Time from sending a statement to HANA's answer.",
			Buckets: prometheus.ExponentialBuckets(0.005, 4, 13), // 5 ms to 23 h
		}, []string{"statement"}),
		logins: factory.NewCounterVec(prometheus.CounterOpts{
			Namespace: "pipestreamer", Subsystem: "hana", Name: "logins_total",
			Help: "Logins at HANA by result; failed logins lock the user.",
		}, []string{"result"}),
		lastError: factory.NewGauge(prometheus.GaugeOpts{
			Namespace: "pipestreamer", Subsystem: "hana", Name: "last_error_code",
			Help: "Code of the last error that HANA reported, 0 when there was none.",
		}),
	}
	for _, result := range []string{"ok", "error", "unknown"} {
		m.logins.WithLabelValues(result)
	}
	return m
}

func (m *Metrics) statement(kind string, start time.Time, err error) {
	if _, found := errors.AsType[*connectError](err); found {
		return // nothing was sent, and the login was counted
	}
	m.statements.WithLabelValues(kind, m.result(err)).Inc()
	m.duration.WithLabelValues(kind).Observe(time.Since(start).Seconds())
}

func (m *Metrics) login(err error) { m.logins.WithLabelValues(m.result(err)).Inc() }

func (m *Metrics) result(err error) string {
	if err == nil {
		return "ok"
	}
	hana, found := errors.AsType[*backup.HANAError](err)
	if !found {
		return "unknown"
	}
	m.lastError.Set(float64(hana.Code))
	return "error"
}
