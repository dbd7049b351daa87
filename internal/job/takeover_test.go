package job

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap/zaptest"
	"golang.org/x/sys/unix"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
	"github.com/pipestreamer/pipestreamer/pkg/fifo"
)

// TestRestartFindsOutWhatBecameOfABackup starts a conductor on a journal that
// says that a backup was streaming when the daemon died.
func TestRestartFindsOutWhatBecameOfABackup(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		// died changes what the dead daemon left.
		died func(t *testing.T, w whole, record Record)
		// restart changes what the next one finds.
		restart  func(*Parts)
		state    State
		visible  bool
		mentions string
	}{
		{
			name:  "after its manifest",
			died:  func(*testing.T, whole, Record) {},
			state: StateSucceeded, visible: true,
		},
		{
			name: "before its manifest and HANA believes in it",
			died: func(t *testing.T, w whole, record Record) {
				t.Helper()
				if err := w.parts.Store.Remove(t.Context(), record.Manifest); err != nil {
					t.Fatal(err)
				}
			},
			state: StateLost,
		},
		{
			name: "before its manifest and HANA cannot be asked",
			died: func(t *testing.T, w whole, record Record) {
				t.Helper()
				if err := w.parts.Store.Remove(t.Context(), record.Manifest); err != nil {
					t.Fatal(err)
				}
			},
			restart: func(p *Parts) {
				p.Trigger = &faultyTrigger{Trigger: p.Trigger, entry: func(backup.CatalogEntry, error) (backup.CatalogEntry, error) {
					return backup.CatalogEntry{}, backup.ErrNotSent
				}}
			},
			state: StateFailed, mentions: CodeCatalogMissing,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := startWhole(t, func(_ *hanasim.Config, _ *Parts, c *Config) { c.AnswerTimeout = 500 * time.Millisecond })
			record := w.backupOf(t, "HXE")
			if record.State != StateSucceeded {
				t.Fatal(record.Error)
			}
			w.Close()
			test.died(t, w, record)
			undone := record
			undone.State, undone.Stage, undone.FinishedAt = StateRunning, StageStream, time.Time{}
			undone.Manifest, undone.BackupID = "", 0
			if err := w.journal.save(entry{Record: undone}); err != nil {
				t.Fatal(err)
			}
			parts := w.parts
			if test.restart != nil {
				test.restart(&parts)
			}
			c, err := NewConductor(w.config, parts, zaptest.NewLogger(t), NewMetrics(prometheus.NewRegistry()))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			// It is cancelled already; that somebody asks once more ends nothing.
			if err := c.Cancel(record.ID); err != nil && !errors.Is(err, ErrFinished) {
				t.Fatal(err)
			}
			got := await(t, c, record.ID)
			if got.OutcomeUnknown != (test.mentions == CodeCatalogMissing) {
				t.Errorf("the outcome is unknown: %t", got.OutcomeUnknown)
			}
			if got.State != test.state || (test.state == StateSucceeded) != (got.Error == nil) {
				t.Fatalf("got %s because of %v", got.State, got.Error)
			}
			if test.state == StateSucceeded {
				expectFinished(t, c, got, record.Manifest)
			}
			if got.Error != nil && got.Error.Code != CodeInterrupted {
				t.Errorf("got cause %+v", got.Error)
			}
			if test.state == StateSucceeded && (got.Manifest != record.Manifest || got.BackupID != record.BackupID) {
				t.Errorf("got manifest %q of backup %d", got.Manifest, got.BackupID)
			}
			if told := strings.Join(got.Consequences, "\n"); test.mentions == CodeCatalogMissing && !strings.Contains(told, "the catalog was asked") {
				t.Errorf("the consequences are %q", told)
			}
			if visible := len(names(t, w.bucket)) > 0; visible != test.visible {
				t.Errorf("objects are visible: %t", visible)
			}
			if again, err := c.StartBackup(t.Context(), BackupRequest{Database: "HXE"}, ""); err != nil {
				t.Errorf("the next backup gave %+v, %v", again, err)
			} else if again = await(t, c, again.ID); test.restart == nil && again.State != StateSucceeded {
				t.Errorf("the next backup %s because of %v", again.State, again.Error)
			}
		})
	}
}

