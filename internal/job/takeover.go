package job

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/cenkalti/backoff/v5"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
	"github.com/pipestreamer/pipestreamer/pkg/fifo"
	"github.com/pipestreamer/pipestreamer/pkg/spool"
)

// takeOver remembers the jobs of earlier processes. Their pipes are released, and
// never read (a re-opened pipe splices silently), so their unfinished jobs have
// come to nothing. What became of a backup that HANA may have been told to start
// is found out in the background; until then it runs on and keeps its database,
// and whoever writes to its pipes gets EPIPE.
func (c *Conductor) takeOver(earlier *Earlier) {
	c.mu.Lock() // what is resumed runs already
	defer c.mu.Unlock()
	for i := range earlier.entries {
		e := &earlier.entries[i]
		if e.Record.State.Terminal() {
			c.remember(e)
			continue
		}
		pipes := earlier.take(e.Record.ID)
		if e.Record.Action.backsUp() {
			c.resume(e, pipes)
			continue
		}
		v := verdictOf(interruption(e.Record.Stage))
		leftStopped(&e.Record, v.cause)
		v.consequences = slices.Concat(pipes.left, c.leaveShelf(e))
		conclude(&e.Record, v)
		e.Pipes = nil
		if err := c.journal.save(*e); err != nil {
			c.log.Error("the end of a job could not be journaled", zap.String("job_id", e.Record.ID), zap.Error(err))
		}
		c.metrics.interrupted.Inc()
		c.tellEnd(c.bookEnd(e.Record))
		c.remember(e)
	}
}

// leaveShelf removes what an interrupted restore has laid out for HANA, unless
// HANA may still be recovering from it: it would stop early without a word.
func (c *Conductor) leaveShelf(e *entry) []string {
	if e.Record.Action != ActionRestore {
		return nil
	}
	if e.Record.TenantStopped {
		return []string{shelfStays(c.config.Directory, e.Record.ID)}
	}
	if err := spool.RemoveShelf(c.config.Directory, e.Record.ID); err != nil {
		return []string{newError(StageClean, CodeStaging, err).Error()}
	}
	return nil
}

func shelfStays(directory, jobID string) string {
	return "HANA may still be recovering from what was laid out in " + spool.ShelfPath(directory, jobID) +
		", if anything: which point it reaches is not known. Remove that directory afterwards"
}

// pipesGone tells what became of the pipes of an interrupted job. What could
// not be removed blocks nobody, and the daemon is needed: it starts.
func pipesGone(log *zap.Logger, id string, swept fifo.Swept, err error) []string {
	log = log.With(zap.String("job_id", id), zap.Strings("pipes_removed", swept.Removed), zap.Strings("not_ours", swept.Left))
	if err == nil {
		log.Info("pipes of an interrupted job released")
		return nil
	}
	log.Error("pipes of an interrupted job stay", zap.Error(err))
	return []string{newError(StageClean, CodePipesLeft, err).Error()}
}

func interruption(stage Stage) *Error {
	return newError(stage, CodeInterrupted, errors.New("the daemon ended while this job ran"))
}

func (c *Conductor) remember(e *entry) {
	j := newLive(e.Record, e.Request, func(error) {})
	close(j.done)
	c.noteLost(e.Record)
	c.ends.note(e.Record, c.journal.place(e.Record.ID))
	c.metrics.begin(e.Record.Action, e.Record.Database)
	c.metrics.remember(e.Record, c.ends)
	if e.Record.Action.backsUp() {
		c.knowLocked(e.Record.Database)
	}
	c.admit(j)
}

