package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/pipestreamer/pipestreamer/internal/httpapi"
	"github.com/pipestreamer/pipestreamer/internal/httpapi/apitest"
	"github.com/pipestreamer/pipestreamer/internal/job"
)

// TestDrainOutlivesARestart: a daemon that was started anew while drain waits is
// still starting when it is asked for the job.
func TestDrainOutlivesARestart(t *testing.T) {
	t.Parallel()
	var drains, looks atomic.Int32
	daemon := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		status, body := http.StatusOK, `{"job_id":"j","action":"backup","database":"HXE","state":"failed"}`
		switch {
		case r.URL.Path == "/v1/daemon":
			body = `{}`
		case r.Method == http.MethodPost:
			status, body = http.StatusAccepted, `{"jobs":[]}`
			if drains.Add(1) == 1 {
				body = `{"jobs":[{"job_id":"j","action":"backup","database":"HXE","state":"running"}]}`
			}
		case looks.Add(1) <= 2:
			w.Header().Set("Content-Type", "application/problem+json")
			status, body = http.StatusServiceUnavailable, `{"type":"urn:pipestreamer:problem:starting","title":"The daemon is starting","status":503,"detail":"store: away"}`
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	defer daemon.Close()
	status, stdout, stderr := execute(t.Context(), "drain", "--url", daemon.URL, "--timeout", "30s")
	if status != 0 || !strings.Contains(stdout, "the backup of HXE (job j): failed") {
		t.Errorf("status %d, expected 0\n%s%s", status, stdout, stderr)
	}
	if looks.Load() != 3 {
		t.Errorf("%d looks at the job, expected 3", looks.Load())
	}
}

// TestDrainLeavesOneLine: the audit log tells of the drain, not of each look while it
// waits, and once more of a daemon that was started anew.
func TestDrainLeavesOneLine(t *testing.T) {
	jobs, logs := new(apitest.Jobs), new(lockedBuffer)
	startJob(t, jobs)
	var looks atomic.Int32
	log := zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.AddSync(logs), zap.InfoLevel))
	var since atomic.Pointer[time.Time]
	since.Store(new(time.Time))
	server := httpapi.New(jobs, httpapi.Options{
		Drain: func() []job.Record {
			now := time.Now()
			since.Store(&now)
			return jobs.Jobs()
		},
		DrainingSince: func() time.Time { return *since.Load() },
	}, log, httpapi.NewMetrics(prometheus.NewRegistry())).Handler(apitest.Operator)
	daemon := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		server.ServeHTTP(w, r)
		if strings.HasPrefix(r.URL.Path, "/v1/jobs/") {
			switch looks.Add(1) {
			case 2:
				since.Store(new(time.Time)) // as a daemon that was started anew
			case 5:
				jobs.Finish("job-1", job.StateSucceeded)
			}
		}
	}))
	defer daemon.Close()
	status, stdout, stderr := execute(t.Context(), "drain", "--url", daemon.URL, "--timeout", "1m")
	if status != 0 || !strings.Contains(stdout, "the backup of HXE (job job-1): succeeded") {
		t.Errorf("status %d, expected 0\n%s%s", status, stdout, stderr)
	}
	if n := strings.Count(logs.String(), `"route":"/v1/drain"`); n != 2 || since.Load().IsZero() {
		t.Errorf("%d lines, expected 2: one for each daemon\n%s", n, logs.String())
	}
}

// TestDrainLeavesASuspendedJob: a job of which the daemon does not find out any
// more how it ended does not hold up the end of the pod.
func TestDrainLeavesASuspendedJob(t *testing.T) {
	t.Parallel()
	var drains atomic.Int32
	daemon := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		status, body := http.StatusOK, `{"job_id":"j","action":"backup","database":"HXE","state":"running","suspended":true}`
		if r.Method == http.MethodPost {
			status, body = http.StatusAccepted, `{"jobs":[]}`
			if drains.Add(1) == 1 {
				body = `{"jobs":[{"job_id":"j","action":"backup","database":"HXE","state":"running"}]}`
			}
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	defer daemon.Close()
	status, stdout, stderr := execute(t.Context(), "drain", "--url", daemon.URL, "--timeout", "30s")
	if status != 0 || !strings.Contains(stdout, "the backup of HXE (job j): left to the next daemon") {
		t.Errorf("status %d, expected 0\n%s%s", status, stdout, stderr)
	}
}