// expectFinished looks whether a backup of HXE has ended, for its record and the
// metrics, when its manifest says so, however late that was found out.
func expectFinished(t *testing.T, c *Conductor, got Record, key string) {
	t.Helper()
	m, err := readManifest(t.Context(), c.parts.Store, key)
	if err != nil {
		t.Fatal(err)
	}
	if !got.FinishedAt.Equal(m.FinishedAt) {
		t.Errorf("it ended at %s, its manifest says %s", got.FinishedAt, m.FinishedAt)
	}
	gauge := c.metrics.success.WithLabelValues(string(ActionBackup), "HXE", string(backup.KindComplete))
	if at := testutil.ToFloat64(gauge); at != seconds(m.FinishedAt) {
		t.Errorf("the last success was at %f, expected %f", at, seconds(m.FinishedAt))
	}
}

// late is a store that still completes an upload of a dead process: its object
// appears behind the first list of its lane.
type late struct {
	Store

	t      *testing.T
	key    string
	text   []byte
	stays  bool // an abort finds nothing to abort
	wins   bool // against an abort that comes first
	landed bool
}

// lands has the store finish what it was asked for, once.
func (l *late) lands(ctx context.Context) {
	if l.text == nil {
		return
	}
	text := l.text
	l.text, l.landed = nil, true
	if err := writeObject(ctx, l.Store, l.key, text, time.Second); err != nil {
		l.t.Error(err)
	}
}

func (l *late) Sweep(ctx context.Context, prefix string, olderThan time.Duration) error {
	if strings.HasPrefix(l.key, prefix) {
		if l.wins {
			l.lands(ctx)
		}
		if !l.stays {
			l.text = nil
		}
	}
	return l.Store.Sweep(ctx, prefix, olderThan)
}

func (l *late) List(ctx context.Context, prefix string) ([]backup.Object, error) {
	objects, err := l.Store.List(ctx, prefix)
	if strings.HasPrefix(l.key, prefix) {
		l.lands(ctx)
	}
	return objects, err
}

// TestRestartRacesWithTheStore starts a conductor while the store still works on
// a completion that the dead daemon asked for. Whenever it comes, the manifest
// and its objects are there, or neither.
func TestRestartRacesWithTheStore(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name     string
		manifest bool // is what is late, otherwise a stream
		change   func(*late)
		landed   bool
		state    State
	}{
		{"a manifest that was aborted", true, func(*late) {}, false, StateLost},
		{"a stream that was aborted", false, func(*late) {}, false, StateLost},
		{"a manifest that comes before the abort", true, func(l *late) { l.wins = true }, true, StateSucceeded},
		{"a stream that comes before the abort", false, func(l *late) { l.wins = true }, true, StateLost},
		{"a manifest that no abort reaches", true, func(l *late) { l.stays = true }, true, StateLost},
		{"a stream that no abort reaches", false, func(l *late) { l.stays = true }, true, StateLost},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := startWhole(t, func(_ *hanasim.Config, _ *Parts, c *Config) { c.AnswerTimeout = 500 * time.Millisecond })
			record := w.backupOf(t, "HXE")
			if record.State != StateSucceeded {
				t.Fatal(record.Error)
			}
			w.Close()
			gone := []string{record.Manifest}
			if !test.manifest {
				gone = append([]string{backup.StreamKey("HXE", "HXE", record.Prefix, record.Streams[0].StreamID)}, gone...)
			}
			store := &late{Store: w.parts.Store, t: t, key: gone[0]}
			test.change(store)
			var err error
			if store.text, err = os.ReadFile(filepath.Join(w.bucket, store.key)); err != nil {
				t.Fatal(err)
			}
			for _, key := range gone {
				if err := w.parts.Store.Remove(t.Context(), key); err != nil {
					t.Fatal(err)
				}
			}
			record.State, record.Stage, record.FinishedAt, record.Manifest, record.BackupID = StateRunning, StageStream, time.Time{}, "", 0
			if err := w.journal.save(entry{Record: record}); err != nil {
				t.Fatal(err)
			}
			parts := w.parts
			parts.Store = store
			c, err := NewConductor(w.config, parts, zaptest.NewLogger(t), NewMetrics(prometheus.NewRegistry()))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if got := await(t, c, record.ID); got.State != test.state {
				t.Errorf("got %s because of %v", got.State, got.Error)
			}
			if store.landed != test.landed || store.text != nil {
				t.Errorf("it was completed: %t", store.landed)
			}
			if left := names(t, w.bucket); (test.state == StateSucceeded) != (len(left) > 0) {
				t.Errorf("in the store: %v", left)
			}
		})
	}
}

