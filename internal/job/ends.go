package job

import (
	"sync"

	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// Ending is a job that has ended, as Parts.Ended is told.
type Ending struct {
	Record Record
	// Recovered says that this success ends the failures of the same action on the
	// same database.
	Recovered bool
}

// MovesLog says whether the job may have changed from where on the log of its
// database counts: a restore interrupts it, however it ends, and a data backup mends
// that.
func (e Ending) MovesLog() bool {
	return e.Record.Action == ActionRestore || e.Record.Action.backsUp() && e.Record.State == StateSucceeded
}

// activity is what one job after the other does.
type activity struct {
	action   Action
	database string
}

// series are the jobs that do the same.
type series struct {
	activity

	kind backup.Kind
}

// ends says whether a success ends a failure: a delta that succeeds proves nothing of
// complete backups.
func (s series) ends(failure series) bool {
	return s.activity == failure.activity && (!s.action.backsUp() || s.kind == backup.KindComplete || s.kind == failure.kind || isDelta(failure.kind))
}

func seriesOf(r Record) series { return series{activity{r.Action, r.Database}, r.Kind} }

// ends remembers how the newest jobs have ended. It is safe for concurrent use.
type ends struct {
	mu        sync.Mutex
	failed    map[series]place // the newest that has failed
	succeeded map[series]place // the newest that has succeeded
}

func newEnds() *ends {
	return &ends{failed: make(map[series]place), succeeded: make(map[series]place)}
}

// note takes in the terminal record of a job at its place, and says whether it ends the
// failures of what the job does. A job that was interrupted may end after newer ones.
func (e *ends) note(r Record, at place) (recovered bool) {
	of := seriesOf(r)
	e.mu.Lock()
	defer e.mu.Unlock()
	before := e.failingLocked(of.activity)
	switch r.State {
	case StateSucceeded:
		advance(e.succeeded, of, at)
	case StateFailed, StateLost:
		advance(e.failed, of, at)
	case StateRunning, StateCanceled: // says nothing of the next one
	}
	return before && !e.failingLocked(of.activity)
}

func advance(newest map[series]place, of series, to place) {
	if newest[of].compare(to) < 0 {
		newest[of] = to
	}
}

// failing says whether a failure is newer than the successes that would end it.
func (e *ends) failing(of activity) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.failingLocked(of)
}

func (e *ends) failingLocked(of activity) bool {
	for failed, at := range e.failed {
		if failed.activity == of && !e.endedLocked(failed, at) {
			return true
		}
	}
	return false
}

func (e *ends) endedLocked(failed series, at place) bool {
	for succeeded, newest := range e.succeeded {
		if succeeded.ends(failed) && newest.compare(at) > 0 {
			return true
		}
	}
	return false
}

// counts says whether r is the last success of what it did, or a failure that has not
// ended. The journal keeps it: after a restart nothing else knows.
func (e *ends) counts(r Record) bool {
	of := seriesOf(r)
	e.mu.Lock()
	defer e.mu.Unlock()
	failed := e.failed[of]
	return e.succeeded[of].id == r.ID || failed.id == r.ID && !e.endedLocked(of, failed)
}

// bookEnd counts a terminal record, once.
func (c *Conductor) bookEnd(r Record) Ending {
	recovered := c.ends.note(r, c.journal.place(r.ID))
	c.metrics.ended(r)
	c.metrics.remember(r, c.ends)
	return Ending{Record: r, Recovered: recovered}
}

// tellEnd logs an end and tells whoever wants to know.
func (c *Conductor) tellEnd(e Ending) {
	c.logEnd(e.Record)
	if c.parts.Ended != nil {
		c.parts.Ended(e)
	}
}

// logEnd writes the one line that a job leaves in the log.
func (c *Conductor) logEnd(r Record) {
	var bytes, stored int64
	var waits Waits
	for i := range r.Streams {
		bytes += r.Streams[i].Bytes
		stored += r.Streams[i].Stored
		waits = waits.plus(r.Streams[i].Waits)
	}
	fields := []zap.Field{
		zap.String("job_id", r.ID), zap.String("action", string(r.Action)), zap.String("state", string(r.State)),
		zap.String("sid", r.SID), zap.String("database", r.Database), zap.String("kind", string(r.Kind)),
		zap.Int64("backup_id", r.BackupID), zap.String("prefix", r.Prefix), zap.Int("streams", len(r.Streams)), zap.Int("objects", r.Objects),
		zap.String("backup_log_id", BackupLogID(r.BackupID)), zap.String("requested_by", r.RequestedBy),
		zap.Int64("bytes", bytes), zap.Int64("stored_bytes", stored), zap.Float64("seconds", r.FinishedAt.Sub(r.StartedAt).Seconds()),
		zap.Float64("hana_seconds", waits.HANASeconds), zap.Float64("store_seconds", waits.StoreSeconds), zap.Float64("own_seconds", waits.OwnSeconds),
	}
	if r.Error != nil {
		fields = append(fields, zap.String("code", r.Error.Code), zap.String("stage", string(r.Error.Stage)),
			zap.String("stream", r.Error.Stream), zap.Int("hana_code", r.Error.HANACode), zap.Ints("hana_inner", r.Error.HANAInner),
			zap.String("cause", r.Error.Message), zap.String("hint", r.Error.Hint), zap.Strings("consequences", r.Consequences))
	}
	switch r.State {
	case StateLost:
		c.log.Error("backup lost: HANA's catalog has it, the store does not", fields...)
	case StateFailed:
		c.log.Error("job failed", fields...)
	default:
		c.log.Info("job ended", fields...)
	}
}
