package logship_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipestreamer/pipestreamer/internal/logship"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

func TestGaps(t *testing.T) {
	t.Parallel()
	t.Run("one that nothing explains is recorded at once", func(t *testing.T) {
		t.Parallel()
		play(t, logship.Config{}, func(w *world) {
			w.start()
			first := w.log64(2, 0, 1)
			w.after(time.Second)
			third := w.log64(2, 2, 3)
			status := w.after(time.Second)
			w.mustHave(third, true, false)
			want := []logship.Gap{{VolumeID: 2, After: 64, Before: 128, AfterFile: first, BeforeFile: third}}
			if diff := cmp.Diff(want, status.Gaps); diff != "" {
				t.Errorf("gaps (-want +got):\n%s", diff)
			}
			if point := entryOf(t, first, 0, "").StartedAt; !status.RecoveryPoint.Equal(point) {
				t.Errorf("recovery point %s, expected %s before the gap", status.RecoveryPoint, point)
			}
			w.mustGauge("gaps", 1)
			w.after(time.Hour)
			if got := w.told("a piece of the log is missing in the store: no recovery can go past it"); got != 1 {
				t.Errorf("told %d times", got)
			}

			w.log64(2, 1, 2)
			status = w.after(time.Second)
			if len(status.Gaps) != 0 || !status.RecoveryPoint.Equal(entryOf(t, third, 0, "").StartedAt) {
				t.Errorf("after the missing file came: status %+v", status)
			}
		})
	})
	t.Run("a backup that runs is waited for", func(t *testing.T) {
		t.Parallel()
		play(t, logship.Config{}, func(w *world) {
			w.start()
			first := w.log64(2, 0, 1)
			w.after(time.Second)
			slow := logName(2, 1, 2, w.id())
			w.hana.knows(t, slow, 0, backup.CatalogRunning)
			third := w.log64(2, 2, 3)
			w.after(30 * time.Second)
			if _, indexed := w.history()[third]; indexed {
				t.Error("a file was indexed before an earlier one that HANA still writes")
			}
			if _, stored := w.store.get(backup.LogKey(sid, database, third)); !stored {
				t.Error("a file that has to wait was not even uploaded")
			}
			w.hana.change(func(h *hana) { h.entries = h.entries[:1:1] })
			w.confirm(third)
			w.confirm(slow)
			w.write(slow)
			status := w.after(time.Minute)
			var names []string
			for _, x := range w.indexes() {
				names = append(names, namesOf(x)...)
			}
			if diff := cmp.Diff([]string{first, slow, third}, names); diff != "" {
				t.Errorf("order (-want +got):\n%s", diff)
			}
			if len(status.Gaps) != 0 || len(w.volume.names()) != 0 {
				t.Errorf("status %+v, volume %v", status, w)
			}
		})
	})
	for name, test := range map[string]struct {
		spoil func(*hana)
		// gaps are known after the wait: those before confirmed files.
		gaps int
	}{
		"a backup that runs for ever is waited for a moment": {func(h *hana) {
			h.entries = append(h.entries, backup.CatalogEntry{BackupID: time.Now().UnixMilli(), State: backup.CatalogRunning})
		}, 1},
		"a HANA that cannot say is waited for a moment": {func(h *hana) { h.err = errors.New("refused") }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			play(t, logship.Config{}, func(w *world) {
				w.start()
				first := w.log64(2, 0, 1)
				w.after(time.Second)
				third := w.log64(2, 2, 3)
				w.hana.change(test.spoil)
				w.after(50 * time.Second)
				if _, indexed := w.history()[third]; indexed {
					t.Error("it was not waited for")
				}
				status := w.after(20 * time.Second)
				if _, indexed := w.history()[third]; !indexed || len(status.Gaps) != test.gaps {
					t.Errorf("it is waited for longer; status %+v", status)
				}
				if want := entryOf(t, first, 0, "").StartedAt; !status.RecoveryPoint.Equal(want) {
					t.Errorf("the recovery point is %v, expected %v", status.RecoveryPoint, want)
				}
				w.hana.change(func(h *hana) { h.err = nil })
				if status := w.after(10 * time.Minute); len(status.Gaps) != 1 {
					t.Errorf("gaps %+v", status.Gaps)
				}
			})
		})
	}
	t.Run("a data backup behind it makes it count no more", func(t *testing.T) {
		t.Parallel()
		play(t, logship.Config{}, func(w *world) {
			w.start()
			w.log64(2, 0, 1)
			w.after(time.Second)
			w.log64(2, 2, 3)
			if status := w.after(time.Second); len(status.Gaps) != 1 {
				t.Fatalf("gaps %+v", status.Gaps)
			}
			w.hana.change(func(h *hana) { // one that the store has lost
				h.base = &backup.CatalogEntry{Files: []backup.CatalogFile{{VolumeID: 2, SourceType: backup.SourceVolume, RedoLogPosition: 150}}}
			})
			last := w.log64(2, 3, 4)
			if status := w.after(10 * time.Minute); len(status.Gaps) != 1 {
				t.Errorf("gaps %+v", status.Gaps)
			}
			w.bases.set(map[int]int64{2: 150}, nil)
			status := w.after(time.Minute)
			if len(status.Gaps) != 0 || !status.RecoveryPoint.Equal(w.bases.base.StartedAt) || status.Volumes[0].File != last {
				t.Errorf("status %+v", status)
			}
			if got := w.told("a gap of the log counts no more"); got != 1 {
				t.Errorf("told %d times", got)
			}
		})
	})
	t.Run("a failed backup does not fill it, and its second try does", func(t *testing.T) {
		t.Parallel()
		play(t, logship.Config{}, func(w *world) {
			w.start()
			w.log64(2, 0, 1)
			failed := logName(2, 1, 2, w.id())
			w.hana.knows(t, failed, int64(len("content of "+failed)), backup.CatalogFailed)
			w.write(failed)
			w.log64(2, 2, 3)
			before := w.after(2 * time.Minute)
			if len(before.Gaps) != 1 {
				t.Errorf("gaps %+v", before.Gaps)
			}
			w.stop() // and what HANA has called failed is forgotten
			w.hana.change(func(h *hana) { h.err = errors.New("refused") })
			w.start()
			after := w.after(time.Minute)
			if diff := cmp.Diff(before.Gaps, after.Gaps); diff != "" || !after.RecoveryPoint.Equal(before.RecoveryPoint) {
				t.Errorf("recovery point %s then %s, gaps (-before +after):\n%s", before.RecoveryPoint, after.RecoveryPoint, diff)
			}
			w.hana.change(func(h *hana) { h.err = nil })
			w.log64(2, 1, 2)
			if status := w.after(time.Minute); len(status.Gaps) != 0 {
				t.Errorf("gaps %+v", status.Gaps)
			}
			w.mustHave(failed, false, true)
		})
	})
	t.Run("the second try of a failed backup is waited for", func(t *testing.T) {
		t.Parallel()
		play(t, logship.Config{}, func(w *world) {
			w.start()
			w.log64(2, 0, 1)
			w.after(time.Second)
			w.stop() // so that both come at once
			failed := logName(2, 1, 2, w.id())
			w.hana.knows(t, failed, int64(len("content of "+failed)), backup.CatalogFailed)
			w.write(failed)
			w.hana.knows(t, logName(2, 1, 2, w.id()), 0, backup.CatalogRunning)
			third := w.log64(2, 2, 3)
			w.start()
			w.after(30 * time.Second)
			if _, indexed := w.history()[third]; indexed {
				t.Error("a failed backup was taken for what is missing")
			}
			w.after(time.Minute)
			w.mustHave(third, true, false)
		})
	})
	t.Run("a duplicate and an overlap are none", func(t *testing.T) {
		t.Parallel()
		play(t, logship.Config{}, func(w *world) {
			w.start()
			w.log64(2, 0, 4)
			w.after(time.Second)
			w.log64(2, 0, 4)
			w.log64(2, 2, 6)
			status := w.after(time.Minute)
			if len(status.Gaps) != 0 || status.Volumes[0].Position != 6*64 || len(w.volume.names()) != 0 {
				t.Errorf("status %+v", status)
			}
		})
	})
	t.Run("a gap is known after a restart", func(t *testing.T) {
		t.Parallel()
		play(t, logship.Config{}, func(w *world) {
			w.start()
			w.log64(2, 0, 1)
			w.after(time.Second)
			w.log64(2, 2, 3)
			before := w.after(time.Second)
			w.stop()
			w.start()
			after := w.after(time.Second)
			if diff := cmp.Diff(before.Gaps, after.Gaps); diff != "" || !after.RecoveryPoint.Equal(before.RecoveryPoint) {
				t.Errorf("gaps, recovery point %s then %s (-before +after):\n%s", before.RecoveryPoint, after.RecoveryPoint, diff)
			}
			w.log64(2, 4, 5)
			if status := w.after(time.Minute); len(status.Gaps) != 2 {
				t.Errorf("gaps %+v", status.Gaps)
			}
		})
	})
}
