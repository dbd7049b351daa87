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

// What counts is the log from the data backup in the store on, whatever HANA has.
func TestBase(t *testing.T) {
	t.Parallel()
	t.Run("an old gap that it needs is known after a restart", func(t *testing.T) {
		t.Parallel()
		play(t, logship.Config{}, func(w *world) {
			w.bases.set(map[int]int64{2: 1}, nil)
			w.start()
			w.log64(2, 0, 1)
			w.after(time.Second)
			w.log64(2, 2, 3)
			for i := 3; i < 3+26; i++ {
				w.after(time.Hour)
				w.log64(2, i, i+1)
			}
			before := w.after(time.Second)
			if len(before.Gaps) != 1 {
				t.Fatalf("gaps %+v", before.Gaps)
			}
			w.stop()
			w.start()
			after := w.after(time.Minute)
			if diff := cmp.Diff(before.Gaps, after.Gaps); diff != "" || !after.RecoveryPoint.Equal(before.RecoveryPoint) {
				t.Errorf("recovery point %s then %s, gaps (-before +after):\n%s", before.RecoveryPoint, after.RecoveryPoint, diff)
			}
			if got := w.told("a piece of the log is missing in the store: no recovery can go past it"); got != 1 {
				t.Errorf("told %d times", got)
			}
		})
	})
	t.Run("log that begins behind it is a gap", func(t *testing.T) {
		t.Parallel()
		play(t, logship.Config{}, func(w *world) {
			w.bases.set(map[int]int64{2: 10, 3: 10}, nil)
			began := time.Now()
			w.start()
			first := w.log64(2, 5, 6)
			w.log64(3, 0, 1)
			status := w.after(time.Minute)
			want := []logship.Gap{{VolumeID: 2, After: 10, Before: 320, BeforeFile: first}}
			if diff := cmp.Diff(want, status.Gaps); diff != "" || !status.RecoveryPoint.Equal(began) {
				t.Errorf("recovery point %s, expected %s, gaps (-want +got):\n%s", status.RecoveryPoint, began, diff)
			}
			if diff := cmp.Diff(logship.VolumeStatus{VolumeID: 2, Position: 10, Until: began}, status.Volumes[0]); diff != "" {
				t.Errorf("volume (-want +got):\n%s", diff)
			}
		})
	})
	t.Run("a volume without any log since then proves nothing", func(t *testing.T) {
		t.Parallel()
		play(t, logship.Config{}, func(w *world) {
			w.bases.set(map[int]int64{2: 10, 3: 10}, nil)
			began := time.Now()
			w.start()
			w.log64(2, 0, 1)
			if status := w.after(time.Minute); !status.RecoveryPoint.Equal(began) || len(status.Gaps) != 0 {
				t.Errorf("status %+v", status)
			}
		})
	})
	t.Run("a volume that is no more holds nothing up", func(t *testing.T) {
		t.Parallel()
		play(t, logship.Config{}, func(w *world) {
			w.start()
			w.log64(3, 0, 1)
			w.log64(2, 0, 1)
			w.after(time.Minute)
			w.bases.set(map[int]int64{2: 70}, nil)
			last := w.log64(2, 1, 2)
			status := w.after(11 * time.Minute)
			if want := entryOf(t, last, 0, "").StartedAt; !status.RecoveryPoint.Equal(want) {
				t.Errorf("recovery point %s, expected %s", status.RecoveryPoint, want)
			}
		})
	})
	t.Run("without one there is no recovery point", func(t *testing.T) {
		t.Parallel()
		play(t, logship.Config{}, func(w *world) {
			w.bases.set(nil, fmt.Errorf("data backup: %w", backup.ErrNotFound))
			w.hana.change(func(h *hana) { h.base = &backup.CatalogEntry{BackupID: 1} }) // lost
			w.start()
			w.log64(2, 0, 1)
			status := w.after(time.Minute)
			if !status.RecoveryPoint.IsZero() || !strings.Contains(status.BaseTrouble, "make a complete backup") {
				t.Errorf("recovery point %s, trouble %q", status.RecoveryPoint, status.BaseTrouble)
			}
			w.mustGauge("base_missing", 1)
			if _, known := w.gauge("recovery_point_timestamp_seconds"); known {
				t.Error("the recovery point has a value")
			}
			w.after(time.Hour)
			if got := w.told("no data backup in the store can be restored: log backups alone are of no use, make a complete backup"); got != 1 {
				t.Errorf("told %d times", got)
			}
			w.bases.set(map[int]int64{2: 60}, nil)
			status = w.after(time.Minute)
			if status.RecoveryPoint.IsZero() || status.BaseTrouble != "" {
				t.Errorf("status %+v", status)
			}
			w.mustGauge("base_missing", 0)
		})
	})
	t.Run("a store that does not tell keeps what was known, and stops no file", func(t *testing.T) {
		t.Parallel()
		play(t, logship.Config{}, func(w *world) {
			w.start()
			w.log64(2, 0, 1)
			w.after(time.Minute)
			w.bases.set(nil, errors.New("503"))
			last := w.log64(2, 1, 2)
			status := w.after(time.Hour)
			w.mustHave(last, true, false)
			if want := entryOf(t, last, 0, "").StartedAt; !status.RecoveryPoint.Equal(want) || !strings.Contains(status.BaseTrouble, "503") {
				t.Errorf("recovery point %s, expected %s, trouble %q", status.RecoveryPoint, want, status.BaseTrouble)
			}
			w.mustGauge("base_missing", 0)
		})
	})
}
