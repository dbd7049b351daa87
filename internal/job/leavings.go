package job

import (
	"context"
	"fmt"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/pkg/spool"
)

// leaveFiles decides about the files that HANA has written to the volume. Those
// of a backup that the store has, proven once more, are removed after KeepFor;
// nothing else is: it may be the only copy. It returns what the operator has to
// know.
func (r *backupRun) leaveFiles(ctx context.Context, v verdict) []string {
	if r.source == nil {
		return nil
	}
	files := r.source.spooled()
	if len(files) == 0 {
		return nil
	}
	if v.state != StateSucceeded {
		return []string{r.describeFiles(v, files)}
	}
	clean, cancel := cleanContext(ctx, r.config.CleanTimeout)
	defer cancel()
	if problem := presence(clean, r.parts.Store, r.written); problem != nil {
		return []string{"the files stay on the volume, because the store could not be asked once more: " + problem.Error()}
	}
	r.job.update(func(record *Record) { record.Spooled = files })
	if r.config.KeepFor > 0 {
		return nil // the janitor comes when it is time
	}
	return r.removeSpooled(r.job)
}

// describeFiles says what stays on the volume and what that means.
func (r *backupRun) describeFiles(v verdict, files []spool.File) string {
	var bytes int64
	names := make([]string, len(files))
	for i, f := range files {
		names[i], bytes = f.Name, bytes+f.Size
	}
	meaning := "HANA does not call this backup good: remove them"
	switch {
	case v.state == StateLost:
		meaning = "HANA calls this backup good and the store does not have it: they are its only copy"
	case v.unknown:
		meaning = "it is not known whether HANA calls this backup good: they may be its only copy"
	}
	return fmt.Sprintf("files of %d bytes stay in %s (%s): %s", bytes, r.plan.Directory, strings.Join(names, ", "), meaning)
}

// removeSpooled removes the files of a job that are still as they were read.
func (c *Conductor) removeSpooled(j *live) []string {
	var left []string
	var stay []spool.File
	for _, f := range j.snapshot().Spooled {
		removed, err := spool.Remove(c.config.Directory, c.config.Directory, f)
		switch {
		case err != nil:
			left, stay = append(left, fmt.Sprintf("file %s stays on the volume: %v", f.Name, err)), append(stay, f)
		case removed:
			c.log.Info("removed a file that the store has", zap.String("file", f.Name), zap.Int64("bytes", f.Size))
		default:
			c.log.Info("a file that the store has was gone or has changed; it is left alone", zap.String("file", f.Name))
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
		c.tidyOnce(time.Now())
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (c *Conductor) tidyOnce(now time.Time) {
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
		for _, what := range c.removeSpooled(j) {
			c.log.Warn(what)
		}
		if err := c.journal.save(entry{Record: j.snapshot(), Request: j.request}); err != nil {
			c.log.Warn("the journal still lists files that are gone", zap.Error(err))
		}
	}
}
