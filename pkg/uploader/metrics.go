package uploader

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
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
	}
	limit := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: name("limit_bytes_per_second"), Help: "Bandwidth limit that holds now, 0 without one.",
	}, m.limit)
	for _, c := range []prometheus.Collector{
		m.uploaded, m.downloaded, m.parts, m.partTime, m.retries, m.uploads, m.corrupt, m.memory, m.budget, m.limitWait, limit,
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
