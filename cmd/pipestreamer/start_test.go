package main

import (
	"context"
	"errors"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/internal/httpapi"
	"github.com/pipestreamer/pipestreamer/internal/httpapi/apitest"
	"github.com/pipestreamer/pipestreamer/internal/job"
)

// TestTriggerBeforeTheDaemon is the pod of a CronJob that is back before HANA's: the
// daemon does not listen yet, and starts for a while when it does.
func TestTriggerBeforeTheDaemon(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s.sock")
	args := []string{"backup", "--database", "HXE", "--keep-running", "--socket", socket}
	status, _, stderr := execute(t.Context(), args...)
	if status != 1 || strings.Contains(stderr, "trying again") || !strings.Contains(stderr, "check that pipestreamer serve runs") {
		t.Errorf("without a key: status %d\n%s", status, stderr)
	}

	screen := new(lockedBuffer)
	ended := make(chan int, 1)
	go func() {
		ended <- run(t.Context(), append(args, "--idempotency-key", "k"), nil, screen, screen)
	}()
	await(t, screen, "the daemon has not taken the request (reach the daemon: dial unix "+socket+": connect: no such file or directory), trying again until ")

	jobs, metrics := new(apitest.Jobs), httpapi.NewMetrics(prometheus.NewRegistry())
	jobs.OnStart(func(r job.Record) { jobs.Finish(r.ID, job.StateSucceeded) })
	ready := httpapi.New(jobs, httpapi.Options{}, zap.NewNop(), metrics).Handler(apitest.Operator)
	begun := httpapi.NewStarting(func() error { return errors.New("store: away") }, httpapi.Options{}, zap.NewNop(), metrics).Handler(apitest.Operator)
	var refused atomic.Int32
	daemon := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if refused.Add(1) == 1 {
			begun.ServeHTTP(w, r)
			return
		}
		ready.ServeHTTP(w, r)
	})
	listener, err := httpapi.ListenUnix(t.Context(), socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- httpapi.Serve(ctx, listener, daemon, zap.NewNop()) }()
	defer func() {
		stop()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	}()
	select {
	case status := <-ended:
		if text := screen.String(); status != 0 || !strings.Contains(text, "succeeded") || strings.Count(text, "trying again") != 1 {
			t.Errorf("status %d\n%s", status, text)
		}
	case <-time.After(time.Minute):
		t.Fatalf("it does not end\n%s", screen.String())
	}
}

// await waits until a screen shows text.
func await(t *testing.T, screen *lockedBuffer, text string) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !strings.Contains(screen.String(), text); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("expected %q in\n%s", text, screen.String())
		}
	}
}

// TestInterruptedTrigger ends at once, with what is in the way.
func TestInterruptedTrigger(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	screen := new(lockedBuffer)
	ended := make(chan int, 1)
	args := []string{"backup", "--database", "HXE", "--idempotency-key", "k", "-o", "json", "--socket", filepath.Join(t.TempDir(), "none.sock")}
	go func() { ended <- run(ctx, args, nil, screen, screen) }()
	await(t, screen, `{"warning":"the daemon has not taken the request (reach the daemon: `)
	interrupt()
	if status := <-ended; status != 130 || !strings.Contains(screen.String(), `"error":"interrupted before the daemon had answered: reach the daemon: dial unix`) {
		t.Errorf("status %d\n%s", status, screen.String())
	}
}
