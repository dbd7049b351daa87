package job

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing/synctest"
	"time"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

type recoverKind int

const (
	recoverAll recoverKind = iota
	recoverNotSent
	recoverRefused
	recoverFails // after it has read everything
	recoverUnread
	recoverLost
	recoverNever
)

// restoreSpec is a restore of the backup that succeeded before, and how HANA,
// pipes and store behave during it.
type restoreSpec struct {
	wanted       bool
	faults       []string
	codes        []string
	delay        time.Duration
	pause        time.Duration // HANA's, between two pieces
	headers      bool          // HANA opens each file twice
	startsItself bool
	recovery     recoverKind
	lostAfter    time.Duration
	checkErr     error
	stopErr      error
	startErr     error
	namesErr     error
	prepareErr   error
	serveErr     error
	closeErr     error
	damage       func(o *modelObject) (remove bool)
	store        *storeFault
	cancelAt     time.Duration
	killAt       time.Duration
	hashes       map[backup.StreamID]string
}

type restoreFault struct {
	name  string
	codes []string
	draw  func(d draw, r *restoreSpec)
}

var restoreFaults = []restoreFault{
	{"HANA allows no recovery", []string{CodePlan, CodeHANA, CodeBackupRunning}, func(d draw, r *restoreSpec) {
		r.checkErr = []error{errModelRefused, &backup.HANAError{Code: 258}, backup.ErrBusy}[d.IntN(3)]
	}},
	{"the tenant cannot be stopped", []string{CodeHANA}, func(_ draw, r *restoreSpec) { r.stopErr = &backup.HANAError{Code: 2} }},
	{"RECOVER is not sent", []string{CodeUnreachable}, func(_ draw, r *restoreSpec) { r.recovery = recoverNotSent }},
	{"RECOVER is refused", []string{CodeHANA}, func(_ draw, r *restoreSpec) { r.recovery = recoverRefused }},
	{"RECOVER fails", []string{CodeHANA}, func(_ draw, r *restoreSpec) { r.recovery = recoverFails }},
	{"RECOVER reads less", []string{CodeUnread}, func(_ draw, r *restoreSpec) { r.recovery = recoverUnread }},
	{"the connection is lost", []string{CodeAnswerUnknown, CodeHANA}, func(d draw, r *restoreSpec) {
		r.recovery, r.lostAfter = recoverLost, d.upTo(2*time.Second)
	}},
	{"RECOVER never answers", []string{CodeCanceled}, func(d draw, r *restoreSpec) { r.recovery, r.cancelAt = recoverNever, d.upTo(9*time.Second) }},
	{"the tenant cannot be started", []string{CodeHANA}, func(_ draw, r *restoreSpec) { r.startErr = &backup.HANAError{Code: 2} }},
	{"pipes cannot be made", []string{CodePipe}, func(d draw, r *restoreSpec) {
		if d.often(50) {
			r.namesErr = errors.New("file exists")
		} else {
			r.prepareErr = errors.New("read-only file system")
		}
	}},
	{"a pipe cannot be served", []string{CodePipe}, func(_ draw, r *restoreSpec) { r.serveErr = errors.New("input/output error") }},
	{"pipes cannot be removed", nil, func(_ draw, r *restoreSpec) { r.closeErr = errors.New("input/output error") }},
	{"an object is missing", []string{CodeObject}, func(_ draw, r *restoreSpec) { r.damage = func(*modelObject) bool { return true } }},
	{"an object is short", []string{CodeObject}, func(_ draw, r *restoreSpec) {
		r.damage = func(o *modelObject) bool {
			o.text, o.Size = o.text[1:], o.Size-1
			return false
		}
	}},
	{"an object is altered", []string{CodeObject}, func(_ draw, r *restoreSpec) {
		r.damage = func(o *modelObject) bool {
			o.text = append([]byte{o.text[0] ^ 1}, o.text[1:]...)
			return false
		}
	}},
	{"the store cannot be read", []string{CodeObject, CodeStoreUnusable}, func(d draw, r *restoreSpec) {
		r.store = &storeFault{op: []string{opOpen, opStat, opList}[d.IntN(3)], manifest: d.often(50)}
	}},
	{"somebody cancels", []string{CodeCanceled}, func(d draw, r *restoreSpec) { r.cancelAt = d.upTo(2 * time.Second) }},
	{"the daemon is killed", nil, func(d draw, r *restoreSpec) { r.killAt = d.upTo(2 * time.Second) }},
}

// drawRestore draws a restore of the backup that has succeeded.
func drawRestore(seed uint64) restoreSpec {
	d := draw{rand.New(rand.NewPCG(seed, 7))}
	r := restoreSpec{
		wanted: d.often(30), delay: d.upTo(100 * time.Millisecond), pause: d.upTo(50 * time.Millisecond),
		headers: d.often(50), startsItself: d.often(50),
	}
	for range []int{0, 1, 1, 1, 2}[d.IntN(5)] {
		f := restoreFaults[d.IntN(len(restoreFaults))]
		f.draw(d, &r)
		r.faults, r.codes = append(r.faults, f.name), append(r.codes, f.codes...)
	}
	return r
}

