package logship_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pipestreamer/pipestreamer/internal/logship"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

func TestStoreOutage(t *testing.T) {
	t.Parallel()
	play(t, logship.Config{}, func(w *world) {
		w.start()
		w.log64(2, 0, 1)
		w.after(time.Minute)
		away := errors.New("connection refused")
		w.store.fail(func(string, string) error { return away })
		const told = "log backups stay on the volume, because the store fails"
		var names []string
		w.volume.free, w.volume.total = 1000, 2000
		began := time.Now()
		for i := 1; i <= 25; i++ {
			names = append(names, w.log64(2, i, i+1), w.catalog())
			status := w.after(time.Minute)
			if len(w.volume.names()) != len(names) || status.WaitingFiles != len(names) || !strings.Contains(status.StoreTrouble, away.Error()) {
				t.Fatalf("after %d minutes: status %+v, volume %v", i, status, w)
			}
			if want := 1 + (i-1)/10; w.told(told) != want && w.told(told) != 1+i/10 {
				t.Errorf("told %d times after %d minutes", w.told(told), i)
			}
		}
		status := w.shipper.Status()
		if status.Lasts == nil || *status.Lasts < 5*60 || *status.Lasts > 15*60 {
			t.Errorf("the volume of 1000 free bytes lasts %v s, with two files of about 45 bytes each minute", status.Lasts)
		}
		if status.StoreTroubleSince.Sub(began) > time.Second || status.OldestWaiting.Sub(began) > time.Second {
			t.Errorf("since %s, oldest %s, expected %s", status.StoreTroubleSince, status.OldestWaiting, began)
		}
		w.mustGauge("store_failing", 1)
		w.mustGauge("waiting_files", 50)
		for _, line := range w.log.FilterMessage(told).All()[1:] {
			if line.ContextMap()["volume_lasts"] == "unknown" {
				t.Errorf("how long the volume lasts was not told: %v", line.ContextMap())
			}
		}
		w.store.fail(nil)
		status = w.after(2 * time.Minute)
		history := w.history()
		for _, name := range names {
			w.mustHaveIn(history, name, true, false)
		}
		w.mustBeInOrder()
		if status.StoreTrouble != "" || len(status.Gaps) != 0 || w.told("the store takes log backups again") != 1 {
			t.Errorf("status %+v", status)
		}
		w.mustGauge("store_failing", 0)
	})
}

// HANA stands still on a volume without room and writes nothing any more: that it
// is full is told for as long as it is, also by a process that never saw it fill.
func TestFullVolumeIsTold(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		free  int64
		wait  bool // a log backup of 1000 bytes waits there
		known bool
	}{
		{name: "nothing is free", wait: true, known: true},
		{name: "nothing is free, and none of it is of log backups", known: true},
		{name: "too little for another file", free: 999, wait: true, known: true},
		{name: "less than a hundredth", free: 9999, known: true},
		{name: "room, and no rate", free: 500_000, wait: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			play(t, logship.Config{}, func(w *world) {
				w.volume.free, w.volume.total = test.free, 1_000_000
				w.store.fail(func(string, string) error { return errors.New("connection refused") })
				w.start()
				if test.wait {
					w.volume.write(logName(2, 1, 2, w.id()), make([]byte, 1000))
				}
				for _, moment := range []struct {
					when  string
					since time.Duration
				}{{"after two hours", 2 * time.Hour}, {"after a restart", 10 * time.Minute}} {
					status := w.after(moment.since)
					if known := status.Lasts != nil; known != test.known || known && *status.Lasts != 0 {
						t.Errorf("%s: for how long the volume lasts is known: %v, expected %v and 0 s", moment.when, known, test.known)
					}
					if _, known := w.gauge("space_seconds_left"); known != test.known {
						t.Errorf("%s: the metric is there: %v, expected %v", moment.when, known, test.known)
					}
					w.stop()
					w.start()
				}
			})
		})
	}
}

// A file stays as long as any step after its upload fails, and an index never
// overtakes an earlier file of the volume.
func TestStepsThatFail(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, call, in string
		indexed        bool
	}{
		{name: "the upload of the first file", call: "Commit", in: "_64_128."},
		{name: "the index", call: "Commit", in: "/logindex/"},
		{name: "the second look at the index", call: "Open", in: "/logindex/", indexed: true},
		{name: "the second look at the first file", call: "OpenStream", in: "_64_128.", indexed: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			play(t, logship.Config{}, func(w *world) {
				first := w.log64(2, 1, 2)
				w.store.fail(func(call, key string) error {
					if call == test.call && strings.Contains(key, test.in) {
						return errors.New("503")
					}
					return nil
				})
				w.log64(2, 2, 3)
				w.start()
				status := w.after(time.Hour)
				if indexed := len(w.indexes()) > 0; indexed != test.indexed || status.StoreTrouble == "" {
					t.Errorf("%d indexes, status %+v", len(w.indexes()), status)
				}
				if !slices.Contains(w.volume.names(), first) {
					t.Errorf("%s was removed", first)
				}
				w.store.fail(nil)
				status = w.after(5 * time.Minute)
				w.mustHave(first, true, false)
				if len(w.volume.names()) != 0 || len(status.Gaps) != 0 {
					t.Errorf("status %+v, volume %v", status, w)
				}
				if !test.indexed {
					w.mustBeInOrder()
				}
			})
		})
	}
}

