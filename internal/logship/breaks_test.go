package logship_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipestreamer/pipestreamer/internal/logship"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

const toldBroken = "HANA has interrupted the log: no recovery goes past that moment until the store has a complete backup that began after it"

// breakLog has HANA interrupt the log now.
func (w *world) breakLog(reason string) time.Time {
	now := time.Now()
	w.hana.change(func(h *hana) { h.breaks = append(h.breaks, backup.Break{At: now, Reason: reason}) })
	return now
}

// The log of a database that goes on after an interruption is of no use before the
// store has a complete backup from after it.
func TestBroken(t *testing.T) {
	t.Parallel()
	play(t, logship.Config{}, func(w *world) {
		w.log64(2, 0, 1)
		w.start()
		w.after(time.Minute)
		at := w.breakLog("log mode overwrite")
		status := w.after(11 * time.Minute)
		if status.Broken == nil || status.Broken.Reason != "log mode overwrite" {
			t.Errorf("status %+v", status)
		}
		w.mustGauge("history_broken", 1)
		w.after(time.Hour)
		if got := w.told(toldBroken); got != 1 {
			t.Errorf("told %d times", got)
		}
		w.log64(2, 1, 2) // HANA goes on after a complete backup that the store has lost
		if status := w.after(time.Minute); status.Broken == nil || status.RecoveryPoint.After(at) {
			t.Errorf("broken %v, recovery point %s", status.Broken, status.RecoveryPoint)
		}
		w.bases.set(map[int]int64{2: 64}, nil)
		last := w.log64(2, 2, 3)
		status = w.after(2 * time.Minute)
		if want := entryOf(t, last, 0, "").StartedAt; status.Broken != nil || !status.RecoveryPoint.Equal(want) {
			t.Errorf("broken %v, recovery point %s, expected %s", status.Broken, status.RecoveryPoint, want)
		}
		w.mustGauge("history_broken", 0)
	})
}

// Between the last question and a break no time need pass.
func TestBreakRightAfterTheQuestion(t *testing.T) {
	t.Parallel()
	play(t, logship.Config{}, func(w *world) {
		w.start()
		w.log64(2, 0, 1)
		w.after(time.Millisecond)
		at := w.breakLog("RECOVERY")
		w.log64(2, 1, 2)
		if status := w.after(10 * time.Second); status.Broken == nil || status.RecoveryPoint.After(at) {
			t.Errorf("broken %v, recovery point %s", status.Broken, status.RecoveryPoint)
		}
	})
}

// Breaks are in the store before the log that follows them, and are known when
// HANA does not tell of them any more.
func TestBreaksAreRecorded(t *testing.T) {
	t.Parallel()
	play(t, logship.Config{}, func(w *world) {
		w.start()
		w.log64(2, 0, 1)
		w.after(time.Minute)
		first := w.breakLog("RECOVERY")
		second := w.breakLog("RECOVERY")
		_ = second // of the same moment, it is one
		w.store.fail(func(call, key string) error {
			if call == "Commit" && strings.Contains(key, "/breaks/") {
				return errors.New("503")
			}
			return nil
		})
		after := w.log64(2, 1, 2)
		w.after(time.Minute)
		if _, indexed := w.history()[after]; indexed {
			t.Error("log from after a break was indexed before the break was recorded")
		}
		w.store.fail(nil)
		w.after(2 * time.Minute)
		w.mustHave(after, true, false)
		third := w.breakLog("log mode overwrite")
		w.after(11 * time.Minute)
		w.stop()
		w.hana.change(func(h *hana) { h.breaks = nil })
		w.start()
		status := w.after(time.Minute)
		if status.Broken == nil || !status.Broken.At.Equal(first) {
			t.Errorf("broken %v", status.Broken)
		}
		want := []backup.Break{{At: first.UTC(), Reason: "RECOVERY"}, {At: third.UTC(), Reason: "log mode overwrite"}}
		breaks, damaged, err := logship.ReadBreaks(t.Context(), w.store, sid, database)
		if diff := cmp.Diff(want, breaks); diff != "" || len(damaged) > 0 || err != nil {
			t.Errorf("%v, %v, breaks (-want +got):\n%s", damaged, err, diff)
		}
	})
}

