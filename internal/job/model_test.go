package job

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestModel runs the conductor in a world that is all fake: HANA, pipes, store
// and clock. Each schedule is drawn from a seed before it starts, and so are
// its faults; after it the invariants of model_check_test.go hold.
//
//	go test ./internal/job -run TestModel -model.schedules 10000   # under a minute without -race
//	go test ./internal/job -run TestModel -model.seed 123          # one schedule again
//
// A seed gives the same schedule again. What happens at the very same instant
// may happen in another order.
var (
	modelSchedules = flag.Int("model.schedules", 0, "how many schedules TestModel runs; 0: as many as are quick")
	modelFirst     = flag.Uint64("model.first", 1, "the first seed of TestModel")
	modelSeed      = flag.Uint64("model.seed", 0, "the only seed of TestModel; 0: many")
)

const (
	modelDefault = 1000
	modelShort   = 200
	// modelLimit is the fake time in which every job has to end.
	modelLimit = 5 * time.Minute
	// modelFailures is after how many bad schedules the test gives up.
	modelFailures = 10
)

func TestModel(t *testing.T) {
	first, count := *modelFirst, *modelSchedules
	switch {
	case *modelSeed != 0:
		first, count = *modelSeed, 1
	case count > 0:
	case testing.Short():
		count = modelShort
	default:
		count = modelDefault
	}
	root := modelRoot(t)
	results := &modelResults{causes: make(map[string]int), states: make(map[State]int)}
	var next atomic.Uint64
	var workers sync.WaitGroup
	for range 2 {
		workers.Go(func() {
			for n := next.Add(1); n <= uint64(count); n = next.Add(1) {
				if !runSchedule(t, results, root, first+n-1) {
					return
				}
			}
		})
	}
	workers.Wait()
	results.report(t, count)
}

// modelRoot is a directory in memory, where there is one: a journal is synced
// at every step.
func modelRoot(tb testing.TB) string {
	tb.Helper()
	root, err := os.MkdirTemp("/dev/shm", "model") //nolint:usetesting // t.TempDir is on a disk
	if err != nil {
		return tb.TempDir()
	}
	tb.Cleanup(func() {
		if err := os.RemoveAll(root); err != nil {
			tb.Error(err)
		}
	})
	return root
}

// runSchedule runs one schedule in a bubble and says whether to go on.
func runSchedule(t *testing.T, results *modelResults, root string, seed uint64) bool {
	t.Helper()
	s := drawSchedule(seed)
	state := filepath.Join(root, strconv.FormatUint(seed, 10))
	defer func() {
		if what := recover(); what != nil { // a bubble whose goroutines are stuck
			panic(fmt.Sprintf("%s: %v", s, what))
		}
	}()
	var w *modelWorld
	synctest.Test(t, func(*testing.T) {
		w = newModelWorld(s, state)
		w.play(results)
	})
	if err := errors.Join(os.RemoveAll(state), os.RemoveAll(state+".after"), os.RemoveAll(state+".killed")); err != nil {
		t.Error(err)
	}
	if len(w.violations) > 0 {
		t.Errorf("%s\n  %s\nreplay: go test ./internal/job -run TestModel -model.seed %d", s, strings.Join(w.violations, "\n  "), seed)
		return results.failed.Add(1) < modelFailures
	}
	return true
}

// modelResults counts what the schedules came to.
type modelResults struct {
	failed atomic.Int64

	mu      sync.Mutex
	states  map[State]int
	causes  map[string]int
	longest time.Duration
}

func (r *modelResults) count(record Record, took time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.states[record.State]++
	r.longest = max(r.longest, took)
	if record.Error != nil {
		r.causes[record.Error.Code]++
	}
}

// report logs the distribution; a run of the usual length has to reach enough.
func (r *modelResults) report(t *testing.T, count int) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	t.Logf("%d schedules; the longest job took %s of fake time", count, r.longest.Round(time.Millisecond))
	for _, state := range slices.Sorted(maps.Keys(r.states)) {
		t.Logf("  state %-10s %6d", state, r.states[state])
	}
	for _, code := range slices.Sorted(maps.Keys(r.causes)) {
		t.Logf("  cause %-20s %6d", code, r.causes[code])
	}
	if count >= modelDefault && (len(r.states) < 4 || len(r.causes) < 15) {
		t.Errorf("only %d states and %d causes were reached", len(r.states), len(r.causes))
	}
}