// A store that is away when the shipper starts, before it has read an index.
func TestStoreAwayAtStart(t *testing.T) {
	t.Parallel()
	play(t, logship.Config{}, func(w *world) {
		name := w.log64(2, 0, 1)
		w.store.fail(func(string, string) error { return errors.New("connection refused") })
		w.start()
		if status := w.after(time.Second); status.StoreTrouble == "" || status.WaitingFiles != 1 {
			t.Errorf("status %+v", status)
		}
		w.store.fail(nil)
		w.after(2 * time.Minute)
		w.mustHave(name, true, false)
	})
}

// A volume that cannot be read is told, and read again when it can.
func TestVolumeTrouble(t *testing.T) {
	t.Parallel()
	play(t, logship.Config{}, func(w *world) {
		w.volume.fault = errors.New("stale file handle")
		w.start()
		status := w.after(10 * time.Minute)
		if !strings.Contains(status.VolumeTrouble, "stale") || time.Since(status.VolumeTroubleSince) < 9*time.Minute {
			t.Errorf("status %+v", status)
		}
		w.mustGauge("volume_failing", 1)
		w.volume.mu.Lock()
		w.volume.fault = nil
		w.volume.mu.Unlock()
		status = w.after(2 * time.Minute) // no file comes
		if status.VolumeTrouble != "" {
			t.Errorf("status %+v", status)
		}
		w.mustGauge("volume_failing", 0)
	})
}

// After a start nothing is said to be well before the store has told what is in it,
// and every file of the volume was compared with that.
func TestJudged(t *testing.T) {
	t.Parallel()
	play(t, logship.Config{}, func(w *world) {
		name, release := w.log64(2, 0, 1), make(chan struct{})
		w.store.put(backup.LogKey(sid, database, name), []byte("not that file"))
		w.store.fail(func(string, string) error { return errors.New("connection refused") })
		w.volume.opened = func(string) error { <-release; return nil }
		w.start()
		if status := w.after(10 * time.Minute); status.Judged || status.StoreTrouble == "" {
			t.Errorf("while the store is away: %+v", status)
		}
		w.store.fail(nil)
		if status := w.after(10 * time.Minute); status.Judged || status.ConflictFiles != 0 {
			t.Errorf("while the file is read: %+v", status)
		}
		close(release)
		if status := w.after(time.Minute); !status.Judged || status.ConflictFiles != 1 {
			t.Errorf("after all: %+v", status)
		}
	})
	play(t, logship.Config{}, func(w *world) {
		w.store.fail(func(string, string) error { return errors.New("connection refused") })
		w.start()
		if status := w.after(10 * time.Minute); status.Judged {
			t.Errorf("no file is there, and the store has not told what is in it: %+v", status)
		}
		w.store.fail(nil)
		if status := w.after(2 * time.Minute); !status.Judged {
			t.Errorf("the store is back: %+v", status)
		}
	})
	play(t, logship.Config{}, func(w *world) {
		w.start()
		if status := w.after(10 * time.Second); status.Judged {
			t.Error("before a file that stands there can be found")
		}
		if status := w.after(10 * time.Second); !status.Judged {
			t.Errorf("nothing is there: %+v", status)
		}
	})
}

// HANA goes on to write, faster than the store takes it: that keeps nobody from
// knowing what stood on the volume at the start.
func TestJudgedWhileHANAIsBusy(t *testing.T) {
	t.Parallel()
	play(t, logship.Config{BatchFiles: 1}, func(w *world) {
		const stood = 10
		for i := range stood {
			w.log64(2, i, i+1)
		}
		w.volume.opened = func(string) error { time.Sleep(7 * time.Second); return nil }
		w.start()
		busy := func(from, to int) (status logship.Status) {
			for i := from; i < to; i++ {
				w.log64(2, stood+i, stood+i+1)
				status = w.after(5 * time.Second)
			}
			return status
		}
		if status := busy(0, 12); status.Judged {
			t.Errorf("after a minute not all is known that stood there: %+v", status)
		}
		if status := busy(12, 24); !status.Judged || status.WaitingFiles == 0 {
			t.Errorf("all is known that stood there: %+v", status)
		}
	})
}
