package job

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// beside is a conductor with the parts of w, another state directory or the same,
// and metrics and a log of its own.
func beside(t *testing.T, config Config, parts Parts) (*Conductor, *observer.ObservedLogs) {
	t.Helper()
	core, logs := observer.New(zap.InfoLevel)
	c, err := NewConductor(config, parts, zap.New(core), NewMetrics(prometheus.NewRegistry()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, logs
}

func value(gauge *prometheus.GaugeVec, labels ...string) float64 {
	return testutil.ToFloat64(gauge.WithLabelValues(labels...))
}

// TestMetricsOutliveARestart asks three daemons for the same: the one that did the
// jobs, the next one with its journal, and one that has the store only.
func TestMetricsOutliveARestart(t *testing.T) {
	t.Parallel()
	w := startWhole(t, func(*hanasim.Config, *Parts, *Config) {})
	made := w.backupOf(t, "HXE")
	read, err := w.StartVerification(t.Context(), VerificationRequest{Database: "HXE", Backup: Latest}, "")
	if err != nil {
		t.Fatal(err)
	}
	read = await(t, w.Conductor, read.ID)
	missing, err := w.StartRestore(t.Context(), RestoreRequest{Database: "HXE", Backup: "17"}, "")
	if err != nil {
		t.Fatal(err)
	}
	missing = await(t, w.Conductor, missing.ID)
	if made.State != StateSucceeded || read.State != StateSucceeded || missing.State != StateFailed {
		t.Fatalf("%s, %s, %s", made.State, read.State, missing.State)
	}
	w.Close()

	next, _ := beside(t, w.config, w.parts)
	for name, m := range map[string]*Metrics{"the same daemon": w.metrics, "after a restart": next.metrics} {
		got := map[string]float64{
			"backup":      value(m.success, "backup", "HXE", "complete"),
			"proof":       value(m.proof, "verification", "HXE"),
			"good":        value(m.failing, "backup", "HXE"),
			"bad":         value(m.failing, "restore", "HXE"),
			"lost":        value(m.lost, "HXE"),
			"interrupted": testutil.ToFloat64(m.interrupted),
		}
		want := map[string]float64{"backup": seconds(made.FinishedAt), "proof": seconds(read.FinishedAt), "good": 0, "bad": 1, "lost": 0, "interrupted": 0}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}

	config := w.config
	config.StateDirectory = t.TempDir()
	fresh, _ := beside(t, config, w.parts)
	if n := testutil.CollectAndCount(fresh.metrics.success); n != 0 {
		t.Fatalf("without a journal %d successes are known before the store was asked", n)
	}
	fresh.Recall(t.Context())
	manifest, err := fresh.Backup(t.Context(), "HXE", Latest)
	if err != nil {
		t.Fatal(err)
	}
	if got := value(fresh.metrics.success, "backup", "HXE", "complete"); got != seconds(manifest.FinishedAt) {
		t.Errorf("from the store: %v, expected %v", got, seconds(manifest.FinishedAt))
	}
	// What alerts are made of is there, with 0.
	if n := testutil.CollectAndCount(fresh.metrics.jobs); n != 4 {
		t.Errorf("%d series of ended jobs, expected one for each state", n)
	}
	if n := testutil.CollectAndCount(fresh.metrics.lost); n != 1 || testutil.ToFloat64(fresh.metrics.recalled) != 1 {
		t.Errorf("base_lost has %d series", n)
	}
}

// lateStore fails at first.
type lateStore struct {
	Store

	mu       sync.Mutex
	failures int
}

func (s *lateStore) List(ctx context.Context, prefix string) ([]backup.Object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failures > 0 {
		s.failures--
		return nil, errors.New("away")
	}
	return s.Store.List(ctx, prefix)
}

// deafStore refuses to open some keys at first, and counts.
type deafStore struct {
	Store

	mu     sync.Mutex
	refuse map[string]int
	opened map[string]int
	lists  int
}

func (s *deafStore) List(ctx context.Context, prefix string) ([]backup.Object, error) {
	objects, err := s.Store.List(ctx, prefix)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lists++
	return objects, err
}

func (s *deafStore) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	s.mu.Lock()
	s.opened[key]++
	refused := s.opened[key] <= s.refuse[key]
	s.mu.Unlock()
	if refused {
		return nil, errors.New("reset by peer")
	}
	return s.Store.Open(ctx, key, offset, length)
}

// TestRecallRepeatsWhatFailed: one manifest that cannot be read at once costs
// another look at that one, and not at the whole store.
func TestRecallRepeatsWhatFailed(t *testing.T) {
	t.Parallel()
	w := startWhole(t, func(*hanasim.Config, *Parts, *Config) {})
	store := &deafStore{Store: w.parts.Store, refuse: make(map[string]int), opened: make(map[string]int)}
	want := make(map[string]int)
	for database, opened := range map[string]int{"HXE": 2, "SYSTEMDB": 1} {
		made := w.backupOf(t, database)
		if made.State != StateSucceeded {
			t.Fatal(made.Error)
		}
		key := backup.ManifestKey(w.config.SID, database, made.BackupID)
		store.refuse[key], want[key] = opened-1, opened
	}
	config, parts := w.config, w.parts
	config.StateDirectory, parts.Store = t.TempDir(), store
	fresh, _ := beside(t, config, parts)
	store.lists = 0
	fresh.Recall(t.Context())
	for _, database := range []string{"HXE", "SYSTEMDB"} {
		if value(fresh.metrics.success, "backup", database, "complete") == 0 {
			t.Errorf("the backup of %s is not known", database)
		}
	}
	if diff := cmp.Diff(want, store.opened); diff != "" || store.lists != len(want) {
		t.Errorf("%d lists, and opened (-want +got):\n%s", store.lists, diff)
	}
}

func TestRecallWaitsForTheStore(t *testing.T) {
	t.Parallel()
	w := startWhole(t, func(*hanasim.Config, *Parts, *Config) {})
	if made := w.backupOf(t, "HXE"); made.State != StateSucceeded {
		t.Fatal(made.Error)
	}
	config, parts := w.config, w.parts
	config.StateDirectory, parts.Store = t.TempDir(), &lateStore{Store: w.parts.Store, failures: 1}
	fresh, logs := beside(t, config, parts)
	fresh.Recall(t.Context())
	if got := value(fresh.metrics.success, "backup", "HXE", "complete"); got == 0 {
		t.Error("the store was not asked again")
	}
	if n := logs.FilterMessage("the last backups in the store are not known yet; trying again").Len(); n != 1 {
		t.Errorf("told %d times, expected once", n)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	parts.Store = &lateStore{Store: w.parts.Store, failures: 1 << 30}
	config.StateDirectory = t.TempDir()
	never, _ := beside(t, config, parts)
	never.Recall(ended)
	if testutil.ToFloat64(never.metrics.recalled) != 0 {
		t.Error("a store that was never seen counts as known")
	}
}

// TestLastSuccessIsNotForgotten fills the journal with newer jobs than the one
// restore that has succeeded.
func TestLastSuccessIsNotForgotten(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	directory := filepath.Join(state, "jobs")
	if err := os.Mkdir(directory, 0o700); err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for n := range int64(journalLength + 20) {
		e := entry{Version: journalVersion, Sequence: n + 1, Record: Record{
			ID: fmt.Sprintf("0193525a-0000-7000-8000-%012d", n), Action: ActionBackup, State: StateFailed, Database: "HXE", FinishedAt: at.Add(time.Hour),
		}}
		if n == 0 {
			e.Record.Action, e.Record.State, e.Record.Source, e.Record.FinishedAt = ActionRestore, StateSucceeded, "ORIGIN", at
		}
		text, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(directory, e.Record.ID+".json"), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		c := idle(t, state)
		if jobs := c.Jobs(); len(jobs) != journalLength || jobs[len(jobs)-1].Action != ActionRestore {
			t.Errorf("%d jobs are known, the oldest is a %s", len(jobs), jobs[len(jobs)-1].Action)
		}
		if got := value(c.metrics.proof, "restore", "ORIGIN"); got != seconds(at) {
			t.Errorf("the last restore was at %v, expected %v", got, seconds(at))
		}
		c.Close()
	}
}

// TestFailureIsNotForgotten fills the journal with deltas that succeed after a
// complete backup that has failed.
func TestFailureIsNotForgotten(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	directory := filepath.Join(state, "jobs")
	if err := os.Mkdir(directory, 0o700); err != nil {
		t.Fatal(err)
	}
	for n := range int64(journalLength + 20) {
		e := entry{Version: journalVersion, Sequence: n + 1, Record: Record{
			ID: fmt.Sprintf("0193525a-0000-7000-8000-%012d", n), Action: ActionBackup, State: StateSucceeded, Database: "HXE", Kind: backup.KindIncremental,
		}}
		if n == 0 {
			e.Record.State, e.Record.Kind = StateFailed, backup.KindComplete
		}
		text, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(directory, e.Record.ID+".json"), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		c := idle(t, state)
		if got := value(c.metrics.failing, "backup", "HXE"); got != 1 {
			t.Errorf("last_failed is %v", got)
		}
		if n := len(c.Jobs()); n != journalLength {
			t.Errorf("%d jobs are known", n)
		}
		c.Close()
	}
}

// TestEndsAreToldOnce counts what each job leaves in the log, and what Parts.Ended
// gets.
func TestEndsAreToldOnce(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	journal, err := openJournal(state)
	if err != nil {
		t.Fatal(err)
	}
	left := Record{
		ID: "0193525a-0000-7000-8000-000000000002", Action: ActionRestore, State: StateRunning, Stage: StagePlan,
		SID: "HXE", Database: "OTHER", StartedAt: time.Now().UTC(),
	}
	if err := journal.save(entry{Record: left, Request: "restore OTHER"}); err != nil {
		t.Fatal(err)
	}
	type told struct {
		State     State
		Recovered bool
	}
	var mu sync.Mutex
	got := make(map[string]told)
	parts := Parts{Ended: func(e Ending) {
		mu.Lock()
		defer mu.Unlock()
		if _, twice := got[e.Record.ID]; twice {
			t.Errorf("job %s is told twice", e.Record.ID)
		}
		got[e.Record.ID] = told{e.Record.State, e.Recovered}
	}}
	c, logs := beside(t, Config{Tool: "test", SID: "HXE", Directory: t.TempDir(), StateDirectory: state}, parts)
	want := map[string]told{left.ID: {State: StateFailed}}
	done := make(chan struct{})
	close(done)
	failed := verdictOf(newError(StageStream, CodeUpload, errors.New("away")))
	for _, step := range []struct {
		v         verdict
		recovered bool
	}{
		{v: verdict{state: StateSucceeded}},
		{v: failed},
		{v: verdictOf(newError(StagePlan, CodeCanceled, errCancelRequested))}, // between them, and says nothing
		{v: verdict{state: StateSucceeded}, recovered: true},
		{v: verdict{state: StateSucceeded}},
		{v: verdict{state: StateLost, cause: failed.cause}},
	} {
		record, err := c.start(request("HXE", ""), "backup HXE", until(done, step.v))
		if err != nil {
			t.Fatal(err)
		}
		want[record.ID] = told{await(t, c, record.ID).State, step.recovered}
		c.running.Wait() // the end is told after it is shown
	}
	mu.Lock()
	defer mu.Unlock()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
	lines := make(map[string]int)
	for _, line := range logs.All() {
		fields := line.ContextMap()
		if line.Level == zap.WarnLevel { // that it is interrupted, before anybody knows what came of it
			continue
		}
		if id, of := fields["job_id"].(string); of {
			lines[id]++
		}
		for _, name := range []string{"job_id", "action", "database", "kind", "state", "bytes", "stored_bytes", "seconds", "streams", "objects", "hana_seconds", "store_seconds", "own_seconds"} {
			if _, has := fields[name]; !has {
				t.Errorf("%q has no %s", line.Message, name)
			}
		}
	}
	for id := range want {
		if lines[id] != 1 {
			t.Errorf("job %s has %d lines in the log, expected one", id, lines[id])
		}
	}
	if n := testutil.ToFloat64(c.metrics.interrupted); n != 1 {
		t.Errorf("%v interrupted jobs", n)
	}
}

func TestBytesAreCountedWhileAJobRuns(t *testing.T) {
	t.Parallel()
	c := idle(t, t.TempDir())
	release := make(chan struct{})
	record, err := c.start(request("HXE", ""), "backup HXE", func(_ context.Context, j *live) verdict {
		j.follow([]backup.Stream{{StreamID: backup.StreamID{VolumeID: 3, PartID: 1}}})[0].bytes.Add(1000)
		<-release
		// As when it is made once more, through files.
		j.follow([]backup.Stream{{StreamID: backup.StreamID{VolumeID: 3, PartID: 1}}})[0].bytes.Add(700)
		return verdict{state: StateSucceeded}
	})
	if err != nil {
		t.Fatal(err)
	}
	counted := func() float64 { return testutil.ToFloat64(c.metrics.bytes.WithLabelValues("backup", "HXE")) }
	deadline := time.Now().Add(10 * time.Second)
	for counted() != 1000 {
		if time.Now().After(deadline) {
			t.Fatalf("%v bytes are counted while the job runs, expected 1000", counted())
		}
		time.Sleep(time.Millisecond)
	}
	close(release)
	await(t, c, record.ID)
	if got := counted(); got != 1700 {
		t.Errorf("%v bytes in the end, expected 1700", got)
	}
}

// TestDatabasesOfHANA shows those that were never backed up, and one of the
// journal that HANA does not have any more.
func TestDatabasesOfHANA(t *testing.T) {
	t.Parallel()
	w := startWhole(t, func(*hanasim.Config, *Parts, *Config) {})
	done := make(chan struct{})
	close(done)
	record, err := w.start(request("GONE", ""), "backup GONE", until(done, verdict{state: StateSucceeded}))
	if err != nil {
		t.Fatal(err)
	}
	await(t, w.Conductor, record.ID)
	ctx, cancel := context.WithCancel(t.Context())
	var watching sync.WaitGroup
	watching.Go(func() { w.WatchDatabases(ctx) })
	deadline := time.Now().Add(10 * time.Second)
	for testutil.CollectAndCount(w.metrics.present) < 3 {
		if time.Now().After(deadline) {
			t.Fatal("HANA was not asked")
		}
		time.Sleep(time.Millisecond)
	}
	cancel()
	watching.Wait()
	for database, want := range map[string]float64{"SYSTEMDB": 1, "HXE": 1, "GONE": 0} {
		if got := value(w.metrics.present, database); got != want {
			t.Errorf("%s: %v, expected %v", database, got, want)
		}
	}
	if n := testutil.CollectAndCount(w.metrics.lost); n != 3 {
		t.Errorf("base_lost has %d series, expected one for each database", n)
	}
}

func TestTimesOnlyGrow(t *testing.T) {
	t.Parallel()
	m := NewMetrics(prometheus.NewRegistry())
	later := time.Date(2026, 11, 30, 2, 0, 0, 0, time.UTC)
	for _, at := range []time.Time{later.Add(-time.Hour), later, later.Add(-time.Minute), {}} {
		m.succeeded(ActionBackup, "HXE", "complete", at)
	}
	if got := value(m.success, "backup", "HXE", "complete"); got != seconds(later) {
		t.Errorf("got %v, expected %v", got, seconds(later))
	}
}
