package job

import (
	"errors"
	"slices"

	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/pkg/fifo"
)

// Earlier is what earlier processes have left: the journal, and their pipes,
// which nobody is blocked on any more.
type Earlier struct {
	journal *journal
	entries []entry
	// pipes are those of jobs that had not ended, by job id.
	pipes map[string]*earlierPipes
	err   error
}

// earlierPipes are the pipes of an interrupted job.
type earlierPipes struct {
	// refusing stand at the names of a backup that HANA may still be writing;
	// nil when there are none.
	refusing *fifo.Released
	// left tells what could not be removed. It blocks nobody.
	left []string
}

// ReleaseEarlier reads the journal and releases, without reading from them, the
// pipes of all jobs that had not ended. It needs neither the store nor HANA, so
// HANA does not have to wait for them; nor for a file of the journal that cannot
// be read, which NewConductor refuses. No other process may use the state
// directory. The caller closes it when no Conductor needs it any more.
func ReleaseEarlier(config Config, log *zap.Logger) *Earlier {
	log = log.Named("job")
	e := &Earlier{pipes: make(map[string]*earlierPipes)}
	if e.journal, e.err = openJournal(config.StateDirectory); e.err != nil {
		return e
	}
	e.entries, e.err = e.journal.load()
	if slices.ContainsFunc(e.entries, func(one entry) bool { return !one.Record.State.Terminal() }) {
		switch removed, err := fifo.SweepAside(config.Directory); {
		case err != nil:
			log.Warn("pipes that were about to be removed may be left", zap.Strings("pipes_removed", removed), zap.Error(err))
		case len(removed) > 0:
			log.Info("removed pipes that were about to be removed", zap.Strings("pipes_removed", removed))
		}
	}
	for i := range e.entries {
		if r := &e.entries[i].Record; !r.State.Terminal() {
			log.Warn("job interrupted", zap.String("job_id", r.ID), zap.String("database", r.Database), zap.String("stage", string(r.Stage)))
			e.pipes[r.ID] = releasePipes(config.Directory, &e.entries[i], log)
		}
	}
	return e
}

func releasePipes(directory string, e *entry, log *zap.Logger) *earlierPipes {
	p := new(earlierPipes)
	if len(e.Pipes) == 0 {
		return p
	}
	var swept fifo.Swept
	var err error
	if e.Record.Action.backsUp() {
		if p.refusing, err = fifo.Release(directory, e.Pipes, log); err == nil {
			swept = p.refusing.Swept
		}
	} else {
		swept, err = fifo.Sweep(directory, e.Pipes)
	}
	p.left = pipesGone(log, e.Record.ID, swept, err)
	return p
}

// take hands over the pipes of a job.
func (e *Earlier) take(id string) *earlierPipes {
	p := e.pipes[id]
	delete(e.pipes, id)
	return p
}

// Close removes the pipes that no Conductor has taken over.
func (e *Earlier) Close() error {
	var errs []error
	for id, p := range e.pipes {
		if p.refusing != nil {
			errs = append(errs, p.refusing.Close())
		}
		delete(e.pipes, id)
	}
	return errors.Join(errs...)
}
