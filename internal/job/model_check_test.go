package job

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// checkEnded holds one ended backup against the world: the invariants that no
// schedule may break.
func (w *modelWorld) checkEnded(record Record, faults bool) {
	run := w.hana.run(backup.Plan{JobID: record.ID})
	w.checkRecord(record)
	if faults {
		w.checkCause(record)
	}
	w.checkHANA(run)
	w.checkBelief(record, run)
	w.checkDoor(record, run)
	w.checkStore(record)
	w.checkDeleted(record, run)
	w.checkForeign()
	if record.State == StateSucceeded {
		w.checkGood(record, run)
	}
}

// checkRecord is about the record alone.
func (w *modelWorld) checkRecord(r Record) {
	switch r.State {
	case StateSucceeded, StateFailed, StateCanceled, StateLost:
	default:
		w.violate("the job ended in state %q", r.State)
	}
	if (r.Error == nil) != (r.State == StateSucceeded) || (r.State == StateCanceled) != (r.Error != nil && r.Error.Code == CodeCanceled && r.State != StateLost) {
		w.violate("state %s goes with cause %+v", r.State, r.Error)
	}
	if r.State == StateSucceeded && (len(r.Consequences) > 0 || r.Stage != StageDone || r.Manifest == "") {
		w.violate("a success with stage %s, manifest %q, consequences %q", r.Stage, r.Manifest, r.Consequences)
	}
	if r.FinishedAt.Before(r.StartedAt) {
		w.violate("the job ended at %s, before its start", r.FinishedAt)
	}
	if e := r.Error; e != nil && e.Code == CodeMemory && e.Stage != StageArm {
		w.violate("memory was missing in stage %s, after HANA was told to start", e.Stage)
	}
	if e := r.Error; e != nil && (e.Message == "" || e.Hint == "" || e.Stage == "" || hintFor(e.Code) == "") {
		w.violate("the cause is not explained: %+v", *e)
	}
}

// checkCause demands that something which was injected explains the cause.
func (w *modelWorld) checkCause(r Record) {
	w.explain(r, w.s.codes, len(w.s.faults), modelCompany)
}

// explain looks for the cause among those of the faults, and of faults that come
// together.
func (w *modelWorld) explain(r Record, codes []string, faults int, company []string) {
	if faults > 1 { // a kill is of another world, but a few more causes do no harm
		codes = slices.Concat(codes, company)
	}
	if r.Error != nil && !slices.Contains(codes, r.Error.Code) {
		w.violate("no fault explains the cause %s (%s)", r.Error.Code, r.Error.Error())
	}
}

// checkHANA is about what HANA was told.
func (w *modelWorld) checkHANA(run *modelRun) {
	running := run.running()
	run.mu.Lock()
	defer run.mu.Unlock()
	if run.sent > 1 {
		w.violate("BACKUP DATA was sent %d times", run.sent)
	}
	if running && run.cancels == 0 {
		w.violate("HANA still runs the backup and was not asked to cancel it")
	}
}

// checkBelief is the rule of state lost: HANA believes in the backup as far as
// it has said so, by its catalog or, when that said nothing in the end, by its
// answer.
func (w *modelWorld) checkBelief(record Record, run *modelRun) {
	away := w.hana.now().away
	run.mu.Lock()
	defer run.mu.Unlock()
	believed := run.success
	for _, state := range run.told {
		switch state {
		case backup.CatalogSuccessful:
			believed = true
		case backup.CatalogFailed, backup.CatalogCanceled:
			believed = false
		}
	}
	if lost := record.State == StateLost; record.State != StateSucceeded && lost != believed {
		w.violate("state %s, HANA said: success %t, catalog %q", record.State, run.success, run.told)
	}
	// What HANA could have said for a long time has to be known.
	readable := run.truth == backup.CatalogSuccessful && !run.spec.rowNever &&
		time.Since(run.endedAt) > run.spec.rowSettles+knowable && time.Since(run.beganAt) > run.spec.rowAppears+knowable &&
		(time.Since(w.born) < away.from || time.Since(w.born) > away.to+knowable)
	if readable && record.State != StateSucceeded && record.State != StateLost {
		w.violate("state %s, but the catalog shows a successful backup for more than %s", record.State, knowable)
	}
}

