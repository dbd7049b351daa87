package job

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// silentStore does not answer while it is away.
type silentStore struct {
	Store

	away atomic.Bool
}

var errStoreAway = errors.New("dial tcp: connection refused")

func (s *silentStore) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	if s.away.Load() {
		return nil, errStoreAway
	}
	return s.Store.Open(ctx, key, offset, length)
}

func (s *silentStore) List(ctx context.Context, prefix string) ([]backup.Object, error) {
	if s.away.Load() {
		return nil, errStoreAway
	}
	return s.Store.List(ctx, prefix)
}

func (s *silentStore) Stat(ctx context.Context, key string) (backup.Object, error) {
	if s.away.Load() {
		return backup.Object{}, errStoreAway
	}
	return s.Store.Stat(ctx, key)
}

func startWithSilentStore(t *testing.T) (whole, *silentStore) {
	t.Helper()
	store := new(silentStore)
	w := startWhole(t, func(_ *hanasim.Config, parts *Parts, _ *Config) {
		store.Store = parts.Store
		parts.Store = store
	})
	return w, store
}

// A name that HANA does not have never becomes a job, whose failure no backup would
// ever make up for in the metrics.
func TestUnknownDatabaseIsNoJob(t *testing.T) {
	t.Parallel()
	w, _ := startWithSilentStore(t)
	if record := w.backupOf(t, "HXE"); record.State != StateSucceeded {
		t.Fatalf("%+v", record)
	}
	known := testutil.CollectAndCount(w.metrics.failing)
	for name, test := range map[string]struct {
		field string
		start func() (Record, error)
	}{
		"backup": {"database", func() (Record, error) { return w.StartBackup(t.Context(), BackupRequest{Database: "NOPE"}, "") }},
		"probe":  {"database", func() (Record, error) { return w.StartProbe(t.Context(), ProbeRequest{Database: "NOPE"}, "") }},
		"restore into another": {"to_database", func() (Record, error) {
			return w.StartRestore(t.Context(), RestoreRequest{Database: "HXE", ToDatabase: "NOPE", Backup: Latest}, "")
		}},
		"restore": {"database", func() (Record, error) {
			return w.StartRestore(t.Context(), RestoreRequest{Database: "NOPE", Backup: Latest}, "")
		}},
	} {
		_, err := test.start()
		field, refused := errors.AsType[*FieldError](err)
		if !refused || field.Field != test.field || !strings.Contains(field.Error(), "HANA has no database NOPE: it has HXE, SYSTEMDB") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if jobs := w.Jobs(); len(jobs) != 1 || testutil.CollectAndCount(w.metrics.failing) != known {
		t.Errorf("%d jobs, and %d series instead of %d", len(jobs), testutil.CollectAndCount(w.metrics.failing), known)
	}
	plan := w.restoreTo(t, RestoreRequest{Database: "HXE", ToDatabase: "NOPE", Backup: Latest, DryRun: true})
	if plan.State != StateSucceeded || len(plan.Warnings) != 1 || !strings.Contains(plan.Warnings[0], "HANA has no database NOPE") || !strings.Contains(plan.Warnings[0], "CREATE DATABASE") {
		t.Errorf("dry run: %s, warnings %q", plan.State, plan.Warnings)
	}
	plan = w.restoreTo(t, RestoreRequest{Database: "HXE", Backup: Latest, DryRun: true})
	if plan.State != StateSucceeded || len(plan.Warnings) != 0 {
		t.Errorf("dry run into its own: %s, warnings %q", plan.State, plan.Warnings)
	}
}

// A HANA that does not answer does not refuse the request: the job says what is wrong.
func TestUnknownDatabaseOfASilentHANA(t *testing.T) {
	t.Parallel()
	w, _ := startWithSilentStore(t)
	if err := w.system.Close(); err != nil {
		t.Fatal(err)
	}
	record, err := w.StartBackup(t.Context(), BackupRequest{Database: "NOPE"}, "")
	if err != nil {
		t.Fatal(err)
	}
	if record = await(t, w.Conductor, record.ID); record.State != StateFailed {
		t.Errorf("%+v", record)
	}
}

func (w whole) stop(t *testing.T) {
	t.Helper()
	if err := w.parts.Recoverer.Stop(t.Context(), backup.Plan{SID: "HXE", Database: "HXE"}); err != nil {
		t.Fatal(err)
	}
}

// TestHANAStarts: a scheduler, whose request comes again by its key, gets no job
// before the database takes connections, and one then, by the same key.
func TestHANAStarts(t *testing.T) {
	t.Parallel()
	hanaAway := func(t *testing.T, w whole) {
		t.Helper()
		if err := w.system.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for name, test := range map[string]struct {
		prepare func(t *testing.T, w whole)
		says    string
	}{
		"HANA is away":          {hanaAway, "connection refused"},
		"the tenant is offline": {func(t *testing.T, w whole) { t.Helper(); w.stop(t) }, "ACTIVE_STATUS"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, _ := startWithSilentStore(t)
			test.prepare(t, w)
			backUp := func() (Record, error) { return w.StartBackup(t.Context(), BackupRequest{Database: "HXE"}, "nightly") }
			probe := func() (Record, error) { return w.StartProbe(t.Context(), ProbeRequest{Database: "HXE"}, "probe") }
			for _, start := range []func() (Record, error){backUp, probe} {
				if _, err := start(); !errors.Is(err, ErrHANAStarting) || !strings.Contains(err.Error(), test.says) {
					t.Errorf("error %v, expected %v for %q", err, ErrHANAStarting, test.says)
				}
			}
			if jobs := w.Jobs(); len(jobs) != 0 {
				t.Errorf("%d jobs, expected none", len(jobs))
			}
			w.begun = w.begun.Add(-hanaStart)
			record, err := backUp()
			if err != nil {
				t.Fatalf("when HANA is late: %v", err)
			}
			if record = await(t, w.Conductor, record.ID); record.State != StateFailed || record.Error.Code != CodePlan {
				t.Errorf("when HANA is late: %s %v, expected a failed job", record.State, record.Error)
			}
			if again, err := backUp(); err != nil || again.ID != record.ID {
				t.Errorf("the same request again: %v %v", again.ID, err)
			}
		})
	}
}

// A verification of a backup that is not there is no failed verification, and a store
// that does not answer is no backup that is not there.
func TestVerificationOfNothing(t *testing.T) {
	t.Parallel()
	w, store := startWithSilentStore(t)
	for _, id := range []string{"42", Latest} {
		if _, err := w.StartVerification(t.Context(), VerificationRequest{Database: "HXE", Backup: id}, ""); !errors.Is(err, backup.ErrNotFound) {
			t.Errorf("%s: %v", id, err)
		}
	}
	if jobs := w.Jobs(); len(jobs) != 0 {
		t.Errorf("jobs %+v", jobs)
	}
	store.away.Store(true)
	record, err := w.StartVerification(t.Context(), VerificationRequest{Database: "HXE", Backup: "42"}, "")
	if err != nil {
		t.Fatal(err)
	}
	record = await(t, w.Conductor, record.ID)
	if record.Error == nil || record.Error.Code != CodeStoreUnusable || strings.Contains(record.Error.Hint, "choose another") {
		t.Errorf("verification: %+v", record.Error)
	}
	for _, request := range []RestoreRequest{{Database: "HXE", Backup: Latest}, {Database: "HXE", Backup: "42"}} {
		if record := w.restoreTo(t, request); record.Error == nil || record.Error.Code != CodeStoreUnusable {
			t.Errorf("restore of %s: %+v", request.Backup, record.Error)
		}
	}
}

func TestUntilInTheFuture(t *testing.T) {
	t.Parallel()
	text := time.Now().UTC().Add(time.Hour).Format(time.DateTime)
	_, err := parseUntil(text)
	if err == nil || !strings.Contains(err.Error(), "is in the future") || !strings.Contains(err.Error(), `"latest"`) {
		t.Errorf("%v", err)
	}
	if _, err := parseUntil(time.Now().UTC().Format(time.DateTime)); err != nil {
		t.Errorf("now: %v", err)
	}
}

// A refusal says what to do by its cause.
func TestHintOfARefusedPlan(t *testing.T) {
	t.Parallel()
	w, _ := startWithSilentStore(t)
	w.mu.Lock()
	w.there = []string{"GONE"} // when it was looked
	w.mu.Unlock()
	gone := w.backupOf(t, "GONE")
	if e := gone.Error; e == nil || e.Code != CodePlan || !strings.Contains(e.Hint, "HANA has no database GONE: it has") {
		t.Errorf("unknown: %+v", e)
	}
	w.stop(t)
	stopped := w.backupOf(t, "HXE")
	if e := stopped.Error; e == nil || e.Code != CodePlan || !strings.Contains(e.Message, `is not online: its ACTIVE_STATUS is "NO"`) || e.Hint != `Start the database first: ALTER SYSTEM START DATABASE "HXE";` {
		t.Errorf("stopped: %+v", e)
	}
}

// A database counts as stopped by a restore until something has succeeded that needs
// it online.
func TestStoppedBy(t *testing.T) {
	t.Parallel()
	record := func(id string, action Action, state State, stopped bool) Record {
		return Record{ID: id, Action: action, Database: "HXE", State: state, TenantStopped: stopped}
	}
	guilty := record("r", ActionRestore, StateCanceled, true)
	for name, test := range map[string]struct {
		later []Record
		want  string
	}{
		"nothing since":              {nil, "r"},
		"a restore refused since":    {[]Record{record("2", ActionRestore, StateFailed, false)}, "r"},
		"a backup refused since":     {[]Record{record("2", ActionBackup, StateFailed, false)}, "r"},
		"a plan since":               {[]Record{record("2", ActionPlan, StateSucceeded, false)}, "r"},
		"a verification since":       {[]Record{record("2", ActionVerification, StateSucceeded, false)}, "r"},
		"a restore that runs":        {[]Record{record("2", ActionRestore, StateRunning, true)}, "r"},
		"a restore succeeded since":  {[]Record{record("2", ActionRestore, StateSucceeded, false)}, ""},
		"a backup succeeded since":   {[]Record{record("2", ActionBackup, StateSucceeded, false)}, ""},
		"another one stopped it too": {[]Record{record("2", ActionRestore, StateFailed, true)}, "2"},
	} {
		got := ""
		if r := stoppedBy("HXE", append(test.later, guilty)); r != nil {
			got = r.ID
		}
		if got != test.want {
			t.Errorf("%s: %q, expected %q", name, got, test.want)
		}
	}
}

// A verification says by what it has compared what it read.
func TestProof(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		sample int
		want   Proof
	}{"every byte": {0, ProofSHA256}, "a sample": {1, ProofSample}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, _ := startWithSilentStore(t)
			if record := w.backupOf(t, "HXE"); record.State != StateSucceeded {
				t.Fatalf("%+v", record.Error)
			}
			record, err := w.StartVerification(t.Context(), VerificationRequest{Database: "HXE", Backup: Latest, Sample: test.sample}, "")
			if err != nil {
				t.Fatal(err)
			}
			if record = await(t, w.Conductor, record.ID); record.State != StateSucceeded || record.Proven != test.want {
				t.Errorf("%s, proven %q, expected %q", record.State, record.Proven, test.want)
			}
		})
	}
}

// One stream without a SHA-256 is enough to say less.
func TestProofWithoutSHA256(t *testing.T) {
	t.Parallel()
	m := &backup.Manifest{Streams: []backup.ManifestStream{{SHA256: "ab"}, {}}}
	if got := proofOf(m, 0); got != ProofCRC64 {
		t.Errorf("proven %q", got)
	}
	if got := proofOf(m, 2); got != ProofSample {
		t.Errorf("a sample: proven %q", got)
	}
}
