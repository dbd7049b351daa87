package job

import (
	"bytes"
	"context"
	"encoding/json"
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
	modelFailures = 100
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
	if err := errors.Join(os.RemoveAll(state), os.RemoveAll(state+".after")); err != nil {
		t.Error(err)
	}
	if len(w.violations) > 0 {
		t.Errorf("%s\n  %s\nreplay: go test ./internal/job -run TestModel -model.seed %d", s, strings.Join(w.violations, "\n  "), seed)
		return results.failed.Add(1) < modelFailures
	}
	return true
}

// play is one schedule: a backup with faults, then one without, then a restart.
func (w *modelWorld) play(results *modelResults) {
	c, err := w.conductor()
	if err != nil {
		w.violate("the conductor does not start: %v", err)
		return
	}
	record, err := c.StartBackup(context.Background(), BackupRequest{Database: modelDatabase}, "first")
	if err != nil {
		w.violate("the backup does not start: %v", err)
		c.Close()
		return
	}
	var outside sync.WaitGroup
	ended := make(chan struct{})
	w.meddle(c, record.ID, ended, &outside)
	next := w.live(c, record.ID)
	record = w.await(c, record.ID)
	results.count(record, time.Since(w.born))
	synctest.Wait()
	w.checkEnded(record, true)
	close(ended)
	outside.Wait()
	w.heal()
	w.sleep(time.Second) // HANA ends what it still ran
	if w.s.outside.drainAt == 0 {
		w.again(c)
	}
	c.Close()
	w.restart(c)
	w.end()
	if next != nil {
		next.playOn(&w.s.crash, record.ID)
		w.violations = append(w.violations, next.violations...)
	}
}

// end lets go of whoever waits for ever.
func (w *modelWorld) end() {
	if !isClosed(w.over) {
		close(w.over)
	}
	w.actors.Wait()
}

// live waits until a job has ended or the daemon is killed; then it gives the
// world that is left.
func (w *modelWorld) live(c *Conductor, id string) (next *modelWorld) {
	if w.s.crash.at == 0 {
		return nil
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.await(c, id)
	}()
	if w.sleep(w.s.crash.at, ended) {
		next = w.crash()
	}
	<-ended
	return next
}

// await returns the terminal record of a job, which has to come in time.
func (w *modelWorld) await(c *Conductor, id string) Record {
	records, end, err := c.Subscribe(id)
	if err != nil {
		w.violate("job %s cannot be followed: %v", id, err)
		return Record{}
	}
	defer end()
	limit := time.NewTimer(modelLimit)
	defer limit.Stop()
	var last Record
	for {
		select {
		case record, more := <-records:
			if !more {
				return last
			}
			last = record
		case <-limit.C:
			if isClosed(w.over) {
				panic(fmt.Sprintf("%s: a job never ends: %+v", w.s, last))
			}
			w.violate("job %s has not ended in %s; stage %s", id, modelLimit, last.Stage)
			close(w.over)
			limit.Reset(modelLimit)
		}
	}
}

// meddle does what the outside does.
func (w *modelWorld) meddle(c *Conductor, id string, ended <-chan struct{}, outside *sync.WaitGroup) {
	at := func(when time.Duration, do func()) {
		if when > 0 {
			outside.Go(func() {
				if w.sleep(when, ended) {
					do()
				}
			})
		}
	}
	at(w.s.outside.cancelAt, func() {
		if err := c.Cancel(id); err != nil && !errors.Is(err, ErrFinished) {
			w.violate("cancelling gave %v", err)
		}
	})
	at(w.s.outside.drainAt, func() {
		ctx, cancel := context.WithTimeout(context.Background(), w.s.outside.grace)
		defer cancel()
		c.Drain(ctx)
	})
	at(w.s.outside.secondAt, func() { w.second(c, id) })
}

// second asks for another backup while the first one runs.
func (w *modelWorld) second(c *Conductor, id string) {
	if same, err := c.StartBackup(context.Background(), BackupRequest{Database: modelDatabase}, "first"); err != nil || same.ID != id {
		w.violate("the same request gave job %s, %v", same.ID, err)
	}
	if record, err := c.Job(id); err != nil || record.State.Terminal() {
		return
	}
	other, err := c.StartBackup(context.Background(), BackupRequest{Database: modelDatabase}, "second")
	var busy *BusyError
	if !errors.As(err, &busy) && (!errors.Is(err, ErrDraining) || w.s.outside.drainAt == 0) || busy != nil && busy.JobID != id {
		w.violate("a second backup gave job %s, %v", other.ID, err)
	}
}

// again demands that the next backup succeeds.
func (w *modelWorld) again(c *Conductor) {
	record, err := c.StartBackup(context.Background(), BackupRequest{Database: modelDatabase}, "again")
	if err != nil {
		w.violate("the next backup does not start: %v", err)
		return
	}
	if record = w.await(c, record.ID); record.State != StateSucceeded {
		w.violate("the next backup: %s because of %+v", record.State, record.Error)
	}
	w.checkEnded(record, false)
}

// restart demands that a new conductor remembers every job as it was.
func (w *modelWorld) restart(c *Conductor) {
	restarted, err := w.conductor()
	if err != nil {
		w.violate("the conductor does not start again: %v", err)
		return
	}
	defer restarted.Close()
	before, after := c.Jobs(), restarted.Jobs()
	textBefore, errBefore := json.Marshal(before)
	textAfter, errAfter := json.Marshal(after)
	if err := errors.Join(errBefore, errAfter); err != nil || !bytes.Equal(textBefore, textAfter) {
		w.violate("the jobs changed by a restart (%v)\nbefore: %s\nafter:  %s", err, textBefore, textAfter)
	}
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