// knowable is after which time the conductor cannot have missed what the
// catalog says: it asks every few seconds.
const knowable = 10 * time.Second

// checkDoor demands that HANA is let go, and not before it could be.
func (w *modelWorld) checkDoor(record Record, run *modelRun) {
	if n := w.doors.blocked.Load(); n > 0 {
		w.violate("%d of HANA's threads are blocked in a pipe", n)
	}
	w.doors.mu.Lock()
	door := w.doors.byPrefix[record.Prefix]
	w.doors.mu.Unlock()
	if door == nil {
		return
	}
	door.mu.Lock()
	defer door.mu.Unlock()
	if !isClosed(door.closed) {
		w.violate("the source is not closed")
		return
	}
	w.checkReleased(record, door)
	run.mu.Lock()
	defer run.mu.Unlock()
	if !run.began || !run.endedAt.IsZero() && !run.endedAt.After(door.closedAt) {
		return
	}
	if run.cancels == 0 || door.closedAt.Sub(run.canceledAt) < w.config().AnswerTimeout {
		w.violate("the pipes were removed while HANA ran, %s after the wish to cancel", door.closedAt.Sub(run.canceledAt))
	}
}

// checkReleased demands that HANA gets EPIPE as soon as nobody takes its bytes:
// it must not wait for what else has to be done. The caller holds door.mu.
func (w *modelWorld) checkReleased(record Record, door *modelDoor) {
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	for _, u := range w.store.uploads {
		for _, s := range door.streams {
			if u.failedAt.IsZero() || len(s.pipes) == 0 || u.key != backup.StreamKey(modelSID, record.Database, record.Prefix, s.report.StreamID) {
				continue
			}
			if late := s.pipes[0].leftAt.Sub(u.failedAt); late > 0 {
				w.violate("stream %s was let go %s after its upload had failed", s.report.StreamID, late)
			}
		}
	}
}

// checkStore demands that what is not good leaves nothing, or is told.
func (w *modelWorld) checkStore(record Record) {
	told := strings.Join(record.Consequences, "\n")
	visible := slices.DeleteFunc(w.store.below(backup.DataPrefix(modelSID, record.Database)+record.Prefix+"/"), isForeign)
	stay := record.State == StateLost && record.Error.Code == CodeUnwritten && strings.Contains(told, "the objects stay")
	if key := w.manifestOf(record.ID); record.State != StateSucceeded && !stay && key != "" {
		w.violate("the manifest %s is visible in state %s", key, record.State)
	}
	if record.State != StateSucceeded && !stay {
		for _, key := range visible {
			if !strings.Contains(told, "stream "+strings.Split(key[strings.LastIndex(key, "/")+1:], ".")[0]+": not removed") {
				w.violate("%s is visible in state %s; told: %q", key, record.State, told)
			}
		}
	}
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	if held := w.store.reserved - w.store.others; held != 0 {
		w.violate("%d of the store's memory stay reserved", held)
	}
	for _, u := range w.store.uploads {
		if !strings.HasPrefix(u.key, modelSID+"/"+record.Database+"/") {
			continue
		}
		if !strings.Contains(u.key, "/"+record.Prefix+"/") && !strings.HasSuffix(u.key, fmt.Sprintf("/%d.json", record.BackupID)) {
			continue // of another job
		}
		name := u.key[strings.LastIndex(u.key, "/")+1:]
		if u.open() && !stay && !strings.Contains(told, "stream "+name+": not removed") && (record.Error == nil || !strings.Contains(record.Error.Message, name)) {
			w.violate("the upload of %s is neither committed nor aborted; told: %q", u.key, told)
		}
	}
}