// goOn restores and verifies a backup that has succeeded, with faults.
func (w *modelWorld) goOn(c *Conductor, saved Record, results *modelResults) {
	r := &w.s.restore
	if !r.wanted || saved.State != StateSucceeded {
		return
	}
	run := w.hana.run(backup.Plan{JobID: saved.ID})
	r.hashes = make(map[backup.StreamID]string)
	for i, s := range run.plan.Streams {
		r.hashes[s.StreamID] = run.files[i].sha256
	}
	w.spoil(r, saved)
	before := len(w.store.below(""))
	id := strconv.FormatInt(saved.BackupID, 10)
	record, err := c.StartRestore(context.Background(), RestoreRequest{Database: modelDatabase, Backup: id}, "restore")
	if err != nil {
		w.violate("the restore does not start: %v", err)
		return
	}
	var outside sync.WaitGroup
	if job := record.ID; r.cancelAt > 0 {
		outside.Go(func() {
			w.sleep(r.cancelAt)
			if err := c.Cancel(job); err != nil && !errors.Is(err, ErrFinished) {
				w.violate("cancelling a restore gave %v", err)
			}
		})
	}
	if w.sleep(r.killAt) && r.killAt > 0 {
		w.killRestore(record.ID)
	}
	record = w.await(c, record.ID)
	results.count(record, 0)
	synctest.Wait()
	w.checkRestored(record)
	outside.Wait()
	w.verify(c, id)
	if after := len(w.store.below("")); after != before {
		w.violate("there were %d objects, after a restore and a verification %d", before, after)
	}
}

// killRestore looks at what the next daemon makes of a restore if this one dies
// now. This one goes on as if nothing had happened.
func (w *modelWorld) killRestore(id string) {
	synctest.Wait()
	n := newModelWorld(drawHealthy(w.s), w.state+".killed")
	defer n.end()
	if err := os.CopyFS(n.state, os.DirFS(w.state)); err != nil {
		w.violate("the journal cannot be copied: %v", err)
		return
	}
	w.tenant.mu.Lock()
	stopped := w.tenant.stopped
	w.tenant.mu.Unlock()
	running, err := n.conductor()
	if err != nil {
		w.violate("the next conductor does not start: %v", err)
		return
	}
	defer running.Close()
	record := n.await(running, id)
	w.checkRecord(record)
	if stopped && !record.TenantStopped {
		w.violate("the daemon was killed while the tenant is stopped, and the record does not say so")
	}
}

// spoil does to the store what the schedule wants.
func (w *modelWorld) spoil(r *restoreSpec, saved Record) {
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	if r.store != nil {
		w.store.spec.faults = append(w.store.spec.faults, r.store)
	}
	if r.damage == nil {
		return
	}
	key := backup.StreamKey(modelSID, modelDatabase, saved.Prefix, backup.StreamID{VolumeID: 0, PartID: 1})
	object := w.store.objects[key]
	if remove := r.damage(&object); remove {
		delete(w.store.objects, key)
	} else {
		w.store.objects[key] = object
	}
}

// checkRestored holds an ended restore against the tenant.
func (w *modelWorld) checkRestored(record Record) {
	w.checkRecord(record)
	r, m := &w.s.restore, w.tenant
	if record.State == StateLost {
		w.violate("a restore is lost")
	}
	w.explain(record, r.codes, len(r.faults), []string{CodeHANA, CodeAnswerUnknown, CodeUnread, CodeObject, CodePipe})
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.sent > 1 {
		w.violate("RECOVER was sent %d times", m.sent)
	}
	if record.State == StateSucceeded && (!m.whole || m.stopped) {
		w.violate("a restore succeeded, but the tenant is whole: %t, stopped: %t", m.whole, m.stopped)
	}
	if m.started > 0 && r.recovery != recoverLost && r.recovery != recoverNever {
		w.violate("a tenant whose recovery failed was started %d times", m.started)
	}
	if m.stopped && !record.TenantStopped {
		w.violate("the tenant is stopped and the record does not say so; faults: %q", r.faults)
	}
	for _, k := range m.sinks {
		if n := k.blocked.Load(); n > 0 || !isClosed(k.closed) && len(k.reports) > 0 {
			w.violate("%d of HANA's threads are blocked in reading, or the sink is not closed", n)
		}
	}
}

// verify reads the backup back: it finds what was damaged, and only that.
func (w *modelWorld) verify(c *Conductor, id string) {
	record, err := c.StartVerification(context.Background(), VerificationRequest{Database: modelDatabase, Backup: id}, "verify")
	if err != nil {
		w.violate("the verification does not start: %v", err)
		return
	}
	record = w.await(c, record.ID)
	w.checkRecord(record)
	damaged, unreadable := w.s.restore.damage != nil, w.s.restore.store != nil
	found := record.Error != nil && record.Error.Code == CodeFindings
	if damaged && record.State == StateSucceeded || !damaged && found || !damaged && !unreadable && record.State != StateSucceeded {
		w.violate("damaged: %t, unreadable: %t; the verification %s because of %v", damaged, unreadable, record.State, record.Error)
	}
}
