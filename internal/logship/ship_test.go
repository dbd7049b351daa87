package logship_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipestreamer/pipestreamer/internal/logship"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

func TestShips(t *testing.T) {
	t.Parallel()
	play(t, logship.Config{}, func(w *world) {
		first, other, second, catalog := w.log64(2, 10, 20), w.log64(3, 5, 9), w.log64(2, 20, 21), w.catalog()
		w.start()
		status := w.after(time.Second)
		for _, name := range []string{first, other, second, catalog} {
			w.mustHave(name, true, false)
		}
		indexes := w.indexes()
		if len(indexes) != 1 {
			t.Fatalf("%d indexes, expected one for all files", len(indexes))
		}
		if diff := cmp.Diff([]string{first, second, other, catalog}, namesOf(indexes[0])); diff != "" {
			t.Errorf("order in the index (-want +got):\n%s", diff)
		}
		entry := entryOf(t, second, 0, backup.CatalogSuccessful)
		want := []logship.VolumeStatus{
			{VolumeID: 2, File: second, Position: 21 * 64, Until: entry.StartedAt},
			{VolumeID: 3, File: other, Position: 9 * 64, Until: entryOf(t, other, 0, "").StartedAt},
		}
		if diff := cmp.Diff(want, status.Volumes); diff != "" {
			t.Errorf("volumes (-want +got):\n%s", diff)
		}
		if !status.RecoveryPoint.Equal(want[1].Until) || status.WaitingFiles != 0 || status.KeptFiles != 0 {
			t.Errorf("status %+v", status)
		}
		w.mustGauge("recovery_point_timestamp_seconds", float64(want[1].Until.UnixMilli())/1000)
		w.mustGauge("shipped_files_total", 4)
		w.mustGauge("waiting_files", 0)
		w.mustGauge("store_failing", 0)
		if _, known := w.gauge("oldest_waiting_timestamp_seconds"); known {
			t.Error("the oldest waiting file has a time, and nothing waits")
		}
	})
}

func TestEachFileIsShippedWhenItComes(t *testing.T) {
	t.Parallel()
	play(t, logship.Config{}, func(w *world) {
		w.start()
		for i := range 3 {
			name := w.log64(2, i, i+1)
			w.after(time.Minute)
			w.mustHave(name, true, false)
		}
		if got := len(w.indexes()); got != 3 {
			t.Errorf("%d indexes", got)
		}
	})
}

func TestKeepFor(t *testing.T) {
	t.Parallel()
	play(t, logship.Config{KeepFor: time.Hour}, func(w *world) {
		name := w.log64(2, 0, 1)
		w.start()
		status := w.after(59 * time.Minute)
		w.mustHave(name, true, true)
		if status.KeptFiles != 1 || status.WaitingFiles != 0 {
			t.Errorf("status %+v", status)
		}
		w.stop()
		w.start()
		w.after(30 * time.Second)
		w.mustHave(name, true, true)
		w.after(time.Minute)
		w.mustHave(name, true, false)
		if got := len(w.indexes()); got != 1 {
			t.Errorf("%d indexes, expected no other after the restart", got)
		}
	})
}

