package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
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