// TestUnreadableJournalReleasesPipes finds a file in the journal that nobody can
// read. The conductor does not start, but HANA is not left blocked in opening a
// pipe of another job.
func TestUnreadableJournalReleasesPipes(t *testing.T) {
	t.Parallel()
	directory, state := t.TempDir(), t.TempDir()
	journal, err := openJournal(state)
	if err != nil {
		t.Fatal(err)
	}
	var released []<-chan error
	for i, action := range []Action{ActionBackup, ActionRestore} {
		name := fmt.Sprintf("P_databackup_%d_1", i)
		released = append(released, blockInOpen(t, filepath.Join(directory, name)))
		record := Record{ID: string(action), Action: action, State: StateRunning, Stage: StageStream, Database: "HXE", Kind: backup.KindComplete, Prefix: "P"}
		if err := journal.save(entry{Record: record, Pipes: []fifo.PipeID{{Name: name}}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(state, "jobs", "a.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	config := Config{SID: "HXE", Directory: directory, StateDirectory: state}
	if _, err := NewConductor(config, Parts{}, zaptest.NewLogger(t), NewMetrics(prometheus.NewRegistry())); err == nil || !strings.Contains(err.Error(), "a.json") {
		t.Errorf("got %v, expected a word about a.json", err)
	}
	for i, ended := range released {
		select {
		case err := <-ended:
			// It may have come too late to be blocked.
			if !errors.Is(err, unix.EPIPE) && !errors.Is(err, unix.ENOENT) {
				t.Errorf("the writer of pipe %d got %v, expected EPIPE", i, err)
			}
		case <-time.After(10 * time.Second):
			t.Errorf("the writer of pipe %d stays blocked", i)
		}
	}
	if left := names(t, directory); len(left) > 0 {
		t.Errorf("left in the backup directory: %v", left)
	}
}

// blockInOpen makes a pipe and writes to it, which blocks in open(2) until
// somebody has it open for reading. What came of it is sent.
func blockInOpen(t *testing.T, path string) <-chan error {
	t.Helper()
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		pipe, err := os.OpenFile(path, os.O_WRONLY, 0)
		for err == nil {
			_, err = pipe.Write(make([]byte, 4096))
		}
		ended <- errors.Join(err, pipe.Close())
	}()
	return ended
}

// TestDrainLeavesWhatIsNotKnown drains a daemon that has taken over a backup while
// HANA is down: it waits no longer for that HANA, and how the backup ended is for
// the next daemon to find out.
func TestDrainLeavesWhatIsNotKnown(t *testing.T) {
	t.Parallel()
	w := startWhole(t, func(_ *hanasim.Config, _ *Parts, c *Config) { c.AnswerTimeout = time.Minute })
	record := w.backupOf(t, "HXE")
	if record.State != StateSucceeded {
		t.Fatal(record.Error)
	}
	w.Close()
	if err := w.parts.Store.Remove(t.Context(), record.Manifest); err != nil {
		t.Fatal(err)
	}
	before := names(t, w.bucket)
	undone := record
	undone.State, undone.Stage, undone.FinishedAt, undone.Manifest, undone.BackupID = StateRunning, StageStream, time.Time{}, "", 0
	if err := w.journal.save(entry{Record: undone}); err != nil {
		t.Fatal(err)
	}
	parts := w.parts
	parts.Trigger = &faultyTrigger{Trigger: w.parts.Trigger, entry: func(e backup.CatalogEntry, err error) (backup.CatalogEntry, error) {
		e.State = backup.CatalogCanceled
		return e, err
	}}
	next := func() *Conductor {
		t.Helper()
		c, err := NewConductor(w.config, parts, zaptest.NewLogger(t), NewMetrics(prometheus.NewRegistry()))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		return c
	}

	if err := w.system.Crash(); err != nil {
		t.Fatal(err)
	}
	drained := next()
	begin := time.Now()
	for running := drained.Refuse(); len(running) > 0; running = drained.Refuse() {
		if time.Since(begin) > goneAfter+20*time.Second {
			t.Fatalf("it still runs: %+v", running)
		}
		time.Sleep(20 * time.Millisecond)
	}
	if got, err := drained.Job(record.ID); err != nil || got.State != StateRunning || !got.Suspended || got.OutcomeUnknown {
		t.Errorf("left as %+v, %v", got, err)
	}
	records, leave, err := drained.Subscribe(record.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer leave()
	<-records
	if _, more := <-records; more {
		t.Error("who follows a suspended job gets another record")
	}
	if err := drained.Cancel(record.ID); !errors.Is(err, ErrSuspended) {
		t.Errorf("Cancel: %v, expected %v", err, ErrSuspended)
	}
	if n := testutil.ToFloat64(drained.metrics.running.WithLabelValues(string(ActionBackup))); n != 0 {
		t.Errorf("the metric says that %v run", n)
	}
	if left := names(t, w.bucket); !slices.Equal(left, before) {
		t.Errorf("in the store: %v", left)
	}
	drained.Close()

	if err := w.system.Restart(); err != nil {
		t.Fatal(err)
	}
	after := next()
	if got := await(t, after, record.ID); got.State != StateFailed || got.OutcomeUnknown || got.Suspended || got.Error.Code != CodeInterrupted {
		t.Errorf("got %+v because of %v", got, got.Error)
	}
	if err := after.checkBase("HXE"); err != nil {
		t.Error(err)
	}
	if left := names(t, w.bucket); len(left) > 0 {
		t.Errorf("in the store: %v", left)
	}
}

// TestResumedJobKeepsItsPlace resumes a backup whose end could not be journaled,
// though a later one has ended since: what the later one says still holds.
func TestResumedJobKeepsItsPlace(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		lost   bool // the one that is resumed; otherwise it has succeeded
		later  State
		base   bool // is lost
		failed float64
	}{
		{"good then lost", false, StateLost, true, 1},
		{"good then failed", false, StateFailed, false, 1},
		{"good then canceled", false, StateCanceled, false, 0},
		{"lost then good", true, StateSucceeded, false, 0},
		{"lost then failed", true, StateFailed, true, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := startWhole(t, func(*hanasim.Config, *Parts, *Config) {})
			record := w.backupOf(t, "HXE")
			if record.State != StateSucceeded {
				t.Fatal(record.Error)
			}
			w.Close()
			if test.lost {
				if err := w.parts.Store.Remove(t.Context(), record.Manifest); err != nil {
					t.Fatal(err)
				}
			}
			later := record
			later.ID, later.State, later.BackupID = "00000000-0000-7000-8000-000000000000", test.later, record.BackupID+1 // the clock was set back
			record.State, record.Stage, record.FinishedAt, record.Manifest, record.BackupID = StateRunning, StageStream, time.Time{}, "", 0
			if err := errors.Join(w.journal.save(entry{Record: record}), w.journal.save(entry{Record: later})); err != nil {
				t.Fatal(err)
			}
			c, err := NewConductor(w.config, w.parts, zaptest.NewLogger(t), NewMetrics(prometheus.NewRegistry()))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if got := await(t, c, record.ID); (got.State == StateLost) != test.lost {
				t.Fatalf("got %s because of %v", got.State, got.Error)
			}
			if err := c.checkBase("HXE"); (err != nil) != test.base {
				t.Errorf("a delta: %v", err)
			}
			if got := testutil.ToFloat64(c.metrics.lost.WithLabelValues("HXE")); (got == 1) != test.base {
				t.Errorf("base_lost is %v", got)
			}
			if got := value(c.metrics.failing, string(ActionBackup), "HXE"); got != test.failed {
				t.Errorf("last_failed is %v", got)
			}
		})
	}
}
