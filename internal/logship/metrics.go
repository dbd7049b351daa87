package logship

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Metrics are shared by the Shippers of all databases.
type Metrics struct {
	files, bytes *prometheus.CounterVec
	gauges       map[string]*prometheus.GaugeVec
	covered      *prometheus.GaugeVec
	directory    prometheus.Gauge
}

// The names of gauges that have no value while it is not known, and of the
// others.
const (
	gaugePoint       = "recovery_point_timestamp_seconds"
	gaugeOldest      = "oldest_waiting_timestamp_seconds"
	gaugeFree        = "space_free_bytes"
	gaugeLeft        = "space_seconds_left"
	gaugeWaiting     = "waiting_files"
	gaugeBytes       = "waiting_bytes"
	gaugeGaps        = "gaps"
	gaugeConflicts   = "conflicts"
	gaugeProblems    = "problems"
	gaugeUnconfirmed = "unconfirmed"
	gaugeFailing     = "store_failing"
	gaugeBroken      = "history_broken"
	gaugeUnseen      = "volume_failing"
	gaugeBase        = "base_missing"
)

// NewMetrics registers the metrics; a nil registerer leaves them unregistered.
func NewMetrics(r prometheus.Registerer) *Metrics {
	factory := promauto.With(r)
	counter := func(name, help string) *prometheus.CounterVec {
		return factory.NewCounterVec(prometheus.CounterOpts{Namespace: "pipestreamer", Subsystem: "logs", Name: name, Help: help}, []string{"database"})
	}
	m := &Metrics{
		files:  counter("shipped_files_total", "Log and catalog backups that arrived in the store and were checked there."),
		bytes:  counter("shipped_bytes_total", "Bytes of log and catalog backups that arrived in the store and were checked there."),
		gauges: make(map[string]*prometheus.GaugeVec),
		covered: factory.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: "pipestreamer", Subsystem: "logs", Name: "volume_covered_timestamp_seconds",
			Help: "Time up to which the log of a volume is in the store without a gap, at least.",
		}, []string{"database", "volume"}),
		directory: factory.NewGauge(prometheus.GaugeOpts{
			Namespace: "pipestreamer", Subsystem: "logs", Name: "directory_failing",
			Help: "1 while log backups of some or all databases cannot be found: their directory cannot be read, or HANA writes them elsewhere; else 0.",
		}),
	}
	for name, help := range map[string]string{
		gaugePoint:       "Time up to which the log of all volumes is in the store without a gap since the newest data backup there, at least; no value without one.",
		gaugeOldest:      "Time of the oldest log or catalog backup on the volume that is not safe in the store; no value when there is none.",
		gaugeFree:        "Free space of the volume of the log backups.",
		gaugeLeft:        "How long there is room at the rate of the last hour of all databases, 0 when another log backup has none; no value when there is room and no rate.",
		gaugeWaiting:     "Log and catalog backups on the volume that are not safe in the store.",
		gaugeBytes:       "Their bytes.",
		gaugeGaps:        "Pieces of the log that are missing in the store and that the newest data backup there needs.",
		gaugeConflicts:   "Log and catalog backups for which the store holds other content.",
		gaugeProblems:    "Log and catalog backups that cannot be read or removed.",
		gaugeUnconfirmed: "Log and catalog backups in the store that HANA's catalog does not confirm; they stay on the volume.",
		gaugeFailing:     "1 while the store does not take log backups, else 0.",
		gaugeUnseen:      "1 while the volume of the log backups cannot be read, else 0.",
		gaugeBase:        "1 while no data backup in the store can be restored, so that no log backup can, else 0.",
		gaugeBroken:      "1 when HANA has interrupted the log and no complete backup in the store has begun since, else 0.",
	} {
		m.gauges[name] = factory.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: "pipestreamer", Subsystem: "logs", Name: name, Help: help,
		}, []string{"database"})
	}
	return m
}

// begin makes the counters of a database visible.
func (m *Metrics) begin(database string) {
	m.files.WithLabelValues(database)
	m.bytes.WithLabelValues(database)
}

// forget removes the metrics of a database.
func (m *Metrics) forget(database string) {
	m.files.DeleteLabelValues(database)
	m.bytes.DeleteLabelValues(database)
	for _, gauge := range m.gauges {
		gauge.DeleteLabelValues(database)
	}
	m.covered.DeletePartialMatch(prometheus.Labels{"database": database})
}

// lookout notes whether databases can be found.
func (m *Metrics) lookout(good bool) {
	failing := 1.0
	if good {
		failing = 0
	}
	m.directory.Set(failing)
}

func (m *Metrics) shipped(database string, bytes int64) {
	m.files.WithLabelValues(database).Inc()
	m.bytes.WithLabelValues(database).Add(float64(bytes))
}

// publish sets the gauges.
func (s *Shipper) publish() {
	status := s.Status()
	values := map[string]float64{
		gaugeWaiting: float64(status.WaitingFiles), gaugeBytes: float64(status.WaitingBytes), gaugeGaps: float64(len(status.Gaps)),
		gaugeConflicts: float64(status.ConflictFiles), gaugeProblems: float64(status.ProblemFiles),
		gaugeUnconfirmed: float64(status.UnconfirmedFiles), gaugeFailing: 0, gaugeBroken: 0, gaugeUnseen: 0, gaugeBase: 0,
	}
	if s.baseMissing() {
		values[gaugeBase] = 1
	}
	if status.VolumeTrouble != "" {
		values[gaugeUnseen] = 1
	}
	if status.StoreTrouble != "" {
		values[gaugeFailing] = 1
	}
	if status.Broken != nil {
		values[gaugeBroken] = 1
	}
	if !status.RecoveryPoint.IsZero() {
		values[gaugePoint] = seconds(status.RecoveryPoint)
	}
	if !status.OldestWaiting.IsZero() {
		values[gaugeOldest] = seconds(status.OldestWaiting)
	}
	if status.SpaceFree != nil {
		values[gaugeFree] = float64(*status.SpaceFree)
	}
	if status.Lasts != nil {
		values[gaugeLeft] = float64(*status.Lasts)
	}
	for name, gauge := range s.metrics.gauges {
		if value, known := values[name]; known {
			gauge.WithLabelValues(s.config.Database).Set(value)
		} else {
			gauge.DeleteLabelValues(s.config.Database)
		}
	}
	for _, v := range status.Volumes {
		s.metrics.covered.WithLabelValues(s.config.Database, strconv.Itoa(v.VolumeID)).Set(seconds(v.Until))
	}
}

func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }
