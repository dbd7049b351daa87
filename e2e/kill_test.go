package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim"
	"github.com/pipestreamer/pipestreamer/e2e/nulls3"
	"github.com/pipestreamer/pipestreamer/internal/job"
)

// TestKill kills the daemon in the middle of a backup. HANA's backup ends, the
// job has failed, and the next backup succeeds. A writer that opened a pipe
// after the daemon was killed waits in open(2) for a reader; the next daemon
// releases it.
func TestKill(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		// opened is whether HANA has opened its pipes at that moment.
		opened bool
	}{
		{"while HANA writes", true},
		{"before HANA opens its pipes", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newSlowWorld(t, openLocal(t))
			client := w.client()
			if !test.opened {
				w.hana.set("delay-open", "5s")
			}
			v := w.beginProcess("backup", "--database", "HXE")
			id := w.awaitJob(client)
			if test.opened {
				w.streaming(client, id, 6*mebibyte)
			} else {
				eventually(t, "HANA's backup runs", func() bool { return len(w.hana.catalog("HXE")) == 1 })
			}
			w.daemon.signal(syscall.SIGKILL)
			w.daemon.wait()
			// The simulator gives up when its client has gone (assumed of HANA), so
			// these stand for services of a HANA that does not.
			released := w.blockInOpen()
			if !test.opened && len(released) != 6 {
				t.Errorf("%d pipes are there, expected two for each of three streams", len(released))
			}
			w.startDaemon()
			for path, ended := range released {
				select {
				case err := <-ended:
					if !errors.Is(err, syscall.EPIPE) {
						t.Errorf("a writer of %s got %v, expected EPIPE", path, err)
					}
				case <-time.After(patience):
					t.Fatalf("a writer stays blocked in opening %s", path)
				}
			}
			// The client finds its way to the next daemon.
			record := v.finish().expect(t, 1).record(t)
			expectCause(t, record, job.StateFailed, job.CodeInterrupted)
			if record.ID != id {
				t.Errorf("the client followed job %s, expected %s", record.ID, id)
			}
			eventually(t, "HANA's backup ends", func() bool { return w.hana.catalog("HXE")[0].State != "running" })
			w.expectUnfinishedAfterKill()

			w.hana.set("delay-write", "0s")
			w.hana.set("delay-open", "0s")
			good := w.backUp("HXE")
			w.run("verify", "--database", "HXE", "--backup", strconv.FormatInt(good.BackupID, 10)).expect(t, 0)
			w.destroyAndRestore(good)
			w.expectNoPipes()
			w.stopDaemon()
		})
	}
}

// blockInOpen opens every pipe that HANA could open for writing and returns
// when each of these calls waits for a reader. What writing gave is sent once
// they are released.
func (w *world) blockInOpen() map[string]<-chan error {
	w.t.Helper()
	released := make(map[string]<-chan error)
	for _, name := range w.pipes() {
		if strings.HasPrefix(name, ".pipestreamer") {
			continue // a spare one, whose name HANA does not know
		}
		path := filepath.Join(w.backups, name)
		thread, ended := make(chan int, 1), make(chan error, 1)
		go func() {
			runtime.LockOSThread() // and never unlocked: the thread ends with it
			thread <- unix.Gettid()
			fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
			for errors.Is(err, unix.EINTR) {
				fd, err = unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
			}
			opened := err == nil
			for err == nil {
				_, err = unix.Write(fd, make([]byte, 4096)) // as HANA: more than a pipe holds
			}
			if opened {
				err = errors.Join(err, unix.Close(fd))
			}
			ended <- err
		}()
		// proc_pid_syscall(5): the number of the call that the thread is in.
		call := fmt.Sprintf("/proc/self/task/%d/syscall", <-thread)
		eventually(w.t, "a writer waits in opening "+path, func() bool {
			text, err := os.ReadFile(call)
			number, _, _ := strings.Cut(string(text), " ")
			return err == nil && number == strconv.Itoa(unix.SYS_OPENAT)
		})
		released[path] = ended
	}
	return released
}

// expectUnfinishedAfterKill is expectUnfinished, but what was on its way into
// the store may stay there, invisible, until it is swept.
func (w *world) expectUnfinishedAfterKill() {
	w.t.Helper()
	rows := w.hana.catalog("HXE")
	if len(rows) != 1 || rows[0].State == "successful" {
		w.t.Errorf("HANA's catalog: %+v, expected one backup that did not succeed", rows)
	}
	for key := range w.depot.objects(w.t) {
		if !strings.HasPrefix(key, ".pipestreamer/") {
			w.t.Errorf("visible in the store: %s", key)
		}
	}
	w.expectNoPipes()
}

// TestKillWhileCommitting kills the daemon when HANA has ended successfully and
// the store is about to show the objects or the manifest: HANA believes in a
// backup that has no manifest. The next daemon calls it lost and removes what
// became visible. A store that works on a completion when the daemon is killed,
// and goes on long after the next one has judged, shows nothing.
func TestKillWhileCommitting(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		lane  string // of the completions that take long
		later bool   // than the next daemon's verdict
	}{
		{"a stream", "/data/", false},
		{"a stream, completed after the verdict", "/data/", true},
		{"the manifest, completed after the verdict", "/manifests/", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			testKillWhileCommitting(t, test.lane, test.later)
		})
	}
}

func testKillWhileCommitting(t *testing.T, lane string, later bool) {
	t.Helper()
	arrived, release := make(chan struct{}), make(chan struct{})
	var first, last sync.Once
	var waiting atomic.Int64
	letGo := func() { last.Do(func() { close(release) }) }
	t.Cleanup(letGo)
	store, server := openNull(t, nulls3.Options{Delay: func(r *http.Request) {
		if r.Method == http.MethodPost && r.URL.Query().Has("uploadId") && strings.Contains(r.URL.Path, lane) {
			body, err := io.ReadAll(r.Body)
			if err != nil { // its client died while it sent, and the store does not work on it
				r.Body = io.NopCloser(iotest.ErrReader(err))
				return
			}
			// The store has the whole request: that its client dies changes nothing.
			r.Body = io.NopCloser(bytes.NewReader(body))
			waiting.Add(1)
			first.Do(func() { close(arrived) })
			<-release
		}
	}})
	w := newWorld(t, hanasim.Config{
		Databases: []hanasim.Database{systemDB(), {Name: "HXE", Volumes: volumes(1, 4096)}}, Profile: hanasim.Dotname,
	}, store, nil)
	v := w.beginProcess("backup", "--database", "HXE")
	select {
	case <-arrived:
	case <-time.After(patience):
		t.Fatal("nothing was committed")
	}
	w.daemon.signal(syscall.SIGKILL)
	w.daemon.wait()
	if !later {
		completed := server.Counters().Completed
		letGo()
		eventually(t, "the store ends what was asked of it", func() bool { return server.Counters().Completed > completed })
	}
	w.startDaemon()
	record := v.finish().expect(t, 4).record(t)
	expectCause(t, record, job.StateLost, job.CodeInterrupted)
	if later {
		before := server.Counters().Refused
		letGo()
		eventually(t, "the store ends what was asked of it", func() bool { return server.Counters().Refused >= before+waiting.Load() })
	}
	if rows := w.hana.catalog("HXE"); len(rows) != 1 || rows[0].State != "successful" || rows[0].BackupID != record.BackupID {
		t.Errorf("HANA's catalog: %+v, expected the successful backup %d", rows, record.BackupID)
	}
	if objects := server.Objects(); len(objects) > 0 {
		t.Errorf("visible in the store: %v", objects)
	}
	w.expectNoPipes()
	if next := w.backUp("HXE"); w.manifest("HXE", next.BackupID).JobID != next.ID {
		t.Error("the next backup has the manifest of another job")
	}
	w.stopDaemon()
}
