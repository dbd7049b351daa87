package job

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/google/uuid"
	"go.uber.org/zap"
	"golang.org/x/sync/semaphore"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
	"github.com/pipestreamer/pipestreamer/pkg/spool"
)

// Store is what the conductor needs of the store.
type Store interface {
	backup.Store
	backup.StreamOpener
	// Check proves that the store can be written, read and cleaned.
	Check(ctx context.Context) error
	// Sweep removes what uploads to keys below prefix have left behind, invisible,
	// and is older than olderThan. Nothing may be on its way there.
	Sweep(ctx context.Context, prefix string, olderThan time.Duration) error
	// Folders returns the names directly below prefix, which ends in a slash, below
	// which there are objects. It does not list those.
	Folders(ctx context.Context, prefix string) ([]string, error)
}

// Parts are what the conductor brings together. They stay the caller's to
// close, after the Conductor.
type Parts struct {
	// Earlier is what ReleaseEarlier gave for the same Config; without it
	// NewConductor calls that. The Conductor takes over what is in it.
	Earlier   *Earlier
	Store     Store
	Trigger   backup.Trigger
	Recoverer backup.Recoverer
	Historian backup.Historian
	// NewSource and NewSink make the pipes of one job. With rescue, a Source
	// leaves files that HANA writes to the spool.
	NewSource func(rescue bool) Source
	NewSink   func() Sink
	// Volume looks after the files of the spool; it comes with NewSpool.
	Volume Volume
	// NewSpool makes the door for files that HANA names itself; without it
	// backups come through pipes only. With pipes, it leaves those to NewSource.
	NewSpool func(pipes bool) Spool
	// Ended, when set, is told of every job once it has ended and its record is in
	// the journal, of those that an earlier process has left, too. It may be called
	// by several goroutines at once and must not block.
	Ended func(Ending)
}

// Volume is the volume of Config.Directory with the files that HANA has left on
// it; a spool.Volume is one.
type Volume interface {
	// List gives the files whose names match, finished or not.
	List(match func(name string) bool) ([]spool.File, error)
	// Remove removes a file if it is still as it was, and says whether it was.
	Remove(f spool.File) (removed bool, err error)
	// PutBack gives files their names back that an earlier process was about to
	// remove.
	PutBack() error
	// Room is how many bytes of a backup it has room for.
	Room() (bytes int64, err error)
	// Punching says whether blocks of files are to be freed while HANA writes them,
	// and what stands in the way of that.
	Punching() (configured bool, obstacle error)
}

// Conductor runs jobs: at most one for each database at a time. It is safe for
// concurrent use.
type Conductor struct {
	config  Config
	parts   Parts
	log     *zap.Logger
	metrics *Metrics
	journal *journal
	doors   *doors
	ends    *ends
	life    context.Context //nolint:containedctx // a job's context derives from the daemon's, not from a request's
	end     context.CancelCauseFunc
	running sync.WaitGroup
	tidying sync.WaitGroup
	// reserving is held by the one backup that reserves memory.
	reserving chan struct{}
	audience  audience
	// manifestMemory is what the manifests take that are read at a time.
	manifestMemory *semaphore.Weighted
	summaries      summaries

	begun time.Time // its own beginning

	admission sync.Mutex // held while a job is admitted, before mu

	mu       sync.Mutex
	draining bool
	// ending says that the daemon ends; one that was only drained at drainedAt does
	// not.
	ending    bool
	drainedAt time.Time
	jobs      map[string]*live
	order     []string          // job ids, oldest first
	busy      map[string]string // database → job id
	keys      map[string]string // idempotency key → job id
	bases     map[string]place  // database → its newest complete backup that HANA has, or may have
	lost      map[string]string // database → job id of that backup, which is lost
	there     []string          // the databases that HANA had when it was looked
}

// NewConductor reads the journal, ends whatever an earlier process left behind
// (its pipes are released, never read; its jobs become failed) and returns a
// conductor that takes jobs. Close ends it.
func NewConductor(config Config, parts Parts, log *zap.Logger, metrics *Metrics) (*Conductor, error) {
	config = config.withDefaults()
	if parts.NewSpool == nil {
		config.Door = DoorFIFO
	}
	earlier := parts.Earlier
	if earlier == nil {
		earlier = ReleaseEarlier(config, log)
	}
	doors, err := openDoors(config.StateDirectory)
	if err = errors.Join(earlier.err, err); err != nil {
		return nil, errors.Join(err, earlier.Close())
	}
	life, end := context.WithCancelCause(context.Background())
	c := &Conductor{
		config: config, parts: parts, log: log.Named("job"), metrics: metrics, journal: earlier.journal, doors: doors, ends: newEnds(), begun: time.Now(), life: life, end: end,
		jobs: make(map[string]*live), busy: make(map[string]string), keys: make(map[string]string),
		bases: make(map[string]place), lost: make(map[string]string), reserving: make(chan struct{}, 1),
		manifestMemory: semaphore.NewWeighted(manifestMemory),
	}
	if parts.Volume != nil {
		if err := parts.Volume.PutBack(); err != nil {
			c.log.Error("files that were about to be removed cannot get their names back", zap.Error(err))
		}
	}
	c.takeOver(earlier)
	if parts.NewSpool != nil { // a probe uses it behind any door
		c.tidying.Go(func() { c.tidy(life) })
	}
	metrics.starting.Set(0)
	return c, nil
}