// foreignKey is an object that is not of any job, below a prefix that a request
// may name.
const foreignKey = modelSID + "/" + modelDatabase + "/data/MONDAY/9_1"

func isForeign(key string) bool { return key == foreignKey }

// checkForeign demands that nothing is removed that was there before.
func (w *modelWorld) checkForeign() {
	if w.s.prefix != "" && len(w.store.below(foreignKey)) == 0 {
		w.violate("the object %s was removed", foreignKey)
	}
}

// checkDeleted is about onLost: only what is lost, all that is lost, and nothing
// whose objects stay.
func (w *modelWorld) checkDeleted(record Record, run *modelRun) {
	run.mu.Lock()
	defer run.mu.Unlock()
	told := strings.Join(record.Consequences, "\n")
	known := slices.Contains(run.told, backup.CatalogSuccessful)
	switch {
	case run.deleted == 0 && (record.State != StateLost || !w.s.deleteLost || !known):
	case run.deleted == 0 && !strings.Contains(told, "stays in HANA's catalog") && !strings.Contains(told, "the objects stay"):
		w.violate("a lost backup was not deleted from HANA's catalog; told: %q", told)
	case run.deleted == 0:
	case record.State != StateLost || !w.s.deleteLost || run.deleted != run.id || strings.Contains(told, "the objects stay"):
		w.violate("backup %d was deleted from HANA's catalog in state %s; told: %q", run.deleted, record.State, told)
	}
}

// checkGood compares a backup that succeeded with what HANA wrote.
func (w *modelWorld) checkGood(record Record, run *modelRun) {
	run.mu.Lock()
	defer run.mu.Unlock()
	w.doors.mu.Lock()
	door := w.doors.byPrefix[record.Prefix]
	w.doors.mu.Unlock()
	for _, report := range door.Report() { //nolint:gocritic // short
		early := report.Intrusion != "" && door.spec.intrusion > 0 && door.armedAt.Add(door.spec.intrusion).Before(run.endedAt)
		if report.Opens != 1 || report.Complete != 1 || early {
			w.violate("a success, but stream %s was opened %d times, ended %d times; intrusion %q", report.StreamID, report.Opens, report.Complete, report.Intrusion)
		}
	}
	if run.cancels > 0 {
		w.violate("HANA was asked to cancel a backup that succeeded")
	}
	if run.truth != backup.CatalogSuccessful || run.stray > 0 {
		w.violate("a success, but HANA calls it %q and wrote %d files past the pipes", run.truth, run.stray)
	}
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	object, found := w.store.objects[record.Manifest]
	if !found {
		w.violate("a success without the manifest %s", record.Manifest)
		return
	}
	m, err := backup.DecodeManifest(object.text)
	if err != nil {
		w.violate("a success with a manifest that cannot be read: %v", err)
		return
	}
	if m.BackupID != run.id || record.BackupID != run.id || m.JobID != record.ID || len(m.Streams) != len(w.s.sizes) {
		w.violate("the manifest is of backup %d, job %s, with %d streams; HANA made %d", m.BackupID, m.JobID, len(m.Streams), run.id)
		return
	}
	for i := range m.Streams {
		s := &m.Streams[i]
		if want := run.files[s.VolumeID]; s.Size != want.bytes || s.SHA256 != want.sha256 || s.Size != int64(w.s.sizes[s.VolumeID]) {
			w.violate("stream %s has %d bytes, HANA wrote %d, or another hash", s.StreamID, s.Size, want.bytes)
		}
		var text []byte
		for k := range s.Objects {
			text = append(text, w.store.objects[s.Objects[k].Key].text...)
		}
		if modelHash(text) != s.SHA256 {
			w.violate("the objects of stream %s are not what its manifest says", s.StreamID)
		}
	}
}
