package job

import (
	"bytes"
	"context"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing/synctest"
	"time"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// fateKind is what becomes of a backup in HANA whose reader has died: what was
// still to come gets EPIPE, but the last bytes may have been accepted by a pipe
// that nobody read any more.
type fateKind int

const (
	fateFails fateKind = iota
	fateSucceeds
	fateRunsOn // until it is cancelled
)

// crashSpec is a kill of the daemon and what the next one finds.
type crashSpec struct {
	at      time.Duration // 0: never
	fate    fateKind
	takes   time.Duration // from the restart to the end in HANA
	arrives bool          // a statement that was on its way reaches HANA
	late    time.Duration // from the restart to the end of a completion in the store, 0: never
	drainAt time.Duration // from the restart, 0: never
	after   *modelSchedule
}

// drawCrash draws a kill and the world after it.
func drawCrash(s *modelSchedule) {
	d := draw{rand.New(rand.NewPCG(s.seed, 5))}
	s.crash = crashSpec{
		at: d.upTo(4 * time.Second), fate: fateKind(d.IntN(3)), takes: d.upTo(time.Second), arrives: d.often(50),
	}
	if d.often(20) {
		s.crash.takes = d.upTo(12 * time.Second)
	}
	after := drawHealthy(s)
	after.deleteLost, after.prefix = s.deleteLost, s.prefix
	for range []int{0, 0, 1, 1, 2}[d.IntN(5)] {
		f := aftermathFaults[d.IntN(len(aftermathFaults))]
		f.draw(d, after)
		after.faults = append(after.faults, f.name)
	}
	if d.often(70) {
		s.crash.late = d.upTo(2 * time.Second)
	}
	if d.often(15) {
		s.crash.drainAt = d.upTo(3 * time.Second)
		after.faults = append(after.faults, "the next daemon drains")
	}
	s.crash.after = after
	s.faults = append(s.faults, "the daemon is killed")
}

// aftermathFaults are what may go wrong when the next daemon takes over.
var aftermathFaults = []modelFault{
	{"the catalog is away", nil, func(d draw, s *modelSchedule) {
		s.hana.away, s.hana.awayHangs = window{0, d.upTo(12 * time.Second)}, d.often(30)
	}},
	{"the catalog is away for ever", nil, func(d draw, s *modelSchedule) { s.hana.away, s.hana.awayHangs = always, d.often(30) }},
	{"HANA cannot be asked to cancel", nil, func(d draw, s *modelSchedule) {
		s.hana.cancelHangs = d.often(50)
		s.hana.cancelFails = !s.hana.cancelHangs
	}},
	{"HANA ignores the wish to cancel", nil, func(_ draw, s *modelSchedule) { s.hana.cancelIgnored = true }},
	{"HANA cancels late", nil, func(d draw, s *modelSchedule) { s.hana.cancelTakes = d.upTo(12 * time.Second) }},
	{"the store cannot be listed", nil, storeFaultOf(opList, atFirst)},
	{"manifests cannot be listed", nil, storeFaultOf(opList, atFirstManifests)},
	{"manifests cannot be read", nil, storeFaultOf(opOpen, atFirstManifests)},
	{"objects cannot be removed", nil, storeFaultOf(opRemove, atFirst)},
}

func atFirst(d draw, _ *modelSchedule, f *storeFault) { f.times, f.hangs = d.IntN(4), d.often(20) }

func atFirstManifests(d draw, s *modelSchedule, f *storeFault) {
	atFirst(d, s, f)
	f.manifest = true
}

// crash makes the world that the next daemon finds if this one dies now. This
// one goes on as if nothing had happened.
func (w *modelWorld) crash() *modelWorld {
	synctest.Wait() // nobody is in the middle of a step
	n := newModelWorld(w.s.crash.after, w.state+".after")
	if err := os.CopyFS(n.state, os.DirFS(w.state)); err != nil {
		w.violate("the journal cannot be copied: %v", err)
		return nil
	}
	w.store.mu.Lock()
	n.store.objects, n.store.late = maps.Clone(w.store.objects), make(map[string]modelObject)
	uploads := slices.Clone(w.store.uploads)
	w.store.mu.Unlock()
	for _, u := range uploads {
		if w.s.crash.late > 0 {
			maps.Copy(n.store.late, u.unfinished())
		}
	}
	w.hana.mu.Lock()
	defer w.hana.mu.Unlock()
	for id, r := range w.hana.runs {
		n.hana.runs[id] = r.orphan(n)
	}
	return n
}

// orphan is a run of HANA without its reader.
func (r *modelRun) orphan(n *modelWorld) *modelRun {
	r.mu.Lock()
	defer r.mu.Unlock()
	o := &modelRun{
		w: n, spec: r.spec, plan: r.plan, id: r.id,
		canceled: make(chan struct{}), broken: make(chan struct{}), ended: make(chan struct{}),
		sent: r.sent, began: r.began, beganAt: r.beganAt, endedAt: r.endedAt, truth: r.truth, files: slices.Clone(r.files),
	}
	if isClosed(r.canceled) {
		close(o.canceled)
	}
	return o
}

// liveOn is what a run does in the world after a crash.
func (r *modelRun) liveOn(crash *crashSpec) {
	r.mu.Lock()
	idle := r.sent == 0 || r.truth != "" || !r.began && (!crash.arrives || r.spec.start != startRuns)
	began := r.began
	r.mu.Unlock()
	if idle {
		return
	}
	if !began {
		r.w.sleep(crash.takes)
		r.begin()
	}
	if crash.fate == fateRunsOn {
		select {
		case <-r.canceled:
		case <-r.w.over:
		}
	} else {
		r.w.sleep(crash.takes, r.canceled)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.endedAt = time.Now()
	switch {
	case isClosed(r.canceled):
		r.truth = backup.CatalogCanceled
	case crash.fate == fateSucceeds && !isClosed(r.w.over):
		r.truth = backup.CatalogSuccessful
	default:
		r.truth = backup.CatalogFailed
	}
}

// playOn is the life of the next daemon.
func (w *modelWorld) playOn(crash *crashSpec, id string) {
	w.born = time.Now()
	for _, r := range w.hana.runs {
		w.actors.Go(func() { r.liveOn(crash) })
	}
	w.actors.Go(func() {
		w.sleep(crash.late)
		w.store.showLate()
	})
	written := w.manifestOf(id)
	c, err := w.conductor()
	if err != nil {
		w.violate("the next conductor does not start: %v", err)
		return
	}
	var outside sync.WaitGroup
	if crash.drainAt > 0 {
		outside.Go(func() {
			w.sleep(crash.drainAt)
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			c.Drain(ctx)
		})
	}
	w.await(c, id)
	outside.Wait()
	if crash.drainAt > 0 { // the one after that finds out
		c.Close()
		w.sleep(2 * knowable)
		if c, err = w.conductor(); err != nil {
			w.violate("the conductor after the next does not start: %v", err)
			return
		}
	}
	record := w.await(c, id)
	jobs := c.Jobs()
	for i := range jobs { // there may be one of the other database
		w.await(c, jobs[i].ID)
	}
	synctest.Wait()
	w.checkTakenOver(record, written)
	w.heal()
	w.sleep(time.Second)
	w.again(c)
	c.Close()
	w.restart(c)
	w.end()
}

// manifestOf is the manifest that a job has made visible, if it has.
func (w *modelWorld) manifestOf(id string) string {
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	for key := range w.store.objects {
		if strings.Contains(key, "/manifests/") && bytes.Contains(w.store.objects[key].text, []byte(`"job_id":"`+id+`"`)) {
			return key
		}
	}
	return ""
}

// checkTakenOver holds a job that a dead daemon left against the world.
func (w *modelWorld) checkTakenOver(record Record, written string) {
	run := w.hana.run(backup.Plan{JobID: record.ID})
	w.checkRecord(record)
	w.checkHANA(run)
	w.checkBelief(record, run)
	w.checkForeign()
	if written == "" {
		written = w.manifestOf(record.ID) // the store completed it late
	}
	told := strings.Join(record.Consequences, "\n")
	unsure := strings.Contains(told, "stays in the store") // it says that a manifest may come
	if (record.State == StateSucceeded) != (written != "") && !unsure {
		w.violate("state %s because of %v with manifest %q in the store", record.State, record.Error, written)
	}
	visible := slices.DeleteFunc(w.store.below(backup.DataPrefix(modelSID, modelDatabase)+record.Prefix+"/"), isForeign)
	if record.State != StateSucceeded && len(visible) > 0 && !strings.Contains(told, record.Prefix) && !strings.Contains(told, filepath.Base(visible[0])) {
		w.violate("visible in state %s: %q; told: %q", record.State, visible, told)
	}
}
