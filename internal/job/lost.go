package job

import (
	"context"
	"fmt"
	"slices"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// LostError refuses a delta because HANA would, or might, base it on a backup
// that the store does not have.
type LostError struct {
	Database string
	JobID    string
	BackupID int64 // 0 when not known
}

// Error names the backup that is lost.
func (e *LostError) Error() string {
	return fmt.Sprintf("the last complete backup of database %s is lost, or its end in HANA is not known (job %s, backup id %d): "+
		"HANA may base a delta on it, and the store does not have it", e.Database, e.JobID, e.BackupID)
}

// noteLost keeps track of the databases whose newest complete backup, as HANA
// sees or may see it, is lost. A job that was interrupted may end after newer ones.
// The caller holds c.mu.
func (c *Conductor) noteLost(r Record) {
	lost := r.State == StateLost || r.OutcomeUnknown
	if !r.Action.backsUp() || r.Kind != backup.KindComplete || !lost && r.State != StateSucceeded {
		return
	}
	at := c.journal.place(r.ID)
	if c.bases[r.Database].compare(at) > 0 {
		return
	}
	c.bases[r.Database] = at
	if lost {
		c.lost[r.Database] = r.ID
		c.metrics.lost.WithLabelValues(r.Database).Set(1)
	} else {
		delete(c.lost, r.Database)
		c.metrics.lost.WithLabelValues(r.Database).Set(0)
	}
}

// checkBase refuses a delta of a database whose base is lost.
func (c *Conductor) checkBase(database string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	id, lost := c.lost[database]
	if !lost {
		return nil
	}
	return &LostError{Database: database, JobID: id, BackupID: c.jobs[id].snapshot().BackupID}
}

// forget removes a lost backup from HANA's catalog, if the configuration says
// so, and tells what came of it.
func (c *Conductor) forget(ctx context.Context, j *live, e evidence) []string {
	if !c.config.DeleteLost || e.entry == nil {
		return nil
	}
	plan, entry := e.plan, e.entry
	if doubtful(e) {
		return []string{fmt.Sprintf("backup %d stays in HANA's catalog: its streams carry another id", entry.BackupID)}
	}
	clean, cancel := cleanContext(ctx, c.config.CleanTimeout)
	defer cancel()
	text := fmt.Sprintf("backup %d was deleted from HANA's catalog, as onLost says", entry.BackupID)
	if err := c.parts.Trigger.Delete(clean, plan, entry.BackupID); err != nil {
		text = fmt.Sprintf("backup %d stays in HANA's catalog: %v", entry.BackupID, err)
	}
	j.note(SideDaemon, "%s", text)
	return []string{text}
}

// doubtful says whether the id that the catalog gives may be that of another
// backup, which is not ours to delete.
func doubtful(e evidence) bool {
	return e.entry.BackupID <= 0 || slices.ContainsFunc(e.streams, func(s streamEvidence) bool {
		return s.headerErr == nil && s.header.BackupID != e.entry.BackupID
	})
}