// A record that cannot be read still says when the log was interrupted.
func TestReadBreaks(t *testing.T) {
	t.Parallel()
	s := newMemoryStore()
	at := time.UnixMilli(1_800_000_000_000).UTC()
	s.put(backup.BreakKey(sid, database, at), []byte("{"))
	s.put(backup.BreakPrefix(sid, database)+"1.json", []byte("{}"))
	breaks, damaged, err := logship.ReadBreaks(t.Context(), s, sid, database)
	if err != nil || len(breaks) != 1 || !breaks[0].At.Equal(at) || len(damaged) != 1 || !strings.Contains(damaged[0].Error(), "damaged") {
		t.Errorf("%v, %v, %v", breaks, damaged, err)
	}
	s.fail(func(string, string) error { return errors.New("503") })
	if _, _, err := logship.ReadBreaks(t.Context(), s, sid, database); err == nil {
		t.Error("a store that fails has no breaks")
	}
}

// After a recovery HANA gives the same positions to other log: what was there
// before it fills no gap.
func TestGapBehindBreak(t *testing.T) {
	t.Parallel()
	play(t, logship.Config{}, func(w *world) {
		w.start()
		w.log64(2, 0, 9)
		w.after(time.Minute)
		w.breakLog("RECOVERY")
		w.after(time.Minute)
		w.bases.set(map[int]int64{2: 2 * 64}, nil)
		first := w.log64(2, 2, 3)
		w.after(time.Minute)
		third := w.log64(2, 4, 5)
		status := w.after(2 * time.Minute)
		want := []logship.Gap{{VolumeID: 2, After: 3 * 64, Before: 4 * 64, AfterFile: first, BeforeFile: third}}
		if diff := cmp.Diff(want, status.Gaps); diff != "" || !status.RecoveryPoint.Equal(entryOf(t, first, 0, "").StartedAt) {
			t.Errorf("recovery point %s, gaps (-want +got):\n%s", status.RecoveryPoint, diff)
		}
		w.stop()
		w.start()
		if diff := cmp.Diff(want, w.after(time.Minute).Gaps); diff != "" {
			t.Errorf("after a restart (-want +got):\n%s", diff)
		}
	})
}

// Of log from before and after a break only that counts which goes on from the
// data backup, also when the break becomes known after it.
func TestLogOfBothSides(t *testing.T) {
	t.Parallel()
	play(t, logship.Config{}, func(w *world) {
		w.bases.set(map[int]int64{2: 1}, nil)
		w.start()
		before := w.log64(2, 0, 1)
		w.after(time.Minute)
		at := time.Now()
		w.log64(2, 1, 2)
		w.after(time.Minute)
		w.hana.change(func(h *hana) { h.breaks = []backup.Break{{At: at, Reason: "RECOVERY"}} })
		status := w.after(12 * time.Minute)
		if want := entryOf(t, before, 0, "").StartedAt; !status.RecoveryPoint.Equal(want) || status.Broken == nil {
			t.Errorf("recovery point %s, expected %s, broken %v", status.RecoveryPoint, want, status.Broken)
		}
	})
}

// Whoever knows that the log was interrupted, or that a complete backup has mended
// it, need not wait for the next question.
func TestLook(t *testing.T) {
	t.Parallel()
	play(t, logship.Config{}, func(w *world) {
		w.bases.set(map[int]int64{2: 1}, nil)
		w.start()
		w.log64(2, 0, 1)
		w.after(time.Minute + time.Second)
		w.breakLog("RECOVERY")
		if status := w.after(5 * time.Second); status.Broken != nil {
			t.Fatal("the break is known without a look, so that the test shows nothing")
		}
		w.shipper.LookNow()
		if status := w.after(time.Second); status.Broken == nil {
			t.Error("a look does not find the break")
		}
		w.mustGauge("history_broken", 1)
		w.after(5 * time.Second)
		w.bases.set(map[int]int64{2: 64}, nil)
		if status := w.after(5 * time.Second); status.Broken == nil {
			t.Fatal("the backup is known without a look, so that the test shows nothing")
		}
		w.shipper.LookNow()
		if status := w.after(time.Second); status.Broken != nil {
			t.Errorf("a look does not find the backup: %+v", status.Broken)
		}
		w.mustGauge("history_broken", 0)
	})
}

// A HANA that does not answer when it is looked at is asked again before long.
func TestLookAtSilentHANA(t *testing.T) {
	t.Parallel()
	play(t, logship.Config{}, func(w *world) {
		w.start()
		w.after(time.Minute)
		w.breakLog("RECOVERY")
		w.hana.change(func(h *hana) { h.err = errors.New("away") })
		w.shipper.LookNow()
		w.after(time.Minute)
		w.hana.change(func(h *hana) { h.err = nil })
		if status := w.after(20 * time.Second); status.Broken == nil {
			t.Error("HANA was not asked again")
		}
	})
}