func TestIndexSequences(t *testing.T) {
	t.Parallel()
	t.Run("a taken one is passed over", func(t *testing.T) {
		t.Parallel()
		play(t, logship.Config{}, func(w *world) {
			w.start()
			first := w.log64(2, 0, 1)
			w.after(time.Minute)
			name := w.log64(2, 1, 2)
			for i := range int64(3) { // another process has written just now
				sequence := time.Now().UnixMilli() + i
				x := w.indexes()[0]
				x.Sequence = sequence
				text, err := x.Encode()
				if err != nil {
					t.Fatal(err)
				}
				w.store.put(backup.LogIndexKey(sid, database, sequence), text)
			}
			w.after(time.Minute)
			w.mustHave(name, true, false)
			w.mustHave(first, true, false)
			if got := len(w.indexes()); got != 5 {
				t.Errorf("%d indexes, expected 5", got)
			}
			if got := w.told("log backups stay on the volume, because the store fails"); got != 0 {
				t.Errorf("a taken sequence was told as an outage %d times", got)
			}
		})
	})
	t.Run("they grow although the clock went back", func(t *testing.T) {
		t.Parallel()
		play(t, logship.Config{}, func(w *world) {
			x := &backup.LogIndex{Version: 1, SID: sid, Database: database, Sequence: time.Now().Add(48 * time.Hour).UnixMilli(), Files: []backup.LogFile{file("log_backup_2_0_0_64.5")}}
			text, err := x.Encode()
			if err != nil {
				t.Fatal(err)
			}
			w.store.put(backup.LogIndexKey(sid, database, x.Sequence), text)
			w.start()
			w.log64(2, 1, 2)
			w.after(time.Minute)
			if got := w.indexes(); len(got) != 2 || got[1].Sequence != x.Sequence+1 {
				t.Errorf("%d indexes, the last %d, expected %d", len(got), got[len(got)-1].Sequence, x.Sequence+1)
			}
		})
	})
}

// A file that was indexed longer ago than is looked back at the start is known
// all the same.
func TestFileOfAnOldIndex(t *testing.T) {
	t.Parallel()
	play(t, logship.Config{KeepFor: 100 * time.Hour}, func(w *world) {
		w.start()
		old := w.log64(2, 0, 1)
		w.after(72 * time.Hour)
		w.log64(2, 1, 2)
		w.after(time.Minute)
		w.stop()
		w.start()
		status := w.after(time.Minute)
		w.mustHave(old, true, true)
		if got := len(w.indexes()); got != 2 || status.KeptFiles != 2 {
			t.Errorf("%d indexes, expected no other after the restart; status %+v", got, status)
		}
	})
}

// An index that cannot be read must not stop the shipping of what comes.
func TestDamagedIndexAtStart(t *testing.T) {
	t.Parallel()
	play(t, logship.Config{}, func(w *world) {
		w.start()
		w.log64(2, 0, 1)
		w.after(time.Minute)
		w.stop()
		key := backup.LogIndexKey(sid, database, w.indexes()[0].Sequence)
		w.store.put(key, []byte("{"))
		name := w.log64(2, 1, 2)
		w.start()
		status := w.after(time.Minute)
		if len(w.volume.names()) != 0 || len(status.DamagedIndexes) != 1 || !strings.Contains(status.DamagedIndexes[0], key) {
			t.Errorf("%s: status %+v", name, status)
		}
		if err := w.store.Remove(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		w.mustHave(name, true, false)
	})
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	good := logship.Config{SID: sid, Database: database}
	parts := logship.Parts{Volume: newVolume(), Store: newMemoryStore(), Historian: &hana{}, Bases: newBases(), Remove: newVolume().remove}
	for want, change := range map[string]func(*logship.Config, *logship.Parts){
		"sid":                  func(c *logship.Config, _ *logship.Parts) { c.SID = "x" },
		"upper case":           func(c *logship.Config, _ *logship.Parts) { c.Database = "prd" },
		`verify "no"`:          func(c *logship.Config, _ *logship.Parts) { c.Verify = "no" },
		"no negative numbers":  func(c *logship.Config, _ *logship.Parts) { c.KeepFor = -1 },
		"expected a volume, a": func(_ *logship.Config, p *logship.Parts) { p.Historian = nil },
	} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			c, p := good, parts
			change(&c, &p)
			if _, err := logship.New(c, p, nopLogger(), logship.NewMetrics(nil)); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, expected a word about %q", err, want)
			}
		})
	}
	s, err := logship.New(good, parts, nopLogger(), logship.NewMetrics(nil))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := newContext(t)
	cancel()
	if err := errors.Join(s.Run(ctx)); err != nil {
		t.Errorf("the first run: %v", err)
	}
	if err := s.Run(ctx); err == nil || !strings.Contains(fmt.Sprint(err), "already") {
		t.Errorf("the second run: %v", err)
	}
}
