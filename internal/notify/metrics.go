package notify

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Why a notification was dropped.
const (
	droppedExpired  = "expired"
	droppedRefused  = "refused"
	droppedOverflow = "overflow"
	droppedTemplate = "template"
)

// Metrics count notifications.
type Metrics struct {
	sent, failed prometheus.Counter
	dropped      *prometheus.CounterVec
	queued       prometheus.Gauge
}

// NewMetrics registers the metrics of this room.
func NewMetrics(r prometheus.Registerer) *Metrics {
	factory := promauto.With(r)
	counter := func(name, help string) prometheus.CounterOpts {
		return prometheus.CounterOpts{Namespace: "pipestreamer", Subsystem: "notify", Name: name, Help: help}
	}
	m := &Metrics{
		sent:    factory.NewCounter(counter("sent_total", "Notifications that the webhook has taken.")),
		failed:  factory.NewCounter(counter("failed_attempts_total", "Attempts to send one that failed.")),
		dropped: factory.NewCounterVec(counter("dropped_total", "Notifications that were given up: expired, refused by the webhook, too many (overflow), or not made by the template."), []string{"reason"}),
		queued:  factory.NewGauge(prometheus.GaugeOpts{Namespace: "pipestreamer", Subsystem: "notify", Name: "queue_length", Help: "Notifications that have not arrived yet."}),
	}
	for _, reason := range []string{droppedExpired, droppedRefused, droppedOverflow, droppedTemplate} {
		m.dropped.WithLabelValues(reason)
	}
	return m
}
