package job

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
	"github.com/pipestreamer/pipestreamer/pkg/spool"
)

// checkRoom refuses a backup through files for which the volume has no room: one
// that is full hangs HANA, which writes its log there, too, or evicts the pod.
func (r *backupRun) checkRoom() *Error {
	if r.source.pipes != nil || r.parts.Volume == nil {
		return nil
	}
	punched, obstacle := r.parts.Volume.Punching()
	if punched && obstacle == nil {
		return nil
	}
	var bytes int64
	for i := range r.plan.Streams {
		bytes += r.plan.Streams[i].EstimatedSize
	}
	room, err := r.parts.Volume.Room()
	if err != nil {
		return newError(StagePlan, CodeRoom, err)
	}
	if bytes <= room {
		return nil
	}
	err = fmt.Errorf("the backup goes through files, HANA estimates them at %d bytes, and %s has room for %d", bytes, r.config.Directory, max(room, 0))
	if punched {
		err = fmt.Errorf("%w; spool.punch does not help: %w", err, obstacle)
	}
	return newError(StagePlan, CodeRoom, err)
}

// leaveFiles decides about the files that HANA has written to the volume. Those
// of a backup that the store has, proven once more, are removed after KeepFor;
// nothing else is: it may be the only copy. It returns what the operator has to
// know.
func (r *backupRun) leaveFiles(ctx context.Context, v verdict) []string {
	if r.source == nil || r.parts.Volume == nil {
		return nil
	}
	if v.state != StateSucceeded {
		return r.describeFiles(r.plan, v)
	}
	files := r.source.spooled()
	if len(files) == 0 {
		return nil
	}
	r.job.update(func(record *Record) { record.Spooled = files })
	if r.config.KeepFor > 0 {
		return nil // the janitor comes when it is time
	}
	clean, cancel := cleanContext(ctx, r.config.CleanTimeout)
	defer cancel()
	return r.removeSpooled(clean, r.job)
}

// describeFiles says what a backup that has not succeeded has left on the volume
// and what that means.
func (c *Conductor) describeFiles(plan backup.Plan, v verdict) []string {
	files, err := c.parts.Volume.List(plan.Owns)
	if err != nil {
		return []string{"files of this backup may stay on the volume: " + err.Error()}
	}
	if len(files) == 0 {
		return nil
	}
	var bytes int64
	names := make([]string, len(files))
	for i, f := range files {
		names[i], bytes = f.Name, bytes+f.Size
	}
	meaning := "HANA does not call this backup good: remove them"
	switch {
	case v.state == StateLost:
		meaning = "HANA calls this backup good and the store does not have it: of these streams they are the only copy, and what came through pipes is nowhere"
	case v.unknown:
		meaning = "it is not known whether HANA calls this backup good: they may be the only copy"
	}
	if punched, _ := c.parts.Volume.Punching(); punched {
		meaning += "; parts of them may have been freed while HANA wrote them (spool.punch), and are zeros now"
	}
	return []string{fmt.Sprintf("files of %d bytes stay in %s (%s): %s", bytes, plan.Directory, strings.Join(names, ", "), meaning)}
}

// spooledOf finds the files of a backup whose manifest is written, after a crash:
// those that are of the size that the manifest says.
func (c *Conductor) spooledOf(m *backup.Manifest) []spool.File {
	sizes := make(map[string]int64)
	for i := range m.Streams {
		if s := &m.Streams[i]; s.Door == backup.DoorSpool {
			sizes[path.Base(s.Path)] = s.Size
		}
	}
	if c.parts.Volume == nil || len(sizes) == 0 {
		return nil
	}
	files, err := c.parts.Volume.List(func(name string) bool { return sizes[name] > 0 })
	if err != nil {
		c.log.Warn("files that the store has may stay on the volume", zap.String("prefix", m.Prefix), zap.Error(err))
		return nil
	}
	return slices.DeleteFunc(files, func(f spool.File) bool { return f.Size != sizes[f.Name] })
}

// removeSpooled removes the files of a job that are still as they were read, if
// the store still has what was read from them.
func (c *Conductor) removeSpooled(ctx context.Context, j *live) []string {
	record := j.snapshot()
	m, err := readManifest(ctx, c.parts.Store, record.Manifest)
	if err == nil {
		if problem := presence(ctx, c.parts.Store, m); problem != nil {
			err = problem
		}
	}
	if err != nil {
		return []string{"files stay on the volume, because the store does not prove that it has them: " + err.Error()}
	}
	var left []string
	var stay []spool.File
	for _, f := range record.Spooled {
		removed, err := c.parts.Volume.Remove(f)
		switch {
		case err != nil:
			left, stay = append(left, fmt.Sprintf("file %s stays on the volume: %v", f.Name, err)), append(stay, f)
		case removed:
			c.log.Info("removed a file that the store has", zap.String("file", f.Name), zap.Int64("bytes", f.Size))
		default:
			c.log.Warn("a file that the store has was gone or has changed; it is left alone", zap.String("file", f.Name))
		}
	}
	j.update(func(record *Record) { record.Spooled = stay })
	return left
}

// janitorPause is the time between two looks at files whose time has come.
const janitorPause = time.Minute

// tidy removes files that the store has had for KeepFor, until the conductor
// ends. The journal remembers them across restarts.
func (c *Conductor) tidy(ctx context.Context) {
	ticker := time.NewTicker(janitorPause)
	defer ticker.Stop()
	for {
		c.tidyOnce(ctx, time.Now())
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (c *Conductor) tidyOnce(ctx context.Context, now time.Time) {
	c.mu.Lock()
	var due []*live
	for _, j := range c.jobs {
		r := j.snapshot()
		if r.State == StateSucceeded && len(r.Spooled) > 0 && now.Sub(r.FinishedAt) >= c.config.KeepFor {
			due = append(due, j)
		}
	}
	c.mu.Unlock()
	for _, j := range due {
		cleaning, cancel := context.WithTimeout(ctx, c.config.CleanTimeout)
		left := c.removeSpooled(cleaning, j)
		cancel()
		for _, what := range left {
			c.log.Warn(what)
		}
		if err := c.journal.save(entry{Record: j.snapshot(), Request: j.request}); err != nil {
			c.log.Warn("the journal still lists files that are gone", zap.Error(err))
		}
	}
}

// sweep removes what the uploads of an ended backup left without anybody's
// knowledge: a store may have begun one whose answer got lost, or that of a
// process that is gone. What stays is invisible, and swept again when it is old.
func (c *Conductor) sweep(ctx context.Context, plan backup.Plan) {
	ctx, cancel := context.WithTimeout(ctx, c.config.CleanTimeout)
	defer cancel()
	prefix := backup.DataPrefix(plan.SID, plan.Database) + plan.Prefix + "/"
	if err := c.parts.Store.Sweep(ctx, prefix, 0); err != nil {
		c.log.Warn("unfinished uploads may stay in the store", zap.String("job_id", plan.JobID), zap.String("prefix", prefix), zap.Error(err))
	}
}
