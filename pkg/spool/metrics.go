package spool

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// The values of the label content.
const (
	contentData = "data"
	contentLog  = "log"
)

// Metrics are shared by every Source and Watcher of a process.
type Metrics struct {
	bytes      *prometheus.CounterVec
	files      *prometheus.CounterVec
	changed    *prometheus.CounterVec
	overflows  *prometheus.CounterVec
	intrusions *prometheus.CounterVec
	unknown    prometheus.Counter
	punched    prometheus.Counter
	doubts     prometheus.Counter
}

// NewMetrics registers the metrics; a nil registerer leaves them unregistered.
func NewMetrics(r prometheus.Registerer) *Metrics {
	f := promauto.With(r)
	options := func(name, help string) prometheus.CounterOpts {
		return prometheus.CounterOpts{Namespace: "pipestreamer", Subsystem: "spool", Name: name, Help: help}
	}
	vec := func(name, help string) *prometheus.CounterVec {
		return f.NewCounterVec(options(name, help), []string{"content"})
	}
	m := &Metrics{
		bytes:      vec("read_bytes_total", "Bytes read from files that HANA wrote."),
		files:      vec("files_total", "Files that HANA finished."),
		changed:    vec("changed_files_total", "Files that did not stay as they were when they were finished."),
		overflows:  vec("lost_events_total", "Times that the kernel lost events of a directory, so that it was scanned."),
		intrusions: vec("intrusions_total", "Things found in a directory that HANA does not put there."),
		unknown: f.NewCounter(options("unknown_files_total",
			"Files that stay in a log directory and are neither log nor catalog backups.")),
		punched: f.NewCounter(options("punched_bytes_total", "Bytes freed of files that HANA still wrote.")),
		doubts:  f.NewCounter(options("follow_doubts_total", "Files that could not be followed while HANA wrote them.")),
	}
	for _, content := range []string{contentData, contentLog} {
		for _, v := range []*prometheus.CounterVec{m.bytes, m.files, m.changed, m.overflows, m.intrusions} {
			v.WithLabelValues(content)
		}
	}
	return m
}
