package fifo_test

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/pipestreamer/pipestreamer/pkg/fifo"
)

func TestMetricsAreWellNamed(t *testing.T) {
	registry := prometheus.NewRegistry()
	fifo.NewMetrics(registry)
	problems, err := testutil.GatherAndLint(registry)
	must(t, err)
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	if n, err := testutil.GatherAndCount(registry); err != nil || n != 10 {
		t.Errorf("%d series (%v), want all of them from the start", n, err)
	}
}
