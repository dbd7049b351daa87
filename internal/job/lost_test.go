package job

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap/zaptest"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

func delta() BackupRequest { return BackupRequest{Database: "HXE", Kind: backup.KindDifferential} }

// TestLostBaseRefusesDeltas loses a backup: deltas are refused with the reason,
// also by the next daemon, until a complete backup succeeds.
func TestLostBaseRefusesDeltas(t *testing.T) {
	t.Parallel()
	var store *faultyStore
	w := startWhole(t, func(_ *hanasim.Config, p *Parts, _ *Config) {
		store = &faultyStore{Store: p.Store, failing: "commit"}
		p.Store = store
	})
	lost := w.backupOf(t, "HXE")
	if lost.State != StateLost {
		t.Fatalf("got %s because of %v", lost.State, lost.Error)
	}
	expectLost := func(c *Conductor) {
		t.Helper()
		_, err := c.StartBackup(t.Context(), delta(), "")
		refused, is := errors.AsType[*LostError](err)
		if !is || refused.JobID != lost.ID || refused.BackupID != lost.BackupID || lost.BackupID == 0 {
			t.Errorf("a delta gave %v", err)
		}
		if _, err := c.StartBackup(t.Context(), BackupRequest{Database: "SYSTEMDB", Kind: backup.KindDifferential}, ""); errors.As(err, &refused) {
			t.Errorf("a delta of another database gave %v", err)
		}
		if n := testutil.ToFloat64(c.metrics.lost.WithLabelValues("HXE")); n != 1 {
			t.Errorf("the metric says %v", n)
		}
	}
	expectLost(w.Conductor)
	w.Close()
	next, err := NewConductor(w.config, w.parts, zaptest.NewLogger(t), NewMetrics(prometheus.NewRegistry()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(next.Close)
	expectLost(next)

	store.failing = ""
	record, err := next.StartBackup(t.Context(), BackupRequest{Database: "HXE"}, "")
	if err != nil {
		t.Fatal(err)
	}
	if record = await(t, next, record.ID); record.State != StateSucceeded {
		t.Fatalf("got %s because of %v", record.State, record.Error)
	}
	if _, err := next.StartBackup(t.Context(), delta(), ""); errors.As(err, new(*LostError)) {
		t.Errorf("after a complete backup a delta gave %v", err)
	}
	if n := testutil.ToFloat64(next.metrics.lost.WithLabelValues("HXE")); n != 0 {
		t.Errorf("the metric says %v", n)
	}
}

// TestLostSurvivesAClockSetBack loses a backup after the clock was set back to
// before the last good one: the next daemon still knows which came last.
func TestLostSurvivesAClockSetBack(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	done := make(chan struct{})
	close(done)
	complete := Record{Action: ActionBackup, Database: "HXE", Kind: backup.KindComplete}
	begin := func(c *Conductor, v verdict) Record {
		t.Helper()
		record, err := c.start(complete, "backup HXE", until(done, v))
		if err != nil {
			t.Fatal(err)
		}
		return await(t, c, record.ID)
	}
	first := idle(t, state)
	good := begin(first, verdict{state: StateSucceeded})
	first.Close()
	entries, err := first.journal.load()
	if err != nil || len(entries) != 1 {
		t.Fatal(entries, err)
	}
	entries[0].Record.ID = "7fffffff-0000-7000-8000-000000000000" // of a clock that was ahead
	if err := errors.Join(first.journal.save(entries[0]), first.journal.remove(good.ID)); err != nil {
		t.Fatal(err)
	}
	second := idle(t, state)
	lost := begin(second, verdict{state: StateLost})
	second.Close()
	third := idle(t, state)
	refused, is := errors.AsType[*LostError](third.checkBase("HXE"))
	if !is || refused.JobID != lost.ID {
		t.Errorf("got %v, expected a word about job %s", refused, lost.ID)
	}
	begin(third, verdict{state: StateSucceeded})
	third.Close()
	if err := idle(t, state).checkBase("HXE"); err != nil {
		t.Errorf("after a good backup: %v", err)
	}
}

// occupied is a store in which another job's manifest appears at the key.
type occupied struct {
	Store

	t   *testing.T
	key atomic.Pointer[string]
}

func (o *occupied) Begin(ctx context.Context, key string, options backup.UploadOptions) (backup.Upload, error) {
	if strings.Contains(key, "/manifests/") && o.key.CompareAndSwap(nil, &key) {
		if err := writeObject(ctx, o.Store, key, []byte(foreignManifest), time.Second); err != nil {
			o.t.Error(err)
		}
	}
	return o.Store.Begin(ctx, key, options)
}

const foreignManifest = "the manifest of another system"

// TestForeignManifestStays finds somebody else's manifest where its own should
// be: the backup is lost, and the manifest stays.
func TestForeignManifestStays(t *testing.T) {
	t.Parallel()
	store := &occupied{t: t}
	w := startWhole(t, func(_ *hanasim.Config, p *Parts, _ *Config) { store.Store, p.Store = p.Store, store })
	record := w.backupOf(t, "HXE")
	if record.State != StateLost || record.Error.Code != CodeUnwritten {
		t.Errorf("got %s because of %v", record.State, record.Error)
	}
	text, err := os.ReadFile(filepath.Join(w.bucket, *store.key.Load()))
	if err != nil || string(text) != foreignManifest {
		t.Errorf("the manifest of the other is %q, %v", text, err)
	}
	if left := names(t, w.bucket); len(left) != 1 {
		t.Errorf("in the store: %v", left)
	}
}

// deleted notes what was deleted from the catalog.
type deleted struct {
	backup.Trigger

	ids []int64
	err error
}

func (d *deleted) Delete(_ context.Context, _ backup.Plan, id int64) error {
	d.ids = append(d.ids, id)
	return d.err
}

func TestOnLost(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		enabled bool
		failing string
		err     error
		state   State
		deleted bool
		words   string
	}{
		{name: "keep", failing: "commit", state: StateLost},
		{name: "delete", enabled: true, failing: "commit", state: StateLost, deleted: true, words: "was deleted from HANA's catalog"},
		{name: "delete fails", enabled: true, failing: "commit", err: errFaulty, state: StateLost, deleted: true, words: "stays in HANA's catalog: 503 SlowDown"},
		{name: "a failed backup has no good entry", enabled: true, failing: "consume", state: StateFailed},
		{name: "a good backup", enabled: true, state: StateSucceeded},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := startWhole(t, func(_ *hanasim.Config, p *Parts, c *Config) {
				p.Store = &faultyStore{Store: p.Store, failing: test.failing}
				c.DeleteLost = test.enabled
			})
			catalog := &deleted{Trigger: w.parts.Trigger, err: test.err}
			w.parts.Trigger = catalog
			record := w.backupOf(t, "HXE")
			if record.State != test.state {
				t.Fatalf("got %s because of %v", record.State, record.Error)
			}
			if got := slices.Equal(catalog.ids, []int64{record.BackupID}); got != test.deleted || !test.deleted && len(catalog.ids) > 0 {
				t.Errorf("deleted from the catalog: %v, the backup is %d", catalog.ids, record.BackupID)
			}
			if told := strings.Join(record.Consequences, "\n"); !strings.Contains(told, test.words) {
				t.Errorf("the consequences are %q, expected %q", told, test.words)
			}
		})
	}
}

// TestOnLostDeletesNothingForeign keeps what may be another backup's entry.
func TestOnLostDeletesNothingForeign(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name     string
		entryID  int64
		headerID int64
		doubtful bool
	}{
		{"the streams carry it", 7, 7, false},
		{"no id", 0, 0, true},
		{"the streams carry another", 7, 8, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			e := evidence{entry: &backup.CatalogEntry{BackupID: test.entryID}, streams: []streamEvidence{
				{headerErr: errFaulty, header: backup.Header{BackupID: 99}}, {header: backup.Header{BackupID: test.headerID}},
			}}
			if got := doubtful(e); got != test.doubtful {
				t.Errorf("got %t", got)
			}
		})
	}
}
