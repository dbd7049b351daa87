package logship_test

import (
	"errors"
	"flag"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/pipestreamer/pipestreamer/internal/logship"
)

var schedules = flag.Int("logship.schedules", 10, "how many random schedules are played")

// Over random schedules of log backups, faults of the store and of HANA, files
// that change, and processes that end, no file is ever missing from both the
// volume and the store with its index, and in the end all are shipped, in order
// where nothing had to be overtaken.
func TestRandomSchedules(t *testing.T) {
	t.Parallel()
	for seed := range *schedules {
		play(t, logship.Config{BatchFiles: 1 + seed%7, Parallel: 1 + seed%4}, func(w *world) {
			r := &dice{random: rand.New(rand.NewPCG(uint64(seed), 4))} //nolint:gosec // a schedule to repeat, no secret
			ends := map[int]int{2: 0, 3: 0, 5: 0}
			w.start()
			for range 40 {
				w.happen(r, ends)
				w.after(time.Duration(r.upTo(90)) * time.Second)
			}
			w.store.fail(nil)
			w.store.lose(nil)
			w.hana.change(func(h *hana) { h.err = nil })
			w.catalog()
			status := w.after(30 * time.Minute)
			history := w.history()
			for name := range w.content {
				w.mustHaveIn(history, name, true, false)
			}
			if status.WaitingFiles != 0 || len(status.Gaps) != 0 || status.ConflictFiles != 0 || status.StoreTrouble != "" {
				w.t.Errorf("status %+v", status)
			}
			if w.t.Failed() {
				w.t.Fatalf("seed %d", seed)
			}
		})
	}
}

// dice may be thrown by several goroutines.
type dice struct {
	mu     sync.Mutex
	random *rand.Rand
}

func (d *dice) upTo(n int) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.random.IntN(n)
}

// happen does one thing to the world.
func (w *world) happen(r *dice, ends map[int]int) {
	away := errors.New("503")
	switch r.upTo(10) {
	case 0, 1, 2, 3:
		for range 1 + r.upTo(6) {
			volume := []int{2, 3, 5}[r.upTo(3)]
			length := 1 + r.upTo(3)
			w.log64(volume, ends[volume], ends[volume]+length)
			ends[volume] += length
		}
	case 4:
		w.catalog()
	case 5:
		rate := 1 + r.upTo(5)
		w.store.fail(func(string, string) error {
			if r.upTo(5) < rate {
				return away
			}
			return nil
		})
	case 6:
		w.store.fail(nil)
		w.hana.change(func(h *hana) { h.err = nil })
	case 7:
		w.hana.change(func(h *hana) { h.err = away })
	case 8:
		w.stop()
		w.start()
	case 9:
		w.store.lose(func(string) error {
			if r.upTo(3) == 0 {
				return away
			}
			return nil
		})
	}
}