// work is what a job does until it ends with a verdict.
type work func(ctx context.Context, j *live) verdict

// start admits a job and runs it on the conductor's own context. A request with
// a known idempotency key gets the job that the first one started. Jobs are
// admitted one after the other; a state volume that hangs stops that, and not
// the looks at jobs that run.
func (c *Conductor) start(record Record, request string, do work) (Record, error) {
	c.admission.Lock()
	defer c.admission.Unlock()
	if earlier, err := c.refuse(record, request); err != nil {
		return Record{}, err
	} else if earlier != nil {
		return *earlier, nil
	}
	id, err := uuid.NewV7()
	if err != nil {
		return Record{}, fmt.Errorf("make a job id: %w", err)
	}
	record.ID, record.SID = id.String(), c.config.SID
	record.State, record.Stage, record.StartedAt = StateRunning, StagePlan, time.Now().UTC()
	if err := c.journal.save(entry{Record: record, Request: request}); err != nil {
		return Record{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.refusalLocked(); err != nil { // meanwhile
		return Record{}, errors.Join(err, c.journal.remove(record.ID))
	}
	ctx, cancel := context.WithCancelCause(c.life)
	j := newLive(record, request, cancel)
	j.tolerance = c.config.OutageTolerance
	c.admit(j)
	if record.Action.exclusive() {
		c.busy[record.Database] = record.ID
	}
	c.metrics.running.WithLabelValues(string(record.Action)).Inc()
	c.metrics.begin(record.Action, record.Database)
	if record.Action.backsUp() {
		c.knowLocked(record.Database)
	}
	c.log.Debug("job accepted", zap.String("job_id", record.ID), zap.String("action", string(record.Action)), zap.String("database", record.Database))
	c.running.Go(func() { c.run(ctx, j, do) })
	return record, nil
}

// refuse says why a job cannot start now. It returns the job that an equal
// request has started before.
func (c *Conductor) refuse(record Record, request string) (*Record, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if key := record.IdempotencyKey; key != "" {
		if id, known := c.keys[key]; known {
			if earlier := c.jobs[id]; earlier.request == request {
				r := earlier.snapshot()
				return &r, nil
			}
			return nil, &ConflictError{Key: key, JobID: id}
		}
	}
	if err := c.refusalLocked(); err != nil {
		return nil, err
	}
	if id, busy := c.busy[record.Database]; busy && record.Action.exclusive() {
		return nil, &BusyError{Database: record.Database, JobID: id}
	}
	return nil, nil
}

func (c *Conductor) admit(j *live) {
	j.audience = &c.audience
	c.jobs[j.record.ID] = j
	c.order = append(c.order, j.record.ID)
	if key := j.record.IdempotencyKey; key != "" {
		c.keys[key] = j.record.ID
	}
	for len(c.order) > journalLength {
		i := slices.IndexFunc(c.order, c.forgettable)
		if i < 0 {
			return
		}
		oldest := c.order[i]
		delete(c.keys, c.jobs[oldest].record.IdempotencyKey)
		delete(c.jobs, oldest)
		c.order = slices.Delete(c.order, i, i+1)
		if err := c.journal.remove(oldest); err != nil {
			c.log.Warn("an old job record stays in the journal", zap.Error(err))
		}
	}
}

// forgettable says whether nothing depends any more on the record of a job.
func (c *Conductor) forgettable(id string) bool {
	r := c.jobs[id].snapshot()
	return r.State.Terminal() && c.lost[r.Database] != id && len(r.Spooled) == 0 && !c.ends.counts(r)
}

// run does the work and closes the books, whatever happened.
func (c *Conductor) run(ctx context.Context, j *live, do work) {
	publishing := make(chan struct{})
	var publisher sync.WaitGroup
	var told account
	publisher.Go(func() {
		j.publishUntil(publishing, func(r Record) { told = c.metrics.progressed(r, told) })
	})
	v := do(ctx, j)
	j.cancel(nil)
	close(publishing)
	publisher.Wait()
	if v.state == StateRunning {
		// The journal keeps it as it is.
		r := j.finish(func(r *Record) { r.Suspended = true })
		c.metrics.running.WithLabelValues(string(r.Action)).Dec()
		c.log.Warn("an interrupted job is left to the next process", zap.String("job_id", r.ID))
		return
	}

	terminal := j.snapshot()
	conclude(&terminal, v)
	unsaved := c.journal.save(entry{Record: terminal, Request: j.request})
	if unsaved != nil {
		c.log.Error("the end of a job could not be journaled; trying again", zap.String("job_id", terminal.ID), zap.Error(unsaved))
	}
	c.mu.Lock()
	if c.busy[terminal.Database] == terminal.ID {
		delete(c.busy, terminal.Database)
	}
	c.noteLost(terminal)
	c.mu.Unlock()
	c.metrics.progressed(terminal, told)
	c.metrics.running.WithLabelValues(string(terminal.Action)).Dec()
	ending := c.bookEnd(terminal)
	ending.Record = j.finish(func(r *Record) {
		r.FinishedAt = terminal.FinishedAt
		conclude(r, v)
	})
	c.tellEnd(ending)
	if unsaved != nil {
		c.tidying.Go(func() { c.journalLater(j) })
	}
}

// journalLater brings the end of a job into the journal, as long as the daemon lives:
// to the next one a job without an end is interrupted.
func (c *Conductor) journalLater(j *live) {
	pauses := backoff.NewExponentialBackOff()
	pauses.InitialInterval, pauses.MaxInterval = time.Second, time.Minute
	id := j.snapshot().ID
	_, err := backoff.Retry(c.life, func() (struct{}, error) {
		c.admission.Lock() // a job that makes room for another leaves the journal
		defer c.admission.Unlock()
		if _, err := c.find(id); err != nil {
			return struct{}{}, backoff.Permanent(err)
		}
		return struct{}{}, c.journal.save(entry{Record: j.snapshot(), Request: j.request})
	}, backoff.WithBackOff(pauses), backoff.WithMaxElapsedTime(0))
	if err == nil {
		c.log.Info("the end of a job is in the journal", zap.String("job_id", id))
	}
}

func conclude(r *Record, v verdict) {
	r.State, r.Error, r.Consequences, r.OutcomeUnknown = v.state, v.cause, v.consequences, v.unknown
	if v.state == StateSucceeded {
		r.Stage = StageDone
	}
	if r.FinishedAt.IsZero() {
		r.FinishedAt = time.Now().UTC()
	}
}

// Jobs returns the known jobs, newest first.
func (c *Conductor) Jobs() []Record {
	c.mu.Lock()
	defer c.mu.Unlock()
	records := make([]Record, 0, len(c.order))
	for _, id := range slices.Backward(c.order) {
		records = append(records, c.jobs[id].snapshot())
	}
	return records
}

// Job returns one job, or ErrUnknownJob.
func (c *Conductor) Job(id string) (Record, error) {
	j, err := c.find(id)
	if err != nil {
		return Record{}, err
	}
	return j.snapshot(), nil
}

// Cancel asks a running job to stop; it ends in its own time. It returns
// ErrUnknownJob, ErrFinished or ErrSuspended when there is nothing to cancel.
func (c *Conductor) Cancel(id string) error {
	j, err := c.find(id)
	if err != nil {
		return err
	}
	switch r := j.snapshot(); {
	case r.State.Terminal():
		return ErrFinished
	case r.Suspended:
		return ErrSuspended
	}
	j.note(SideOperator, "asks to cancel the job")
	j.cancel(errCancelRequested)
	return nil
}

// Subscribe returns a channel with the job's current record, then its newer
// ones; a slow reader misses some, never the last, after which it is closed.
// The function ends the subscription and must be called.
func (c *Conductor) Subscribe(id string) (<-chan Record, func(), error) {
	j, err := c.find(id)
	if err != nil {
		return nil, nil, err
	}
	records, end := j.subscribe()
	return records, end, nil
}

func (c *Conductor) find(id string) (*live, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	j, known := c.jobs[id]
	if !known {
		return nil, ErrUnknownJob
	}
	return j, nil
}

// cleanContext outlives the cancellation of ctx by at most the given time.
func cleanContext(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), limit)
}

// isCancel reports whether a job was asked to stop, as opposed to having
// failed.
func isCancel(err error) bool {
	return errors.Is(err, errCancelRequested) || errors.Is(err, ErrDraining)
}
