package httpapi

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pipestreamer/pipestreamer/internal/access"
)

// Metrics counts requests. The labels are bounded: route patterns, methods
// that routes have, status codes.
type Metrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	panics   prometheus.Counter
	refused  *prometheus.CounterVec
}

// NewMetrics registers the metrics of this room.
func NewMetrics(registerer prometheus.Registerer) *Metrics {
	m := &Metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "pipestreamer", Subsystem: "http", Name: "requests_total",
			Help: "Requests of the job interface by route, method and status code.",
		}, []string{"route", "method", "code"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "pipestreamer", Subsystem: "http", Name: "request_duration_seconds",
			Help:    "Time to answer a request of the job interface; following a job is not counted.",
			Buckets: []float64{.001, .005, .025, .1, .5, 2.5, 10, 60},
		}, []string{"route", "method"}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "pipestreamer", Subsystem: "http", Name: "panics_total",
			Help: "Requests, of /readyz too, that ended in a panic, which is a defect.",
		}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "pipestreamer", Subsystem: "http", Name: "refused_total",
			Help: "Requests of the job interface whose caller was refused, by reason.",
		}, []string{"reason"}),
	}
	for _, reason := range []access.Reason{
		access.NoCredentials, access.WrongCredentials, access.TooManyFailures, access.TooManyRequests, access.ReviewUnavailable, refusedRole, refusedCrossOrigin,
	} {
		m.refused.WithLabelValues(string(reason))
	}
	registerer.MustRegister(m.requests, m.duration, m.panics, m.refused)
	return m
}

// observe counts one request; route is empty when none matched.
func (m *Metrics) observe(route string, r *http.Request, status int, took time.Duration) {
	method := r.Method
	if route == "" {
		route, method = "none", "other"
	}
	m.requests.WithLabelValues(route, method, strconv.Itoa(status)).Inc()
	if r.Pattern != eventsPattern && r.Pattern != allEventsPattern {
		m.duration.WithLabelValues(route, method).Observe(took.Seconds())
	}
}