// resume runs what is left to do for an interrupted backup. It is cancelled
// already: nobody can cancel it once more.
func (c *Conductor) resume(e *entry, pipes *earlierPipes) {
	j := newLive(e.Record, e.Request, func(error) {})
	j.note(SideDaemon, "had ended, nobody knows when, and was started again; what its streams had moved is not known")
	c.admit(j)
	c.busy[e.Record.Database] = e.Record.ID
	c.metrics.interrupted.Inc()
	c.metrics.begin(e.Record.Action, e.Record.Database)
	c.knowLocked(e.Record.Database)
	c.metrics.running.WithLabelValues(string(e.Record.Action)).Inc()
	c.running.Go(func() {
		c.run(c.life, j, func(ctx context.Context, j *live) verdict {
			v := c.afterwards(ctx, j)
			v.consequences = append(v.consequences, pipes.left...)
			if pipes.refusing != nil {
				v.consequences = append(v.consequences, pipesGone(c.log, e.Record.ID, fifo.Swept{}, pipes.refusing.Close())...)
			}
			return v
		})
	})
}

// afterwards finds out what became of an interrupted backup: HANA is asked to
// cancel it and then how it ended. It succeeded if its manifest was written,
// which is the last step; otherwise its objects are removed, and it has failed,
// or is lost if HANA believes in it. Told to stop before it knows, or drained while
// HANA cannot be asked, it leaves the job as it is to the next process.
func (c *Conductor) afterwards(ctx context.Context, j *live) verdict {
	record := j.snapshot()
	plan := backup.Plan{
		JobID: record.ID, Attempt: record.Attempt, SID: c.config.SID, Database: record.Database, Kind: record.Kind,
		Directory: c.config.Directory, Prefix: record.Prefix,
	}
	e := evidence{plan: plan, failures: []*Error{interruption(record.Stage)}}
	if record.Stage != StageStream { // HANA was not told
		c.sweep(ctx, plan)
		return verdictOf(e.failures...)
	}
	entry, err := c.endInterrupted(ctx, plan)
	switch {
	case err != nil && !errors.Is(err, backup.ErrNotFound) && c.refusal() != nil:
		j.note(SideHANA, "cannot be asked how it ended, the next daemon does: %v", err)
		return verdict{state: StateRunning}
	case err != nil:
		e.entryErr = err
	default:
		e.entry = &entry
		j.note(SideHANA, "its catalog calls backup %d %s", entry.BackupID, entry.State)
		j.update(func(record *Record) { record.BackupID = entry.BackupID })
	}
	manifest, left := c.removeUnnamed(ctx, plan)
	switch {
	case ctx.Err() != nil:
		return verdict{state: StateRunning}
	case manifest != nil:
		j.update(func(record *Record) {
			record.BackupID, record.Manifest = manifest.BackupID, backup.ManifestKey(plan.SID, plan.Database, manifest.BackupID)
			record.FinishedAt = manifest.FinishedAt // not now: how old the last backup is counts from it
			record.Spooled, record.Objects = c.spooledOf(manifest), objectsIn(manifest)
		})
		return verdict{state: StateSucceeded}
	}
	v := judge(e)
	if c.parts.Volume != nil {
		v.consequences = append(v.consequences, c.describeFiles(plan, v)...)
	}
	if left != nil {
		v.consequences = append(v.consequences, newError(StageClean, CodeUnsure, left).Error())
	} else if v.state == StateLost {
		v.consequences = append(v.consequences, c.forget(ctx, j, e)...)
	}
	return v
}

// endInterrupted asks HANA to end what nobody reads any more, and waits until
// its catalog says how it has ended.
func (c *Conductor) endInterrupted(ctx context.Context, plan backup.Plan) (backup.CatalogEntry, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*c.config.AnswerTimeout)
	defer cancel()
	cancelling, enough := context.WithCancel(ctx)
	var group sync.WaitGroup
	group.Go(func() {
		c.keepCancelling(cancelling, plan, func(err error) {
			c.log.Warn("HANA could not be asked to cancel an interrupted backup", zap.String("job_id", plan.JobID), zap.Error(err))
		})
	})
	defer group.Wait()
	defer enough()
	return c.pollCatalog(ctx, plan, 2*c.config.AnswerTimeout, nil)
}

// errLookAgain says that the store has to be looked at once more after something
// was removed: a completion may have passed the abort.
var errLookAgain = errors.New("what was removed may still be shown")

// removeUnnamed removes what a backup made visible, unless a manifest names it:
// then it returns that. While the store fails it is asked again for CleanTimeout;
// the error says what may be left.
func (c *Conductor) removeUnnamed(ctx context.Context, plan backup.Plan) (*backup.Manifest, error) {
	ctx, cancel := context.WithTimeout(ctx, c.config.CleanTimeout)
	defer cancel()
	prefix := backup.DataPrefix(plan.SID, plan.Database) + plan.Prefix + "/"
	removed := false
	manifest, err := backoff.Retry(ctx, func() (*backup.Manifest, error) {
		// First: after that the store does not complete any more what the dead
		// process had asked for.
		if err := c.abortUploads(ctx, plan, prefix); err != nil {
			return nil, err
		}
		m, err := c.removeOnce(ctx, plan, prefix, removed)
		removed = removed || errors.Is(err, errLookAgain)
		return m, err
	}, backoff.WithBackOff(backoff.NewExponentialBackOff()), backoff.WithMaxElapsedTime(0))
	if err != nil {
		return nil, fmt.Errorf("what is below %s stays in the store: %w", prefix, err)
	}
	return manifest, nil
}

// removeOnce looks, decides and removes, and returns errLookAgain if there was
// something to remove. A manifest that appears after objects were removed goes,
// too.
func (c *Conductor) removeOnce(ctx context.Context, plan backup.Plan, prefix string, removed bool) (*backup.Manifest, error) {
	objects, err := c.parts.Store.List(ctx, prefix)
	if err != nil || len(objects) == 0 && !removed {
		return nil, err
	}
	m, err := c.manifestFor(ctx, plan)
	switch {
	case err != nil:
		return nil, err
	case m != nil && m.JobID != plan.JobID && m.JobID != plan.Comment(): // as it was once written
		return nil, backoff.Permanent(fmt.Errorf("the manifest of backup %d, made by job %s, names it", m.BackupID, m.JobID))
	case m != nil && !removed:
		return m, nil
	case m != nil:
		objects = append(objects, backup.Object{Key: backup.ManifestKey(m.SID, m.Database, m.BackupID)})
	}
	if len(objects) == 0 {
		return nil, nil
	}
	return nil, errors.Join(errLookAgain, c.removeAll(ctx, objects))
}

// abortUploads aborts what may be on its way to the objects of a backup and to its
// manifest. The database has no other job that could be writing one.
func (c *Conductor) abortUploads(ctx context.Context, plan backup.Plan, prefix string) error {
	return errors.Join(c.parts.Store.Sweep(ctx, prefix, 0), c.parts.Store.Sweep(ctx, backup.ManifestPrefix(plan.SID, plan.Database), 0))
}

// manifestFor looks for a manifest that names objects of plan, the newest ones
// first. Its prefix was unused when the backup began, so that only its own job
// can have written one. All manifests are read: nothing that can be restored
// is ever removed.
func (c *Conductor) manifestFor(ctx context.Context, plan backup.Plan) (*backup.Manifest, error) {
	objects, err := c.parts.Store.List(ctx, backup.ManifestPrefix(plan.SID, plan.Database))
	if err != nil {
		return nil, fmt.Errorf("list manifests: %w", err)
	}
	for _, object := range slices.Backward(objects) {
		m, err := readManifest(ctx, c.parts.Store, object.Key)
		if err != nil {
			return nil, err
		}
		if m.Prefix == plan.Prefix {
			return m, nil
		}
	}
	return nil, nil
}

func (c *Conductor) removeAll(ctx context.Context, objects []backup.Object) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(8)
	for i := range objects {
		group.Go(func() error { return c.parts.Store.Remove(ctx, objects[i].Key) })
	}
	return group.Wait()
}
