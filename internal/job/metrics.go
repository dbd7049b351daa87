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
	waits   *prometheus.CounterVec
	stalled *prometheus.GaugeVec
	lost    *prometheus.GaugeVec
	losses  *prometheus.CounterVec
	causes  *prometheus.CounterVec
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
		waits: factory.NewCounterVec(prometheus.CounterOpts{
			Namespace: "pipestreamer", Subsystem: "job", Name: "wait_seconds_total",
			Help: "Time of all streams together, by the side that they waited for; pipestreamer is its own work.",
		}, []string{"action", "database", "side"}),
		stalled: factory.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: "pipestreamer", Subsystem: "job", Name: "stalled_streams", Help: "Streams that stand still for longer than timeouts.stall, by the side that they wait for.",
		}, []string{"database", "side"}),
		lost: factory.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: "pipestreamer", Subsystem: "job", Name: "base_lost", Help: "1 while HANA's newest complete backup of the database is lost, or may be because HANA's catalog could not be asked; else 0.",
		}, []string{"database"}),
		losses: factory.NewCounterVec(prometheus.CounterOpts{
			Namespace: "pipestreamer", Subsystem: "job", Name: "lost_total", Help: "Backups that HANA's catalog calls successful and that the store does not have.",
		}, []string{"database"}),
		causes: factory.NewCounterVec(prometheus.CounterOpts{
			Namespace: "pipestreamer", Subsystem: "job", Name: "causes_total", Help: "First causes of jobs that did not succeed, by the codes of docs/errors.md.",
		}, []string{"action", "code"}),
	}
}

// waited adds what r has spent since before, and gives the new sum.
func (m *Metrics) waited(r Record, before Waits) Waits {
	var now Waits
	for i := range r.Streams {
		now = now.plus(r.Streams[i].Waits)
	}
	for side, seconds := range map[Side]float64{
		SideHANA: now.HANASeconds - before.HANASeconds, SideStore: now.StoreSeconds - before.StoreSeconds, SideDaemon: now.OwnSeconds - before.OwnSeconds,
	} {
		// The sums may differ by a rounding.
		m.waits.WithLabelValues(string(r.Action), r.Database, string(side)).Add(max(seconds, 0))
	}
	return now
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
	if r.Error != nil {
		m.causes.WithLabelValues(action, r.Error.Code).Inc()
	}
	if r.State == StateLost {
		m.losses.WithLabelValues(r.Database).Inc()
	}
	if r.State == StateSucceeded {
		m.success.WithLabelValues(action, r.Database, string(r.Kind)).Set(float64(r.FinishedAt.UnixMilli()) / 1000)
	}
}
