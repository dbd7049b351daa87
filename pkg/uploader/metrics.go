package uploader

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// The values of the label direction.
const (
	directionUp   = "upload"
	directionDown = "download"
)

// Metrics counts what the store does. One instance serves all Stores of a
// process. No label holds a key.
type Metrics struct {
	uploaded   prometheus.Counter
	downloaded prometheus.Counter
	parts      prometheus.Counter
	partTime   prometheus.Histogram
	retries    *prometheus.CounterVec
	uploads    *prometheus.CounterVec
	corrupt    prometheus.Counter
	memory     prometheus.Gauge
	budget     prometheus.Gauge
	limitWait  prometheus.Counter
	errors     *prometheus.CounterVec
	inFlight   *prometheus.GaugeVec
	left       prometheus.Gauge
	responses  *prometheus.CounterVec
	// limiter is that of the Store that was opened last.
	limiter atomic.Pointer[limiter]
}

// NewMetrics registers the metrics of this package with reg.
func NewMetrics(reg prometheus.Registerer) (*Metrics, error) {
	name := func(s string) string { return prometheus.BuildFQName("pipestreamer", "store", s) }
	counter := func(s, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name(s), Help: help})
	}
	m := &Metrics{
		uploaded:   counter("uploaded_bytes_total", "Bytes that the store has acknowledged."),
		downloaded: counter("downloaded_bytes_total", "Bytes of streams that were read back and matched their checksum."),
		parts:      counter("uploaded_parts_total", "Parts that the store has acknowledged."),
		limitWait:  counter("limit_wait_seconds_total", "Time that parts on their way, up or down, have waited for the bandwidth limit, added up."),
		corrupt:    counter("corrupt_parts_total", "Parts that did not match their checksum when read back."),
		partTime: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: name("part_upload_seconds"), Help: "Time from a full part buffer to the store's acknowledgement, retries included.",
			Buckets: prometheus.ExponentialBuckets(0.05, 2.5, 10),
		}),
		retries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: name("retries_total"), Help: "Requests that were sent again after an error that may pass.",
		}, []string{"operation"}),
		uploads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: name("uploads_total"), Help: "Uploads by what became of them.",
		}, []string{"result"}),
		memory: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: name("memory_used_bytes"), Help: "Part buffers reserved or in use.",
		}),
		budget: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: name("memory_budget_bytes"), Help: "Most that part buffers may take.",
		}),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: name("errors_total"), Help: "Requests that failed, also those that were sent again, by what kind of failure it was.",
		}, []string{"class"}),
		inFlight: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: name("parts_in_flight"), Help: "Parts that are on their way now. Stores that take a stream in one piece have none upwards.",
		}, []string{"direction"}),
		left: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: name("left_uploads"), Help: "Uploads that could not be aborted and that leave something in the store until a sweep has removed it.",
		}),
		responses: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: name("http_responses_total"), Help: "Answers to HTTP requests that bypass rclone; code 0 is none.",
		}, []string{"method", "code"}),
	}
	for _, name := range classes() {
		m.errors.WithLabelValues(name)
	}
	for _, direction := range []string{directionUp, directionDown} {
		m.inFlight.WithLabelValues(direction)
	}
	limit := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: name("limit_bytes_per_second"), Help: "Bandwidth limit that holds now, 0 without one.",
	}, m.limit)
	for _, c := range []prometheus.Collector{
		m.uploaded, m.downloaded, m.parts, m.partTime, m.retries, m.uploads, m.corrupt, m.memory, m.budget, m.limitWait, limit,
		m.errors, m.inFlight, m.left, m.responses, newRcloneNumbers(),
	} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *Metrics) limit() float64 {
	if l := m.limiter.Load(); l != nil {
		return float64(l.rate())
	}
	return 0
}

// failed counts an error of the store.
func (m *Metrics) failed(err error) {
	if name := class(err); name != "" {
		m.errors.WithLabelValues(name).Inc()
	}
}
