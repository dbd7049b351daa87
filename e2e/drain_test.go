package e2e

import (
	"context"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pipestreamer/pipestreamer/internal/httpapi"
	"github.com/pipestreamer/pipestreamer/internal/job"
)

// drained is what drain prints.
type drained struct {
	Drained bool         `json:"drained"`
	Jobs    []job.Record `json:"jobs"`
}

// refusesJobs waits until the daemon drains, as clients and Kubernetes see it.
func (w *world) refusesJobs(client *httpapi.Client) {
	w.t.Helper()
	eventually(w.t, "/readyz says that the daemon drains", func() bool {
		status, body, err := w.get("/readyz")
		return err == nil && status == http.StatusServiceUnavailable && strings.Contains(body, "draining")
	})
	if status, _, err := w.get("/healthz"); err != nil || status != http.StatusOK {
		w.t.Errorf("/healthz: %d, %v", status, err)
	}
	_, err := client.StartBackup(w.t.Context(), job.BackupRequest{Database: "SYSTEMDB"}, "")
	expectProblem(w.t, err, http.StatusServiceUnavailable, "")
	if result := w.run("backup", "--database", "SYSTEMDB").expect(w.t, 1); !strings.Contains(result.stderr, "was drained at ") {
		w.t.Errorf("the command line does not say why: %s", result.stderr)
	}
}

