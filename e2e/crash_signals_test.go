package e2e

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pipestreamer/pipestreamer/internal/httpapi"
	"github.com/pipestreamer/pipestreamer/internal/job"
)

// TestSecondSignal is impatient: after a first SIGTERM the daemon lets its
// backup go on, a second one ends it at once. The next daemon cleans up.
func TestSecondSignal(t *testing.T) {
	t.Parallel()
	for _, whenClientGone := range []string{"cancel", "continue"} {
		t.Run("HANA: "+whenClientGone, func(t *testing.T) {
			t.Parallel()
			w := newSlowWorldWith(t, openS3(t), map[string]any{"shutdownGrace": "5m"})
			w.hana.set("client-gone", whenClientGone)
			client := w.client()
			v := w.beginProcess("backup", "--database", "HXE")
			id := w.awaitJob(client)
			w.streaming(client, id, 6*mebibyte)
			w.daemon.signal(syscall.SIGTERM)
			eventually(t, "the daemon refuses new jobs", w.drains)
			if record, err := client.Job(t.Context(), id); err != nil || record.State.Terminal() {
				t.Fatalf("within its grace the job is %s because of %+v, %v", record.State, record.Error, err)
			}
			second := time.Now()
			// One that comes in the same moment as the first is one with it.
			eventually(t, "the daemon ends at a further signal", func() bool {
				w.daemon.signal(syscall.SIGTERM)
				return w.daemon.hasEnded()
			})
			if status := w.daemon.wait(); status != -1 {
				t.Errorf("the daemon ended with %d, expected that the signal ends it", status)
			}
			if took := time.Since(second); took > 5*time.Second {
				t.Errorf("it ended after %s", took)
			}
			w.startDaemon()
			record := v.finish().expect(t, 1).record(t)
			expectCause(t, record, job.StateFailed, job.CodeInterrupted)
			(&faultCase{world: w}).expectHANAIdle()
			w.expectNoPipes()
			if rows := w.hana.catalog("HXE"); len(rows) != 1 || rows[0].State == "successful" {
				t.Errorf("HANA's catalog: %+v, expected one backup that did not succeed", rows)
			}
			if visible := (&crashSweep{world: w}).visible(); len(visible) > 0 {
				t.Errorf("visible in the store: %v", visible)
			}
			w.hana.set("delay-write", "0s")
			w.backUp("HXE")
			w.expectNoPipes()
			w.stopDaemon()
		})
	}
}

// drains reports whether the daemon takes no new job any more.
func (w *world) drains() bool { return strings.Contains(w.log.String(), "shutting down: no new jobs") }

// newSlowWorldWith is newSlowWorld with changes of the configuration.
func newSlowWorldWith(t *testing.T, d *depot, changes map[string]any) *world {
	t.Helper()
	w := newSlowWorld(t, d)
	w.stopDaemon()
	w.configure(overlay(map[string]any{"shutdownGrace": "1s", "timeouts": map[string]any{"answer": "10s"}}, changes))
	w.startDaemon()
	return w
}

// TestStopped stops the whole daemon for longer than its patience with HANA
// and the store lasts: a sleeping machine or a debugger. Nothing has failed, so
// the backup goes on.
func TestStopped(t *testing.T) {
	t.Parallel()
	const asleep = 6 * time.Second
	for _, test := range []struct {
		name   string
		settle func(w *world, client *httpapi.Client, id string)
	}{
		{"before HANA opens", func(w *world, _ *httpapi.Client, _ string) {
			eventually(w.t, "HANA's backup runs", func() bool { return len(w.hana.catalog("HXE")) == 1 })
		}},
		{"while HANA writes", func(w *world, client *httpapi.Client, id string) { w.streaming(client, id, 6*mebibyte) }},
		{"while HANA is about to answer", func(w *world, _ *httpapi.Client, _ string) {
			eventually(w.t, "HANA's catalog has it", func() bool {
				rows := w.hana.catalog("HXE")
				return len(rows) == 1 && rows[0].State == "successful"
			})
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newSlowWorldWith(t, openS3(t), map[string]any{
				"store": map[string]any{"stallTimeout": "2s", "outageTolerance": "3s"},
				"timeouts": map[string]any{
					"open": "3s", "stall": "2s", "idle": "3s", "answer": "4s", "end": "2s", "commit": "4s", "clean": "4s",
				},
			})
			w.hana.set("delay-open", "500ms")
			w.hana.set("delay-write", "10ms")
			w.hana.set("delay-answer", "500ms")
			client := w.client()
			v := w.beginProcess("backup", "--database", "HXE")
			test.settle(w, client, w.awaitJob(client))
			w.daemon.signal(syscall.SIGSTOP)
			time.Sleep(asleep) // the point of the test
			w.daemon.signal(syscall.SIGCONT)
			w.expectAgreement(v.finish().expect(t, 0).record(t))
			w.stopDaemon()
		})
	}
}
