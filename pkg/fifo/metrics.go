package fifo

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// The values of the label direction.
const (
	directionBackup  = "backup"
	directionRestore = "restore"
)

// Metrics are shared by every Source and Sink of a process.
type Metrics struct {
	bytes      *prometheus.CounterVec
	opens      *prometheus.CounterVec
	emptyOpens *prometheus.CounterVec
	intrusions *prometheus.CounterVec
	shrunk     prometheus.Counter
	bypasses   prometheus.Counter
}

// NewMetrics registers the metrics; a nil registerer leaves them unregistered.
func NewMetrics(r prometheus.Registerer) *Metrics {
	f := promauto.With(r)
	vec := func(name, help string) *prometheus.CounterVec {
		return f.NewCounterVec(prometheus.CounterOpts{
			Namespace: "pipestreamer", Subsystem: "fifo", Name: name, Help: help,
		}, []string{"direction"})
	}
	m := &Metrics{
		bytes:      vec("bytes_total", "Bytes that passed through pipes."),
		opens:      vec("opens_total", "Openings of pipes by HANA that carried bytes."),
		emptyOpens: vec("empty_opens_total", "Openings of pipes by HANA that ended without a byte, for example O_DIRECT refused."),
		intrusions: vec("intrusions_total", "Things that happened to pipes and should not have."),
		shrunk: f.NewCounter(prometheus.CounterOpts{
			Namespace: "pipestreamer", Subsystem: "fifo", Name: "shrunk_pipes_total",
			Help: "Pipes that the kernel's quota per user kept below the wanted size.",
		}),
	}
	m.bypasses = f.NewCounter(prometheus.CounterOpts{
		Namespace: "pipestreamer", Subsystem: "fifo", Name: "bypasses_total",
		Help: "Streams of which HANA wrote a regular file instead of using the pipe.",
	})
	for _, direction := range []string{directionBackup, directionRestore} {
		for _, v := range []*prometheus.CounterVec{m.bytes, m.opens, m.emptyOpens, m.intrusions} {
			v.WithLabelValues(direction)
		}
	}
	return m
}