// TestDrain is the end of a pod as Kubernetes makes it: the preStop hook of the
// sidecar runs at once, SIGTERM comes when HANA has ended. The backup that runs is
// completed, none begins, and the log that HANA still writes is shipped.
func TestDrain(t *testing.T) {
	t.Parallel()
	w := newShippingWorld(t, openS3(t), nil)
	w.backUp("HXE")
	w.hana.set("delay-write", "100ms")
	client := w.client()
	v := w.beginProcess("backup", "--database", "HXE")
	var id string
	eventually(t, "the second backup runs", func() bool {
		jobs, err := client.Jobs(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		id = jobs[0].ID
		return !jobs[0].State.Terminal()
	})
	preStop := w.beginProcess("drain")
	w.refusesJobs(client)
	if preStop.hasEnded() {
		t.Fatal("drain has ended while a backup runs")
	}
	for range 2 {
		if running, err := client.Drain(t.Context()); err != nil || len(running) != 1 || running[0].ID != id {
			t.Errorf("asked again: running %+v, %v; expected job %s", running, err, id)
		}
	}
	record := v.finish().expect(t, 0).record(t)
	if record.ID != id || record.State != job.StateSucceeded {
		t.Errorf("the backup ended %s: %v", record.State, record.Error)
	}
	w.manifest("HXE", record.BackupID)
	got := decode[drained](t, preStop.finish().expect(t, 0).stdout)
	if !got.Drained || len(got.Jobs) != 1 || got.Jobs[0].ID != id || got.Jobs[0].State != job.StateSucceeded {
		t.Errorf("drain told %+v", got)
	}
	if err := w.hana.Work("HXE", 2); err != nil {
		t.Fatal(err)
	}
	if err := w.hana.LogBackup(t.Context(), "HXE"); err != nil {
		t.Fatal(err)
	}
	w.awaitShipped()
	if got := decode[drained](t, w.run("drain").expect(t, 0).stdout); !got.Drained || len(got.Jobs) != 0 {
		t.Errorf("drain of an idle daemon told %+v", got)
	}
	w.stopDaemon()

	w.hana.set("delay-write", "0s")
	w.startDaemon()
	w.backUp("HXE") // a restart ends it
	w.stopDaemon()
}

// TestDrainEnds: the time is over while a backup runs, which goes on or is
// cancelled.
func TestDrainEnds(t *testing.T) {
	t.Parallel()
	w := newSlowWorld(t, openS3(t))
	client := w.client()
	v := w.beginProcess("backup", "--database", "HXE")
	id := w.awaitJob(client)
	w.streaming(client, id, mebibyte)
	result := w.run("drain", "--timeout", "1s").expect(t, 1)
	if got := decode[drained](t, result.stdout); got.Drained || len(got.Jobs) != 1 || got.Jobs[0].State != job.StateRunning {
		t.Errorf("drain told %+v", got)
	}
	for _, want := range []string{"after 1s still running", "the backup of HXE", id, "until the daemon is restarted"} {
		if !strings.Contains(result.stderr, want) {
			t.Errorf("drain does not say %q: %s", want, result.stderr)
		}
	}
	w.refusesJobs(client)
	got := decode[drained](t, w.run("drain", "--timeout", "0s", "--cancel").expect(t, 0).stdout)
	if !got.Drained || len(got.Jobs) != 1 || got.Jobs[0].State != job.StateCanceled {
		t.Errorf("drain --cancel told %+v", got)
	}
	expectCause(t, v.finish().expect(t, 130).record(t), job.StateCanceled, job.CodeCanceled)
	w.expectUnfinished()
	w.stopDaemon()
}

// TestDrainWhileHANAEnds: HANA is told to stop at the same moment and does not
// wait for its backup. That fails, soon and cleanly, and does not hold up the end
// of the pod.
func TestDrainWhileHANAEnds(t *testing.T) {
	t.Parallel()
	w := newSlowWorldWith(t, openS3(t), map[string]any{"timeouts": map[string]any{"answer": "5m"}})
	w.hana.set("delay-write", "50ms")
	client := w.client()
	v := w.beginProcess("backup", "--database", "HXE")
	id := w.awaitJob(client)
	w.streaming(client, id, mebibyte)
	preStop := w.beginProcess("drain", "--timeout", "3m")
	w.refusesJobs(client)
	if err := w.hana.Crash(); err != nil {
		t.Fatal(err)
	}
	told := time.Now()
	got := decode[drained](t, preStop.finish().expect(t, 0).stdout)
	// With the default, timeouts.answer alone is 5 minutes, twice.
	if took := time.Since(told); took > time.Minute {
		t.Errorf("the drain ended %s after HANA", took)
	} else {
		t.Logf("the drain ended %s after HANA", took)
	}
	if !got.Drained || len(got.Jobs) != 1 || got.Jobs[0].State != job.StateFailed {
		t.Errorf("drain told %+v", got)
	}
	if record := v.finish().expect(t, 1).record(t); record.Error == nil || record.Error.Hint == "" {
		t.Errorf("the backup failed without a cause or a hint: %+v", record.Error)
	} else {
		t.Logf("cause: %s: %s", record.Error.Code, record.Error.Message)
	}
	w.expectNothingStored()
	w.expectNoPipes()
	w.stopDaemon()
}

// TestDrainOfARestartedDaemon: the daemon is killed and started again while it
// drains. The new one is told, too.
func TestDrainOfARestartedDaemon(t *testing.T) {
	t.Parallel()
	w := newSlowWorld(t, openS3(t))
	client := w.client()
	v := w.beginProcess("backup", "--database", "HXE")
	id := w.awaitJob(client)
	w.streaming(client, id, mebibyte)
	preStop := w.beginProcess("drain", "--timeout", "1m")
	w.refusesJobs(client)
	w.daemon.signal(syscall.SIGKILL)
	w.daemon.wait()
	env := []string{"PIPESTREAMER_METRICS_LISTEN=127.0.0.1:0"}
	w.daemon = startProcess(t, "the daemon", &w.log, env, daemonProgram(t), "serve", "--config", w.config)
	expectCause(t, v.finish().expect(t, 1).record(t), job.StateFailed, job.CodeInterrupted)
	if got := decode[drained](t, preStop.finish().expect(t, 0).stdout); !got.Drained {
		t.Errorf("drain told %+v", got)
	}
	_, err := client.StartBackup(t.Context(), job.BackupRequest{Database: "SYSTEMDB"}, "")
	expectProblem(t, err, http.StatusServiceUnavailable, "")
	w.stopDaemon()
}

// TestDrainWithoutADaemon says at once that there is none.
func TestDrainWithoutADaemon(t *testing.T) {
	t.Parallel()
	daemonProgram(t) // may have to be built
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	w := &world{t: t, socket: directory(t) + "/none.sock"}
	v := w.beginProcess("drain")
	select {
	case <-v.ended:
	case <-ctx.Done():
		t.Error("drain waits for a daemon that is not there")
	}
	if result := v.finish(); result.status != 1 || !strings.Contains(result.stderr, "check that pipestreamer serve runs") {
		t.Errorf("status %d\n%s", result.status, result.stderr)
	}
}
