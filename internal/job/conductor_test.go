package job

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap/zaptest"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// idle is a conductor without parts, for what concerns admission, records and
// the journal only.
func idle(t *testing.T, state string) *Conductor {
	t.Helper()
	config := Config{Tool: "test", SID: "HXE", Directory: t.TempDir(), StateDirectory: state}
	c, err := NewConductor(config, Parts{}, zaptest.NewLogger(t), NewMetrics(prometheus.NewRegistry()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// until is work that ends with v when release is closed, or when it is
// cancelled.
func until(release <-chan struct{}, v verdict) work {
	return func(ctx context.Context, _ *live) verdict {
		select {
		case <-release:
			return v
		case <-ctx.Done():
			return verdictOf(newError(StageStream, CodeCanceled, context.Cause(ctx)))
		}
	}
}

// await returns the terminal record of a job.
func await(t *testing.T, c *Conductor, id string) Record {
	t.Helper()
	records, end, err := c.Subscribe(id)
	if err != nil {
		t.Fatal(err)
	}
	defer end()
	var last Record
	for record := range records {
		last = record
	}
	if !last.State.Terminal() {
		t.Fatalf("the subscription ended in state %s", last.State)
	}
	return last
}

func request(database, key string) Record {
	return Record{Action: ActionBackup, Database: database, IdempotencyKey: key}
}

func TestOneJobForEachDatabase(t *testing.T) {
	t.Parallel()
	c := idle(t, t.TempDir())
	release := make(chan struct{})
	var admitted, busy atomic.Int64
	var group sync.WaitGroup
	for range 50 {
		group.Go(func() {
			_, err := c.start(request("HXE", ""), "backup HXE", until(release, verdict{state: StateSucceeded}))
			var occupied *BusyError
			switch {
			case err == nil:
				admitted.Add(1)
			case errors.As(err, &occupied) && occupied.JobID != "":
				busy.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	group.Wait()
	if admitted.Load() != 1 || busy.Load() != 49 {
		t.Errorf("%d admitted, %d busy", admitted.Load(), busy.Load())
	}
	if _, err := c.start(request("SYSTEMDB", ""), "backup SYSTEMDB", until(release, verdict{state: StateSucceeded})); err != nil {
		t.Errorf("another database was refused: %v", err)
	}
	close(release)
	for _, record := range c.Jobs() {
		await(t, c, record.ID)
	}
	if _, err := c.start(request("HXE", ""), "backup HXE", until(release, verdict{state: StateSucceeded})); err != nil {
		t.Errorf("the next job was refused: %v", err)
	}
}

func TestIdempotencyKey(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	c := idle(t, state)
	done := make(chan struct{})
	close(done)
	first, err := c.start(request("HXE", "k"), "backup HXE", until(done, verdict{state: StateSucceeded}))
	if err != nil {
		t.Fatal(err)
	}
	await(t, c, first.ID)
	again, err := c.start(request("HXE", "k"), "backup HXE", until(done, verdict{state: StateFailed}))
	if err != nil || again.ID != first.ID || again.State != StateSucceeded {
		t.Errorf("the same request gave %+v, %v", again, err)
	}
	var conflict *ConflictError
	if _, err := c.start(request("HXE", "k"), "backup HXE other", until(done, verdict{})); !errors.As(err, &conflict) || conflict.JobID != first.ID {
		t.Errorf("another request under the same key gave %v", err)
	}
	c.Close()
	restarted := idle(t, state)
	if again, err := restarted.start(request("HXE", "k"), "backup HXE", until(done, verdict{})); err != nil || again.ID != first.ID {
		t.Errorf("after a restart the same request gave %+v, %v", again, err)
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	c := idle(t, t.TempDir())
	record, err := c.start(request("HXE", ""), "backup HXE", until(nil, verdict{}))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Cancel(record.ID); err != nil {
		t.Fatal(err)
	}
	if ended := await(t, c, record.ID); ended.State != StateCanceled || ended.Error.Code != CodeCanceled || ended.FinishedAt.IsZero() {
		t.Errorf("got %+v", ended)
	}
	if err := c.Cancel(record.ID); !errors.Is(err, ErrFinished) {
		t.Errorf("cancelling an ended job gave %v", err)
	}
	if err := c.Cancel("none"); !errors.Is(err, ErrUnknownJob) {
		t.Errorf("cancelling no job gave %v", err)
	}
}

func TestDrain(t *testing.T) {
	t.Parallel()
	c := idle(t, t.TempDir())
	release := make(chan struct{})
	patient, err := c.start(request("HXE", ""), "backup HXE", until(release, verdict{state: StateSucceeded}))
	if err != nil {
		t.Fatal(err)
	}
	drained := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		c.Drain(ctx)
		close(drained)
	}()
	deadline := time.Now().Add(10 * time.Second)
	for c.Ready(t.Context()) == nil {
		if time.Now().After(deadline) {
			t.Fatal("never draining")
		}
	}
	if _, err := c.start(request("SYSTEMDB", ""), "backup SYSTEMDB", until(release, verdict{})); !errors.Is(err, ErrDraining) || !strings.Contains(err.Error(), "shutting down") {
		t.Errorf("a job during the drain gave %v", err)
	}
	select {
	case <-drained:
		t.Fatal("drained while a job runs")
	default:
	}
	cancel()
	<-drained
	if record, err := c.Job(patient.ID); err != nil || record.State != StateCanceled {
		t.Errorf("the running job became %+v, %v", record, err)
	}
}

// TestRefuse: what runs goes on, and is told; nothing new begins, however often
// it is said.
func TestRefuse(t *testing.T) {
	t.Parallel()
	c := idle(t, t.TempDir())
	if got := testutil.ToFloat64(c.metrics.draining); got != 0 {
		t.Errorf("the metric of a daemon that takes jobs says %v", got)
	}
	release := make(chan struct{})
	patient, err := c.start(request("HXE", "key"), "backup HXE", until(release, verdict{state: StateSucceeded}))
	if err != nil {
		t.Fatal(err)
	}
	over, err := c.start(request("SYSTEMDB", ""), "backup SYSTEMDB", until(nil, verdict{}))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Cancel(over.ID); err != nil {
		t.Fatal(err)
	}
	await(t, c, over.ID)
	for range 2 {
		if running := c.Refuse(); len(running) != 1 || running[0].ID != patient.ID {
			t.Fatalf("running: %+v, expected job %s", running, patient.ID)
		}
	}
	var drained *DrainedError
	if _, err := c.start(request("SYSTEMDB", ""), "backup SYSTEMDB", until(release, verdict{})); !errors.Is(err, ErrDraining) ||
		!errors.As(err, &drained) || time.Since(drained.At) > time.Minute || !strings.Contains(err.Error(), "was drained at ") {
		t.Errorf("a new job gave %v", err)
	}
	if got := testutil.ToFloat64(c.metrics.draining); got != 1 {
		t.Errorf("the metric says %v", got)
	}
	if err := c.Ready(t.Context()); !errors.Is(err, ErrDraining) {
		t.Errorf("ready: %v", err)
	}
	if again, err := c.start(request("HXE", "key"), "backup HXE", until(release, verdict{})); err != nil || again.ID != patient.ID {
		t.Errorf("the request that had started the job, sent again, gave %+v, %v", again, err)
	}
	close(release)
	if ended := await(t, c, patient.ID); ended.State != StateSucceeded {
		t.Errorf("the running job ended %s", ended.State)
	}
	if running := c.Refuse(); len(running) != 0 {
		t.Errorf("running at the end: %+v", running)
	}
}

func TestSubscribersNeverSlowAJob(t *testing.T) {
	t.Parallel()
	c := idle(t, t.TempDir())
	release := make(chan struct{})
	busy := func(_ context.Context, j *live) verdict {
		counters := j.follow([]backup.Stream{{StreamID: backup.StreamID{VolumeID: 3, PartID: 1}}})
		for range 1000 {
			counters[0].bytes.Add(1)
			j.update(func(r *Record) { r.Stage = StageStream })
		}
		<-release
		return verdict{state: StateSucceeded}
	}
	record, err := c.start(request("HXE", ""), "backup HXE", busy)
	if err != nil {
		t.Fatal(err)
	}
	_, forgotten, err := c.Subscribe(record.ID) // never read
	if err != nil {
		t.Fatal(err)
	}
	_, left, err := c.Subscribe(record.ID)
	if err != nil {
		t.Fatal(err)
	}
	left()
	left()
	close(release)
	ended := await(t, c, record.ID)
	want := []Progress{{Stream: backup.Stream{StreamID: backup.StreamID{VolumeID: 3, PartID: 1}}, Bytes: 1000}}
	if diff := cmp.Diff(want, ended.Streams); diff != "" || ended.State != StateSucceeded {
		t.Errorf("streams (-want +got):\n%s", diff)
	}
	forgotten()
	if last := await(t, c, record.ID); last.State != StateSucceeded {
		t.Errorf("a subscription after the end gave %+v", last)
	}
}

func TestRestartEndsWhatWasRunning(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	journal, err := openJournal(state)
	if err != nil {
		t.Fatal(err)
	}
	interrupted := Record{
		ID: "0193525a-0000-7000-8000-000000000002", Action: ActionRestore, State: StateRunning, Stage: StageStream,
		SID: "HXE", Database: "HXE", StartedAt: time.Now().UTC(), IdempotencyKey: "k",
	}
	ended := Record{ID: "0193525a-0000-7000-8000-000000000001", Action: ActionBackup, State: StateSucceeded, Stage: StageDone, Database: "HXE"}
	for _, record := range []Record{ended, interrupted} {
		if err := journal.save(entry{Record: record, Request: "backup HXE"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(state, "jobs", ".new-123"), []byte("half a rec"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second start finds what the first one wrote
		c := idle(t, state)
		records := c.Jobs()
		if len(records) != 2 || records[0].ID != interrupted.ID || records[1].ID != ended.ID {
			t.Fatalf("got %+v", records)
		}
		if r := records[0]; r.State != StateFailed || r.Error == nil || r.Error.Code != CodeInterrupted || r.Error.Stage != StageStream || r.FinishedAt.IsZero() {
			t.Errorf("the running job became %+v", r)
		}
		if diff := cmp.Diff(ended, records[1], cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("the ended job changed (-want +got):\n%s", diff)
		}
		c.Close()
	}
	files, err := os.ReadDir(filepath.Join(state, "jobs"))
	if err != nil || len(files) != 2 {
		t.Errorf("the journal has %v, %v", files, err)
	}
}

func TestJournalRefuses(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, file, text, want string }{
		{"half a file", "a.json", `{"version":1,"rec`, "a.json"},
		{"a later version", "a.json", `{"version":99,"record":{"job_id":"a"}}`, "version 99"},
		{"a file of another job", "a.json", `{"version":1,"record":{"job_id":"b"}}`, `job "b"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			state := t.TempDir()
			if err := os.Mkdir(filepath.Join(state, "jobs"), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(state, "jobs", test.file), []byte(test.text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := NewConductor(Config{StateDirectory: state}, Parts{}, zaptest.NewLogger(t), NewMetrics(prometheus.NewRegistry()))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, expected a word about %q", err, test.want)
			}
		})
	}
}

func TestRequestsNameTheirField(t *testing.T) {
	t.Parallel()
	c := idle(t, t.TempDir())
	for _, test := range []struct {
		name  string
		start func() (Record, error)
		field string
	}{
		{"backup without database", func() (Record, error) { return c.StartBackup(t.Context(), BackupRequest{}, "") }, "database"},
		{"backup of a quoted database", func() (Record, error) {
			return c.StartBackup(t.Context(), BackupRequest{Database: `H"; DROP`}, "")
		}, "database"},
		{"unknown kind", func() (Record, error) {
			return c.StartBackup(t.Context(), BackupRequest{Database: "HXE", Kind: "half"}, "")
		}, "kind"},
		{"kind without predictable names", func() (Record, error) {
			return c.StartBackup(t.Context(), BackupRequest{Database: "HXE", Kind: backup.KindDifferential}, "")
		}, "kind"},
		{"prefix that climbs", func() (Record, error) {
			return c.StartBackup(t.Context(), BackupRequest{Database: "HXE", Prefix: "../x"}, "")
		}, "prefix"},
		{"restore without backup", func() (Record, error) {
			return c.StartRestore(t.Context(), RestoreRequest{Database: "HXE"}, "")
		}, "backup"},
		{"restore of a word", func() (Record, error) {
			return c.StartRestore(t.Context(), RestoreRequest{Database: "HXE", Backup: "newest"}, "")
		}, "backup"},
		{"verification of a negative sample", func() (Record, error) {
			return c.StartVerification(t.Context(), VerificationRequest{Database: "HXE", Backup: Latest, Sample: -1}, "")
		}, "sample"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, err := test.start()
			var field *FieldError
			if !errors.As(err, &field) || field.Field != test.field {
				t.Errorf("got %v, expected a complaint about field %s", err, test.field)
			}
		})
	}
}

// TestEndIsJournaledLater ends a job while the state directory cannot be written:
// the end comes into the journal when that can be done.
func TestEndIsJournaledLater(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	c := idle(t, state)
	release := make(chan struct{})
	record, err := c.start(request("HXE", ""), "backup HXE", until(release, verdict{state: StateSucceeded}))
	if err != nil {
		t.Fatal(err)
	}
	jobs := filepath.Join(state, "jobs")
	if err := os.Rename(jobs, jobs+".away"); err != nil {
		t.Fatal(err)
	}
	close(release)
	await(t, c, record.ID)
	c.running.Wait()
	if err := os.Rename(jobs+".away", jobs); err != nil {
		t.Fatal(err)
	}
	for begin := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		e, err := readEntry(c.journal.path(record.ID))
		if err != nil {
			t.Fatal(err)
		}
		if e.Record.State == StateSucceeded && e.Request == "backup HXE" {
			break
		}
		if time.Since(begin) > 10*time.Second {
			t.Fatalf("the journal still says %s", e.Record.State)
		}
	}
}
