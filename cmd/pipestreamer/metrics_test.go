package main

import (
	"flag"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/internal/access"
	"github.com/pipestreamer/pipestreamer/internal/access/accesstest"
	"github.com/pipestreamer/pipestreamer/internal/config"
	"github.com/pipestreamer/pipestreamer/internal/httpapi"
	"github.com/pipestreamer/pipestreamer/internal/job"
	"github.com/pipestreamer/pipestreamer/internal/logship"
	"github.com/pipestreamer/pipestreamer/internal/notify"
	"github.com/pipestreamer/pipestreamer/pkg/codec"
	"github.com/pipestreamer/pipestreamer/pkg/fifo"
	"github.com/pipestreamer/pipestreamer/pkg/hdbtrigger"
	"github.com/pipestreamer/pipestreamer/pkg/spool"
	"github.com/pipestreamer/pipestreamer/pkg/uploader"
)

var update = flag.Bool("update", false, "rewrite the table of metrics in docs/monitoring.md")

// descriptions remembers what is registered, series or not.
type descriptions struct {
	prometheus.Registerer

	all []description
}

type description struct{ name, kind, labels, help string }

var descText = regexp.MustCompile(`^Desc\{fqName: "([^"]+)", help: "(.*?)", (?:unit: "[^"]*", )?constLabels: \{(.*)\}, variableLabels: \{(.*)\}\}$`)

// Register implements prometheus.Registerer.
func (d *descriptions) Register(c prometheus.Collector) error {
	described := make(chan *prometheus.Desc)
	go func() {
		c.Describe(described)
		close(described)
	}()
	for desc := range described {
		parts := descText.FindStringSubmatch(desc.String())
		if parts == nil {
			return fmt.Errorf("cannot read %s", desc)
		}
		if !strings.HasPrefix(parts[1], "pipestreamer_") {
			continue
		}
		labels := strings.FieldsFunc(parts[4], func(r rune) bool { return r == ',' })
		for pair := range strings.SplitSeq(parts[3], ",") {
			if name, _, found := strings.Cut(pair, "="); found {
				labels = append(labels, name)
			}
		}
		d.all = append(d.all, description{parts[1], kindOf(c, parts[1]), strings.Join(labels, ", "), strings.ReplaceAll(parts[2], `\"`, `"`)})
	}
	return d.Registerer.Register(c)
}

// MustRegister implements prometheus.Registerer.
func (d *descriptions) MustRegister(all ...prometheus.Collector) {
	for _, c := range all {
		if err := d.Register(c); err != nil {
			panic(err)
		}
	}
}

func kindOf(c prometheus.Collector, name string) string {
	switch c.(type) {
	case *prometheus.HistogramVec, prometheus.Histogram:
		return "histogram"
	}
	switch {
	case strings.HasSuffix(name, "_total"):
		return "counter"
	case strings.HasPrefix(name, "pipestreamer_hana_driver_") && strings.HasSuffix(name, "_seconds"):
		return "summary"
	default:
		return "gauge"
	}
}

// described is every metric of ours that a daemon has.
func described(t *testing.T) []description {
	t.Helper()
	d := &descriptions{Registerer: prometheus.NewRegistry()}
	registerProcess(d)
	newProblems(new(config.Config), zap.NewNop(), d)
	httpapi.NewMetrics(d)
	job.NewMetrics(d)
	logship.NewMetrics(d)
	notify.NewMetrics(d)
	codec.NewMetrics(d)
	fifo.NewMetrics(d)
	hdbtrigger.NewMetrics(d)
	spool.NewMetrics(d)
	if _, err := uploader.NewMetrics(d); err != nil {
		t.Fatal(err)
	}
	certificate := accesstest.NewAuthority(t).Issue(t, "hana", nil)
	if _, err := access.NewTLS(access.TLSFiles{Cert: certificate.CertFile, Key: certificate.KeyFile}, zap.NewNop(), d); err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(d.all, func(a, b description) int { return strings.Compare(a.name, b.name) })
	return d.all
}

const (
	tableBegins = "<!-- metrics: written by `go test ./cmd/pipestreamer -run TestMetricsDocument -update` -->\n"
	tableEnds   = "<!-- end of metrics -->\n"
)

// TestMetricsDocument keeps the table of docs/monitoring.md in step with what is
// registered.
func TestMetricsDocument(t *testing.T) {
	const path = "../../docs/monitoring.md"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(text), tableBegins)
	got, after, ended := strings.Cut(rest, tableEnds)
	if !found || !ended {
		t.Fatalf("%s has no table of metrics", path)
	}
	var want strings.Builder
	want.WriteString("\n| metric | type | labels | meaning |\n|---|---|---|---|\n")
	for _, d := range described(t) {
		fmt.Fprintf(&want, "| `%s` | %s | %s | %s |\n", d.name, d.kind, d.labels, d.help)
	}
	want.WriteString("\n")
	if *update {
		if err := os.WriteFile(path, []byte(before+tableBegins+want.String()+tableEnds+after), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want.String(), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

// TestMetricsOfARunningDaemon lints what a daemon answers, and compares the names
// with those that are described.
func TestMetricsOfARunningDaemon(t *testing.T) {
	m := newMachine(t)
	_, stop := m.serve(t)
	status, text := get(t, "http://"+m.metrics+"/metrics")
	if status := stop(); status != 0 {
		t.Errorf("exit status %d", status)
	}
	if status != http.StatusOK {
		t.Fatalf("/metrics: %d", status)
	}
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "pipestreamer_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
	names := make(map[string]string)
	for _, d := range described(t) {
		names[d.name] = d.kind
	}
	seen := 0
	for line := range strings.Lines(text) {
		name, kind, found := strings.Cut(strings.TrimSpace(strings.TrimPrefix(line, "# TYPE ")), " ")
		if !found || !strings.HasPrefix(line, "# TYPE pipestreamer_") {
			continue
		}
		seen++
		if diff := cmp.Diff(names[name], kind); diff != "" {
			t.Errorf("%s (-described +served):\n%s", name, diff)
		}
	}
	if seen < 30 {
		t.Errorf("the daemon serves %d metrics of ours, expected most of those described", seen)
	}
}
