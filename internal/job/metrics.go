package job

import (
	"maps"
	"slices"
	"sync"
	"time"

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
	failing *prometheus.GaugeVec
	end     *prometheus.GaugeVec
	proof   *prometheus.GaugeVec
	present *prometheus.GaugeVec
	// interrupted counts the jobs that an earlier process has left.
	interrupted prometheus.Gauge
	recalled    prometheus.Gauge
	draining    prometheus.Gauge
	starting    prometheus.Gauge

	mu    sync.Mutex
	times map[[4]string]float64 // of gauges that only grow
	known map[string]bool       // databases
}

// NewMetrics registers the conductor's metrics with reg. Before there is a conductor
// they say that none takes jobs yet.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	factory := promauto.With(reg)
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return factory.NewGaugeVec(prometheus.GaugeOpts{Namespace: "pipestreamer", Subsystem: "job", Name: name, Help: help}, labels)
	}
	m := &Metrics{
		times: make(map[[4]string]float64), known: make(map[string]bool),
		present: gauge("database_present", "1 while HANA has the database, 0 when it does not and once did; no value before HANA was asked.", "database"),
		failing: gauge("last_failed", "1 while the last backup, restore or verification of the database, or its last complete backup, has failed or is lost, else 0; one that was cancelled says nothing.", "action", "database"),
		end:     gauge("last_end_timestamp_seconds", "Time of the end of the last job.", "action", "database"),
		proof: gauge("last_proof_timestamp_seconds",
			"Time when backups of the database were last restored, to whichever database, or read back without a finding, by the action; as far as the journal knows.", "action", "database"),
		running: factory.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: "pipestreamer", Subsystem: "job", Name: "running", Help: "Jobs that run now.",
		}, []string{"action"}),
		jobs: factory.NewCounterVec(prometheus.CounterOpts{
			Namespace: "pipestreamer", Subsystem: "job", Name: "ended_total", Help: "Jobs that have ended, by state.",
		}, []string{"action", "database", "state"}),
		bytes: factory.NewCounterVec(prometheus.CounterOpts{
			Namespace: "pipestreamer", Subsystem: "job", Name: "stream_bytes_total", Help: "Bytes of HANA that have passed the daemon, also of jobs that run.",
		}, []string{"action", "database"}),
		success: factory.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: "pipestreamer", Subsystem: "job", Name: "last_success_timestamp_seconds", Help: "Time of the end of the last job that succeeded: those that the journal knows, and the last backups in the store down to a complete one.",
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
	single := func(name, help string) prometheus.Gauge {
		return factory.NewGauge(prometheus.GaugeOpts{Namespace: "pipestreamer", Subsystem: "job", Name: name, Help: help})
	}
	m.interrupted = single("interrupted", "Jobs that had not ended when the process before this one did.")
	m.recalled = single("store_recalled", "1 once the last backups were looked up in the store, else 0.")
	m.draining = single("draining", "1 once the daemon was drained: it takes no jobs until it is restarted; else 0.")
	m.starting = single("starting", "1 while no jobs are taken yet and no log is shipped, for example because the store cannot be opened; else 0.")
	m.starting.Set(1)
	for _, action := range []Action{ActionBackup, ActionRestore, ActionVerification, ActionPlan, ActionProbe} {
		m.running.WithLabelValues(string(action))
	}
	return m
}

// begin makes the counters of an action on a database visible.
func (m *Metrics) begin(action Action, database string) {
	for _, state := range []State{StateSucceeded, StateFailed, StateCanceled, StateLost} {
		m.jobs.WithLabelValues(string(action), database, string(state))
	}
	m.bytes.WithLabelValues(string(action), database)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.known[database] = true
}

// databases are those that series are shown of.
func (m *Metrics) databases() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Collect(maps.Keys(m.known))
}

// account is what the streams of a job have cost so far.
type account struct {
	waits Waits
	bytes int64
}

// progressed adds what r has spent and moved since before, and gives the new sum.
func (m *Metrics) progressed(r Record, before account) account {
	var now account
	for i := range r.Streams {
		now.waits = now.waits.plus(r.Streams[i].Waits)
		now.bytes += r.Streams[i].Bytes
	}
	if now.bytes < before.bytes { // a second attempt counts from 0
		before = account{}
	}
	action := string(r.Action)
	for side, seconds := range map[Side]float64{
		SideHANA: now.waits.HANASeconds - before.waits.HANASeconds, SideStore: now.waits.StoreSeconds - before.waits.StoreSeconds,
		SideDaemon: now.waits.OwnSeconds - before.waits.OwnSeconds,
	} {
		// The sums may differ by a rounding.
		m.waits.WithLabelValues(action, r.Database, string(side)).Add(max(seconds, 0))
	}
	m.bytes.WithLabelValues(action, r.Database).Add(float64(now.bytes - before.bytes))
	return now
}

// ended counts a terminal record.
func (m *Metrics) ended(r Record) {
	action, state := string(r.Action), string(r.State)
	m.jobs.WithLabelValues(action, r.Database, state).Inc()
	m.seconds.WithLabelValues(action, state).Observe(r.FinishedAt.Sub(r.StartedAt).Seconds())
	if r.Error != nil {
		m.causes.WithLabelValues(action, r.Error.Code).Inc()
	}
	if r.State == StateLost {
		m.losses.WithLabelValues(r.Database).Inc()
	}
}

// remember shows how the last jobs have ended, r among them.
func (m *Metrics) remember(r Record, e *ends) {
	action := string(r.Action)
	m.grow(m.end, "end", r.FinishedAt, action, r.Database)
	if r.Action.backsUp() && r.State == StateSucceeded {
		// What a probe has made is a backup like any other.
		m.succeeded(ActionBackup, r.Database, string(r.Kind), r.FinishedAt)
	}
	if r.Action == ActionPlan || r.Action == ActionProbe {
		return
	}
	m.showFailing(activity{r.Action, r.Database}, e)
	if r.State != StateSucceeded {
		return
	}
	m.succeeded(r.Action, r.Database, string(r.Kind), r.FinishedAt)
	if r.Action == ActionRestore || r.Action == ActionVerification {
		database := r.Database
		if r.Source != "" {
			database = r.Source
		}
		m.grow(m.proof, "proof", r.FinishedAt, action, database)
	}
}

// showFailing shows what e knows. It may be called for an end and for a look at the
// databases at once: nobody puts back what another has just shown.
func (m *Metrics) showFailing(of activity, e *ends) {
	m.mu.Lock()
	defer m.mu.Unlock()
	value := 0.0
	if e.failing(of) {
		value = 1
	}
	m.failing.WithLabelValues(string(of.action), of.database).Set(value)
}

// succeeded shows the time of a success unless a later one is known.
func (m *Metrics) succeeded(action Action, database, kind string, at time.Time) {
	m.grow(m.success, "success", at, string(action), database, kind)
}

// grow sets a gauge to a time that is later than what it shows.
func (m *Metrics) grow(gauge *prometheus.GaugeVec, name string, at time.Time, labels ...string) {
	key := [4]string{name}
	copy(key[1:], labels)
	m.mu.Lock()
	defer m.mu.Unlock()
	if value := seconds(at); value > m.times[key] {
		m.times[key] = value
		gauge.WithLabelValues(labels...).Set(value)
	}
}

// seconds is a time as metrics have it.
func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }
