package httpapi_test

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap/zaptest"

	"github.com/pipestreamer/pipestreamer/internal/access"
	"github.com/pipestreamer/pipestreamer/internal/httpapi"
	"github.com/pipestreamer/pipestreamer/internal/httpapi/apitest"
	"github.com/pipestreamer/pipestreamer/internal/job"
)

// TestDrain: the jobs that run are told each time.
func TestDrain(t *testing.T) {
	a := newAPI(t)
	var running []job.Record
	calls := 0
	server := httpapi.New(a.jobs, httpapi.Options{Drain: func() []job.Record { calls++; return running }}, zaptest.NewLogger(t), httpapi.NewMetrics(prometheus.NewRegistry()))
	for _, want := range [][]string{{}, {"job-1"}, {"job-1"}, {}} {
		running = nil
		for _, id := range want {
			running = append(running, job.Record{ID: id, Action: job.ActionBackup, State: job.StateRunning, Stage: job.StagePlan, Database: "HXE"})
		}
		response := a.do(t, server.Handler(apitest.Operator), newRequest(t, "POST", "/v1/drain", ""))
		if response.StatusCode != http.StatusAccepted {
			t.Fatalf("%d %s", response.StatusCode, response.Text)
		}
		got := []string{}
		for _, r := range decode[struct{ Jobs []job.Record }](t, response).Jobs {
			got = append(got, r.ID)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("running (-want +got):\n%s", diff)
		}
	}
	if calls != 4 {
		t.Errorf("the daemon was asked %d times, expected 4", calls)
	}
}

// TestStarting asks a daemon that has no jobs yet for everything.
func TestStarting(t *testing.T) {
	a := newAPI(t)
	drained := false
	options := httpapi.Options{
		Drain:    func() []job.Record { drained = true; return nil },
		Settings: []httpapi.Setting{{Key: "hana.sid", Value: "HXE", Source: "default"}},
	}
	server := httpapi.NewStarting(func() error { return errors.New("store: no route to host") }, options, zaptest.NewLogger(t), httpapi.NewMetrics(prometheus.NewRegistry()))
	for _, pattern := range httpapi.Patterns(a.server) {
		method, path, _ := strings.Cut(pattern, " ")
		path = strings.NewReplacer("{id}", "job-1", "{profile}", "goroutine", "{file}", "style.css").Replace(path)
		if slices.Contains([]string{"/metrics", "/startupz", "/healthz", "/readyz"}, path) {
			continue
		}
		response := a.do(t, server.Handler(apitest.Operator), newRequest(t, method, path, "{}"))
		if path == "/" || strings.HasPrefix(path, "/page/") {
			continue // this one has none
		}
		if path == "/v1/drain" || path == "/v1/daemon" || strings.HasPrefix(path, "/debug/") {
			if response.StatusCode >= 300 {
				t.Errorf("%s: %d %s", pattern, response.StatusCode, response.Text)
			}
			continue
		}
		p := decode[httpapi.Problem](t, response)
		if response.StatusCode != http.StatusServiceUnavailable || p.Type != httpapi.ProblemStarting || p.Detail != "store: no route to host" || p.Hint == "" {
			t.Errorf("%s: %d %+v", pattern, response.StatusCode, p)
		}
	}
	if !drained {
		t.Error("the daemon does not know that it drains")
	}
	stranger := server.Handler(func(*http.Request) (access.Caller, error) {
		return access.Caller{}, &access.Refusal{Reason: access.NoCredentials}
	})
	if response := a.do(t, stranger, newRequest(t, "GET", "/v1/jobs", "")); response.StatusCode != http.StatusUnauthorized || strings.Contains(response.Text, "store") {
		t.Errorf("without a token: %d %s", response.StatusCode, response.Text)
	}
	if response := a.do(t, server.Handler(apitest.Operator), newRequest(t, "GET", "/v1/nothing", "")); response.StatusCode != http.StatusNotFound {
		t.Errorf("an unknown path: %d %s", response.StatusCode, response.Text)
	}
}
