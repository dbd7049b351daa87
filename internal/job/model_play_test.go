package job

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing/synctest"
	"time"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// play is one schedule: a backup with faults, then one without, then a restart.
func (w *modelWorld) play(results *modelResults) {
	c, err := w.conductor()
	if err != nil {
		w.violate("the conductor does not start: %v", err)
		return
	}
	if w.s.prefix != "" {
		w.store.objects[foreignKey] = modelObject{Object: backup.Object{Key: foreignKey, Size: 1}, text: []byte{1}}
	}
	record, err := c.StartBackup(context.Background(), BackupRequest{Database: modelDatabase, Prefix: w.s.prefix}, "first")
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
	close(ended)
	outside.Wait()
	synctest.Wait()
	jobs := c.Jobs()
	for i := range jobs {
		w.checkEnded(jobs[i], true)
	}
	w.heal()
	w.sleep(time.Second) // HANA ends what it still ran
	if w.s.outside.drainAt == 0 {
		w.checkDelta(c, record)
		w.goOn(c, w.again(c), results)
		w.heal()
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
	order := []Stage{StagePlan, StageArm, StageTrigger, StageStream, StageSettle, StageCommit, StageClean, StageDone}
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
			if slices.Index(order, record.Stage) < slices.Index(order, last.Stage) || len(record.History) < len(last.History) || last.State.Terminal() && last.ID != "" {
				w.violate("job %s went from stage %s of state %s to stage %s", id, last.Stage, last.State, record.Stage)
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
	at(w.s.outside.otherAt, func() { w.other(c) })
	at(w.s.outside.fullAt, func() { w.rename("jobs", "jobs.away") })
}

// rename lets the journal fail, and work again.
func (w *modelWorld) rename(from, to string) {
	if err := os.Rename(filepath.Join(w.state, from), filepath.Join(w.state, to)); err != nil && !errors.Is(err, os.ErrNotExist) {
		w.violate("the journal: %v", err)
	}
}

// other backs up another database meanwhile.
func (w *modelWorld) other(c *Conductor) {
	record, err := c.StartBackup(context.Background(), BackupRequest{Database: modelOther}, "other")
	switch refused, _ := errors.AsType[*Error](err); {
	case err == nil:
		w.await(c, record.ID)
	case errors.Is(err, ErrDraining) && w.s.outside.drainAt > 0:
	case refused != nil && refused.Code == CodeState && w.s.outside.fullAt > 0:
	default:
		w.violate("a backup of another database gave %v", err)
	}
}

// checkDelta demands that a delta is refused, and with its reason when its base
// is lost, or may be.
func (w *modelWorld) checkDelta(c *Conductor, record Record) {
	_, err := c.StartBackup(context.Background(), BackupRequest{Database: modelDatabase, Kind: backup.KindDifferential}, "")
	field, _ := errors.AsType[*FieldError](err)
	lost, _ := errors.AsType[*LostError](err)
	if field == nil && lost == nil || (lost != nil) != (record.State == StateLost || record.OutcomeUnknown) || lost != nil && lost.JobID != record.ID {
		w.violate("a delta after state %s gave %v", record.State, err)
	}
}

// second asks for another backup while the first one runs.
func (w *modelWorld) second(c *Conductor, id string) {
	if same, err := c.StartBackup(context.Background(), BackupRequest{Database: modelDatabase, Prefix: w.s.prefix}, "first"); err != nil || same.ID != id {
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
func (w *modelWorld) again(c *Conductor) Record {
	record, err := c.StartBackup(context.Background(), BackupRequest{Database: modelDatabase}, "again")
	if err != nil {
		w.violate("the next backup does not start: %v", err)
		return Record{}
	}
	if record = w.await(c, record.ID); record.State != StateSucceeded {
		w.violate("the next backup: %s because of %+v", record.State, record.Error)
	}
	w.checkEnded(record, false)
	return record
}

// restart demands that a new conductor remembers every job as it was.
func (w *modelWorld) restart(c *Conductor) {
	restarted, err := w.conductor()
	if err != nil {
		w.violate("the conductor does not start again: %v", err)
		return
	}
	defer restarted.Close()
	if w.s.outside.fullAt > 0 { // what could not be journaled is found out again
		w.checkForgotten(c, restarted)
		return
	}
	before, after := c.Jobs(), restarted.Jobs()
	textBefore, errBefore := json.Marshal(before)
	textAfter, errAfter := json.Marshal(after)
	if err := errors.Join(errBefore, errAfter); err != nil || !bytes.Equal(textBefore, textAfter) {
		w.violate("the jobs changed by a restart (%v)\nbefore: %s\nafter:  %s", err, textBefore, textAfter)
	}
}

// checkForgotten demands that jobs whose ends could not be written come to the
// same again, as far as it matters: good, lost or nothing.
func (w *modelWorld) checkForgotten(c, restarted *Conductor) {
	jobs := c.Jobs()
	for i := range jobs {
		before := &jobs[i]
		after := w.await(restarted, before.ID)
		if !w.hana.run(backup.Plan{JobID: before.ID}).remains() {
			continue // HANA does not say again what it said to the first
		}
		if before.OutcomeUnknown {
			continue // HANA may have answered the second
		}
		if before.State == StateLost && before.Error.Code == CodeUnwritten && after.State == StateSucceeded {
			continue // the manifest is there after all, and so are its objects
		}
		if (before.State == StateSucceeded) != (after.State == StateSucceeded) || (before.State == StateLost) != (after.State == StateLost) {
			w.violate("job %s was %s because of %v, after a restart %s because of %v", before.ID, before.State, before.Error, after.State, after.Error)
		}
	}
}
