package job

import (
	"sync"

	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// Ending is a job that has ended, as Parts.Ended is told.
type Ending struct {
	Record Record
	// Recovered says that this success follows a failure of the same action on
	// the same database.
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

// success is what an operator wants to know the last time of.
type success struct {
	activity

	kind backup.Kind
}

// ends remembers how the newest jobs have ended. It is safe for concurrent use.
type ends struct {
	mu      sync.Mutex
	failing map[activity]bool
	last    map[success]string // job id
}

func newEnds() *ends {
	return &ends{failing: make(map[activity]bool), last: make(map[success]string)}
}

// note takes in a terminal record that is newer than those before, and says
// whether it ends a series of failures.
func (e *ends) note(r Record) (recovered bool) {
	of := activity{r.Action, r.Database}
	e.mu.Lock()
	defer e.mu.Unlock()
	switch r.State {
	case StateSucceeded:
		recovered = e.failing[of]
		delete(e.failing, of)
		e.last[success{of, r.Kind}] = r.ID
	case StateFailed, StateLost:
		e.failing[of] = true
	case StateRunning, StateCanceled: // says nothing of the next one
	}
	return recovered
}

// failed says whether the newest job of its kind did not succeed.
func (e *ends) failed(of activity) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.failing[of]
}

// newest says whether r is the last success of what it did. The journal keeps it:
// after a restart nothing else knows when a restore was tried.
func (e *ends) newest(r Record) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.last[success{activity{r.Action, r.Database}, r.Kind}] == r.ID
}

// bookEnd counts a terminal record, once.
func (c *Conductor) bookEnd(r Record) Ending {
	recovered := c.ends.note(r)
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
