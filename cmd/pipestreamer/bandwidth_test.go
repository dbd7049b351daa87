package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/pipestreamer/pipestreamer/internal/httpapi"
)

// TestBandwidth changes the limit of a daemon that runs, and restarts it.
func TestBandwidth(t *testing.T) {
	m := newMachine(t)
	m.environ = []string{"PIPESTREAMER_STORE_BANDWIDTH=1MiB"}
	log, stop := m.serve(t)
	steps := []struct {
		name           string
		args           []string
		status         int
		stdout, stderr string
	}{
		{name: "as configured", stdout: "limit       1MiB/s\nnow         1.0 MiB/s ("},
		{name: "a rate", args: []string{"20MiB"}, stdout: "limit       20MiB/s\nnow         20.0 MiB/s ("},
		{name: "it stays", stdout: "limit       20MiB/s\n"},
		{name: "lifted", args: []string{"off"}, stdout: "limit       off\nnow         no limit ("},
		{name: "a timetable, without quotes", args: []string{"Mon-Fri-07:00,2MiB", "Sat-00:00,2MiB"}, stdout: "limit       Mon-Fri-07:00,2MiB/s Sat-00:00,2MiB/s\nnow         2.0 MiB/s ("},
		{name: "refused", args: []string{"20M"}, status: 2, stderr: "pipestreamer: limit: expected off, or a rate such as 50MiB/s of at least 64KiB/s\n"},
		{name: "too little for the memory budget", args: []string{"100KiB"}, status: 2, stderr: "limit: 100KiB/s: expected at least 583KiB/s: what memoryBudget holds has to pass within store.outageTolerance\n"},
		{name: "and it stayed", stdout: "now         2.0 MiB/s ("},
		{name: "back", args: []string{"configured"}, stdout: "limit       1MiB/s\n"},
	}
	for _, step := range steps {
		t.Run(step.name, func(t *testing.T) {
			status, stdout, stderr := execute(t.Context(), append([]string{"bandwidth", "--socket", m.socket}, step.args...)...)
			if status != step.status || !strings.Contains(stdout, step.stdout) || !strings.Contains(stderr, step.stderr) {
				t.Errorf("status %d\n%s%s\nexpected %d with\n%s%s", status, stdout, stderr, step.status, step.stdout, step.stderr)
			}
		})
	}
	if _, metrics := get(t, "http://"+m.metrics+"/metrics"); !strings.Contains(metrics, "\npipestreamer_store_limit_bytes_per_second 1.048576e+06\n") {
		t.Error("the metrics do not tell the limit")
	}
	if !strings.Contains(log.String(), `"msg":"the bandwidth limit changes","from":"20MiB/s","to":"off"`) {
		t.Errorf("the log does not tell of a change\n%s", log)
	}
	_, stdout, _ := execute(t.Context(), "bandwidth", "-o", "json", "--socket", m.socket, "3MiB/s")
	var got httpapi.Bandwidth
	if err := json.Unmarshal([]byte(stdout), &got); err != nil {
		t.Fatalf("%v\n%s", err, stdout)
	}
	if got.Limit != "3MiB/s" || got.Configured != "1MiB/s" || got.BytesPerSecond != 3<<20 || got.LocalTime.IsZero() {
		t.Errorf("as JSON: %+v", got)
	}
	if status := stop(); status != 0 {
		t.Errorf("serve: status %d", status)
	}
	_, stop = m.serve(t)
	defer stop()
	if _, stdout, _ := execute(t.Context(), "bandwidth", "--socket", m.socket); !strings.Contains(stdout, "limit       1MiB/s\n") {
		t.Errorf("after a restart:\n%s", stdout)
	}
}
