package job

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Metrics are the conductor's numbers.
type Metrics struct {
	running *prometheus.GaugeVec
	jobs    *prometheus.CounterVec
	bytes   *prometheus.CounterVec
	success *prometheus.GaugeVec
	seconds *prometheus.HistogramVec
}

// NewMetrics registers the conductor's metrics with reg.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	factory := promauto.With(reg)
	return &Metrics{
		running: factory.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: "pipestreamer", Subsystem: "job", Name: "running", Help: "Jobs that run now.",
		}, []string{"action"}),
		jobs: factory.NewCounterVec(prometheus.CounterOpts{
			Namespace: "pipestreamer", Subsystem: "job", Name: "ended_total", Help: "Jobs that have ended, by state.",
		}, []string{"action", "database", "state"}),
		bytes: factory.NewCounterVec(prometheus.CounterOpts{
			Namespace: "pipestreamer", Subsystem: "job", Name: "stream_bytes_total", Help: "Bytes that passed between HANA and the store in ended jobs.",
		}, []string{"action", "database"}),
		success: factory.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: "pipestreamer", Subsystem: "job", Name: "last_success_timestamp_seconds", Help: "Time of the end of the last job that succeeded.",
		}, []string{"action", "database", "kind"}),
		seconds: factory.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "pipestreamer", Subsystem: "job", Name: "duration_seconds", Help: "Duration of ended jobs.",
			Buckets: prometheus.ExponentialBuckets(1, 4, 10),
		}, []string{"action", "state"}),
	}
}

// ended counts a terminal record.
func (m *Metrics) ended(r Record) {
	action, state := string(r.Action), string(r.State)
	m.running.WithLabelValues(action).Dec()
	m.jobs.WithLabelValues(action, r.Database, state).Inc()
	m.seconds.WithLabelValues(action, state).Observe(r.FinishedAt.Sub(r.StartedAt).Seconds())
	for i := range r.Streams {
		m.bytes.WithLabelValues(action, r.Database).Add(float64(r.Streams[i].Bytes))
	}
	if r.State == StateSucceeded {
		m.success.WithLabelValues(action, r.Database, string(r.Kind)).Set(float64(r.FinishedAt.UnixMilli()) / 1000)
	}
}
