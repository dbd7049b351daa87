package uploader

import (
	"net/http"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rclone/rclone/fs/accounting"
	"github.com/rclone/rclone/fs/fshttp"
)

// rcloneNumbers has what rclone counts by itself: the answers to its requests, and
// what it has listed and failed at. What it counts of transfers stays 0, because
// streams do not pass its accounting; uploaded_bytes_total has them. The metrics of
// rclone name the host, which is left out: it may have the bucket in it.
type rcloneNumbers struct {
	responses, listed, errors *prometheus.Desc
}

func newRcloneNumbers() *rcloneNumbers {
	describe := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(prometheus.BuildFQName("pipestreamer", "rclone", name), help, labels, nil)
	}
	return &rcloneNumbers{
		responses: describe("http_responses_total", "Answers to rclone's HTTP requests; code 0 is none.", "method", "code"),
		listed:    describe("listed_entries_total", "Objects and directories that rclone has listed."),
		errors:    describe("errors_total", "Errors that rclone has counted."),
	}
}

// Describe implements prometheus.Collector.
func (n *rcloneNumbers) Describe(to chan<- *prometheus.Desc) {
	to <- n.responses
	to <- n.listed
	to <- n.errors
}

// Collect implements prometheus.Collector.
func (n *rcloneNumbers) Collect(to chan<- prometheus.Metric) {
	stats := accounting.GlobalStats()
	to <- prometheus.MustNewConstMetric(n.listed, prometheus.CounterValue, float64(stats.Listed(0)))
	to <- prometheus.MustNewConstMetric(n.errors, prometheus.CounterValue, float64(stats.GetErrors()))
	for labels, count := range rcloneResponses() {
		to <- prometheus.MustNewConstMetric(n.responses, prometheus.CounterValue, count, labels.method, labels.code)
	}
}

type response struct{ method, code string }

// rcloneResponses adds up the answers of all hosts.
func rcloneResponses() map[response]float64 {
	sums := make(map[response]float64)
	if fshttp.DefaultMetrics == nil { // without Quiet
		return sums
	}
	registry := prometheus.NewPedanticRegistry()
	if registry.Register(fshttp.DefaultMetrics.StatusCode) != nil { // it is the only one
		return sums
	}
	families, err := registry.Gather()
	if err != nil || len(families) == 0 {
		return sums
	}
	for _, metric := range families[0].GetMetric() {
		var labels response
		for _, pair := range metric.GetLabel() {
			switch pair.GetName() {
			case "method":
				labels.method = pair.GetValue()
			case "code":
				labels.code = pair.GetValue()
			}
		}
		sums[labels] += metric.GetCounter().GetValue()
	}
	return sums
}

// countingTransport counts the answers to the requests that bypass rclone.
type countingTransport struct {
	http.RoundTripper

	responses *prometheus.CounterVec
}

// RoundTrip implements http.RoundTripper.
func (t countingTransport) RoundTrip(request *http.Request) (*http.Response, error) {
	answer, err := t.RoundTripper.RoundTrip(request)
	code := 0
	if answer != nil {
		code = answer.StatusCode
	}
	t.responses.WithLabelValues(request.Method, strconv.Itoa(code)).Inc()
	return answer, err
}

// CloseIdleConnections lets http.Client.CloseIdleConnections through.
func (t countingTransport) CloseIdleConnections() {
	if closer, can := t.RoundTripper.(interface{ CloseIdleConnections() }); can {
		closer.CloseIdleConnections()
	}
}
