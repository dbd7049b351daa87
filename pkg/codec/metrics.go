package codec

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Metrics counts what is encoded and decoded. One instance serves all Stores of a
// process. Streams that pass as they are do not count.
type Metrics struct {
	encodePlain, encodeStored prometheus.Counter
	decodePlain, decodeStored prometheus.Counter
}

// NewMetrics registers the metrics; a nil registerer leaves them unregistered.
func NewMetrics(r prometheus.Registerer) *Metrics {
	factory := promauto.With(r)
	counter := func(name, help string) *prometheus.CounterVec {
		return factory.NewCounterVec(prometheus.CounterOpts{
			Namespace: "pipestreamer", Subsystem: "codec", Name: name, Help: help,
		}, []string{"direction"})
	}
	plain := counter("plain_bytes_total", "Bytes of HANA that were compressed or encrypted (encode), or came out of that again (decode).")
	stored := counter("stored_bytes_total", "What was made of them for the store (encode), or read from there (decode).")
	return &Metrics{
		encodePlain: plain.WithLabelValues("encode"), encodeStored: stored.WithLabelValues("encode"),
		decodePlain: plain.WithLabelValues("decode"), decodeStored: stored.WithLabelValues("decode"),
	}
}
