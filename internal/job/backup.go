package job

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// StartBackup admits a backup. It returns the record of the running job, or
// *FieldError, *BusyError, *ConflictError, *LostError, ErrDraining or ErrHANAStarting.
func (c *Conductor) StartBackup(ctx context.Context, r BackupRequest, key string) (Record, error) {
	database, err := backup.ParseDatabase(r.Database)
	if err != nil {
		return Record{}, &FieldError{Field: "database", Err: err}
	}
	kind := r.Kind
	if kind == "" {
		kind = backup.KindComplete
	}
	if err := c.checkKind(database, kind); err != nil {
		return Record{}, err
	}
	prefix := r.Prefix
	if prefix == "" {
		prefix = defaultPrefix(string(kind), database, time.Now())
	}
	if err := backup.CheckPrefix(prefix); err != nil {
		return Record{}, &FieldError{Field: "prefix", Err: err}
	}
	if err := c.checkStarted(ctx, database, key); err != nil {
		return Record{}, err
	}
	if err := c.checkDatabase(ctx, "database", database, key); err != nil {
		return Record{}, err
	}
	record := Record{Action: ActionBackup, Database: database, Kind: kind, Prefix: prefix, IdempotencyKey: key, RequestedBy: r.RequestedBy}
	request := fmt.Sprintf("backup %s %s %s", database, kind, r.Prefix)
	return c.start(record, request, c.backup) //nolint:contextcheck // a job outlives the request that asked for it
}

// checkKind refuses what cannot be backed up, or what could not be restored.
func (c *Conductor) checkKind(database string, kind backup.Kind) error {
	switch {
	case kind == backup.KindComplete:
		return nil
	case !isDelta(kind):
		return &FieldError{Field: "kind", Err: fmt.Errorf("%q: expected complete, differential or incremental; HANA makes log and catalog backups by itself", kind)}
	}
	if err := c.checkBase(database); err != nil {
		return err
	}
	if c.config.Door == DoorFIFO {
		return &FieldError{Field: "kind", Err: fmt.Errorf("%q: the names of its files are not known before it starts, so it cannot come through pipes: set door to auto or spool", kind)}
	}
	return nil
}

// defaultPrefix is unique because a database has one job at a time.
func defaultPrefix(word, database string, now time.Time) string {
	if len(database) > 60 {
		database = database[:60]
	}
	return strings.ToUpper(word) + "_" + database + "_" + strings.ReplaceAll(now.UTC().Format("20060102T150405.000Z"), ".", "_")
}

// backupRun is one backup on its way.
type backupRun struct {
	*Conductor
	job    *live
	log    *zap.Logger
	plan   backup.Plan
	base   *backup.Manifest // of a delta
	broken *backup.Break    // nil when HANA knows of none, or unasked
	// unasked says that HANA did not tell whether it knows of one.
	unasked bool
	source  *entrance
	flow    *flow

	mu       sync.Mutex
	uploads  []*transfer // more when HANA writes what the plan does not name
	failures []*Error
	written  *backup.Manifest     // once it is in the store
	answered bool                 // HANA has reported success
	final    *backup.CatalogEntry // of the ended backup, as soon as it was read
	deaf     bool                 // the connection on which HANA would answer is lost

	watch *probeWatch // of a probe
}

// backup plans, arms, triggers and streams, and commits only if the verdict
// allows it. Whatever happens, HANA is released and nothing unproven remains.
//
// A HANA that refuses pipes fails at once. Where the configuration leaves the door
// to us, the backup is made once more, through files: HANA has had its last word
// on the first one. That it refuses pipes is remembered when that has succeeded.
func (c *Conductor) backup(ctx context.Context, j *live) verdict {
	v := c.attempt(ctx, j)
	record := j.snapshot()
	if c.doorFor(record) != DoorAuto || v.cause == nil || v.cause.Code != CodeDirect || v.state != StateFailed || ctx.Err() != nil {
		return v
	}
	j.warn("this HANA opens its files with O_DIRECT, which pipes refuse: this backup, and later ones if it succeeds, go through files on the volume")
	j.note(SideDaemon, "tries once more, with files: %s", v.cause.Message)
	j.update(func(record *Record) { record.Attempt, record.Stage = 2, StagePlan })
	second := c.attempt(ctx, j)
	if second.state != StateSucceeded {
		second.consequences = append(append(second.consequences, "before, "+v.cause.Error()), v.consequences...)
		return second
	}
	if err := c.doors.learn(DoorKnowledge{Refused: true, Job: record.ID, At: time.Now().UTC()}); err != nil {
		c.log.Warn("the next backup will try pipes again", zap.Error(err))
	}
	return second
}

// attempt is one BACKUP DATA and all that belongs to it.
func (c *Conductor) attempt(ctx context.Context, j *live) verdict {
	record := j.snapshot()
	run := &backupRun{
		Conductor: c, job: j, log: c.log.With(zap.String("job_id", record.ID), zap.String("database", record.Database)), flow: newFlow(),
	}
	var v verdict
	keep := false
	if err := run.prepare(ctx, record); err != nil {
		v = verdictOf(err)
	} else {
		e := run.stream(ctx)
		if sound(e) {
			e.commit = run.commit(ctx, e)
		}
		v = judge(e)
		run.reportProbe(e, v)
		uncertain := e.commit != nil && e.commit.uncertain != ""
		keep = v.state == StateSucceeded || uncertain
		if v.state == StateLost && !uncertain {
			v.consequences = append(v.consequences, c.forget(ctx, j, e)...)
		}
	}
	v.consequences = append(v.consequences, run.clean(ctx, keep)...)
	v.consequences = append(v.consequences, run.leaveFiles(ctx, v)...)
	return v
}

// prepare gets everything ready before HANA is told to start. The plan is made
// last of what may have to wait: it is HANA's word of this moment.
func (r *backupRun) prepare(ctx context.Context, record Record) *Error {
	if err := r.checkStore(ctx, record); err != nil {
		return err
	}
	plan, err := r.parts.Trigger.Plan(ctx, record.Database, record.Kind)
	if err != nil {
		return r.planRefused(ctx, record.Database, err)
	}
	if plan.SID != r.config.SID {
		return newError(StagePlan, CodeWrongSystem, fmt.Errorf("HANA says that its SID is %q, the configuration says %q", plan.SID, r.config.SID))
	}
	plan.JobID, plan.Attempt, plan.Prefix, plan.Directory = record.ID, record.Attempt, record.Prefix, r.config.Directory
	r.plan = plan
	if err := r.checkProbeSize(record); err != nil {
		return err
	}
	if err := r.findBreak(ctx); err != nil {
		return err
	}
	if err := r.findBase(ctx); err != nil {
		return err
	}
	r.doors.see(plan.HANAVersion)
	counters := r.job.follow(plan.Streams)
	r.job.update(func(record *Record) { record.Stage = StageArm })
	if err := r.begin(ctx, counters); err != nil {
		return err
	}
	r.source = r.entranceFor(record)
	if err := r.checkRoom(); err != nil {
		return err
	}
	if err := r.arm(ctx, r.job, r.source, plan); err != nil {
		return err
	}
	r.watchProbe(record)
	return nil
}

// checkStore proves that the store works and that nothing is in the way of this
// backup's objects, before hours are spent on it.
func (r *backupRun) checkStore(ctx context.Context, record Record) *Error {
	checking, cancel := context.WithTimeout(ctx, r.config.ReserveTimeout)
	defer cancel()
	if err := r.parts.Store.Check(checking); err != nil {
		return newError(StagePlan, CodeStoreUnusable, causeOf(ctx, err))
	}
	prefix := backup.DataPrefix(r.config.SID, record.Database) + record.Prefix + "/"
	objects, err := r.parts.Store.List(checking, prefix)
	if err != nil {
		return newError(StagePlan, CodeStoreUnusable, causeOf(ctx, err))
	}
	if len(objects) > 0 {
		return newError(StagePlan, CodePrefixUsed, fmt.Errorf("the store already holds %d objects below %s", len(objects), prefix))
	}
	return nil
}

// begin reserves for every stream what it needs to never wait for another. One
// job reserves at a time, so that no two hold what the other waits for.
func (r *backupRun) begin(ctx context.Context, counters []*counter) *Error {
	reserving, cancel := context.WithTimeout(ctx, r.config.ReserveTimeout)
	defer cancel()
	select {
	case r.reserving <- struct{}{}:
		defer func() { <-r.reserving }()
	case <-reserving.Done():
		return newError(StageArm, CodeMemory, causeOf(ctx, fmt.Errorf("another backup has waited for memory for %s", r.config.ReserveTimeout)))
	}
	for i, s := range r.plan.Streams {
		t := &transfer{job: r.job, stream: s, counter: counters[i], noSHA256: r.config.NoSHA256}
		key := backup.StreamKey(r.plan.SID, r.plan.Database, r.plan.Prefix, s.StreamID)
		var err error
		if t.upload, err = r.parts.Store.Begin(reserving, key, t.options()); err != nil {
			return streamError(StageArm, s.StreamID, CodeStoreUnusable, causeOf(ctx, err))
		}
		r.uploads = append(r.uploads, t)
	}
	return nil
}

// stream tells HANA to start, carries every stream into the store and returns
// what was seen. When it returns, HANA has answered or been given up, and no
// stream moves any more.
func (r *backupRun) stream(ctx context.Context) evidence {
	streaming, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	waiting, abandon := context.WithCancel(context.WithoutCancel(ctx))
	defer abandon()

	answer := make(chan error, 1)
	r.job.note(SideDaemon, "sends BACKUP DATA to HANA")
	r.watch.sent()
	go func() { answer <- r.parts.Trigger.Backup(waiting, r.plan) }()

	var streams sync.WaitGroup
	var guards errgroup.Group
	for _, t := range r.transfers() {
		r.flow.add(1)
		streams.Go(func() {
			defer r.flow.add(-1)
			t.carry(streaming, r.source, func(err *Error) { r.fail(stop, err) })
		})
	}
	streams.Go(func() { r.discover(streaming, stop, &streams) })
	guarding, relieve := context.WithCancel(streaming)
	defer relieve()
	guards.Go(func() error {
		if err := r.source.watch(guarding); err != nil {
			r.fail(stop, newError(StageStream, CodeIntrusion, err))
		}
		return nil
	})
	guards.Go(func() error {
		if err := r.watchProgress(guarding); err != nil {
			r.fail(stop, err)
		}
		return nil
	})

	answered := r.awaitAnswer(streaming, stop, answer)
	r.watch.answered()
	if answered {
		if err := r.source.settle(streaming); err != nil && streaming.Err() == nil {
			r.fail(stop, newError(StageStream, CodePipe, err))
		}
		guards.Go(func() error {
			if err := r.watchEnding(guarding); err != nil {
				r.fail(stop, err)
			}
			return nil
		})
	}
	streams.Wait() // errors went to fail
	relieve()
	_ = guards.Wait() // errors went to fail
	if !answered {
		r.cancelInHANA(ctx, answer, abandon)
	}
	if streaming.Err() != nil {
		r.closeSource()
	}
	return r.gather(ctx, streaming)
}

// fail records a failure and stops the streams.
func (r *backupRun) fail(stop context.CancelCauseFunc, err *Error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures = append(r.failures, err)
	r.job.noteFailure(err)
	stop(err)
}

// gather collects the evidence after the last stream has ended.
func (r *backupRun) gather(ctx, streaming context.Context) evidence {
	r.job.update(func(record *Record) { record.Stage = StageSettle })
	reports := r.source.report()
	r.learnNames(reports)
	e := evidence{plan: r.plan, base: r.base}
	r.mu.Lock()
	e.answered = r.answered
	e.failures = append(e.failures, r.failures...)
	r.mu.Unlock()
	if cause := context.Cause(streaming); isCancel(cause) {
		if errors.Is(cause, ErrDraining) {
			r.job.note(SideOperator, "%v", cause)
		}
		e.failures = append([]*Error{newError(StageStream, CodeCanceled, cause)}, e.failures...)
	}
	entry, err := r.awaitEntry(ctx, e.failures)
	if err != nil {
		e.entryErr = err
	} else {
		e.entry = &entry
		r.job.note(SideHANA, "its catalog calls backup %d %s", entry.BackupID, entry.State)
		r.job.update(func(record *Record) { record.BackupID = entry.BackupID })
	}
	r.job.update(func(record *Record) {
		for i := range record.Streams {
			report := reports[record.Streams[i].StreamID]
			record.Streams[i].Path, record.Streams[i].Door = report.Path, report.Door
		}
	})
	if e.entry != nil {
		r.nameLate(e.entry, &e.plan)
	}
	for _, t := range r.transfers() {
		e.streams = append(e.streams, t.evidence(reports[t.stream.StreamID]))
	}
	return e
}

// transfers are those of the streams that are known by now.
func (r *backupRun) transfers() []*transfer {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clip(r.uploads)
}

// closeSource lets go of whatever HANA may be blocked on, and removes the pipes.
func (r *backupRun) closeSource() {
	if err := r.source.close(); err != nil {
		r.log.Error("pipes could not be removed", zap.Error(err))
	}
}

// clean releases HANA, removes the pipes and undoes uploads that are not to
// stay. It returns what could not be undone, to be told with the verdict.
func (r *backupRun) clean(ctx context.Context, keep bool) []string {
	if r.source != nil {
		r.closeSource()
	}
	clean, cancel := cleanContext(ctx, r.config.CleanTimeout)
	defer cancel()
	if keep {
		r.sweep(clean, r.plan)
		return nil
	}
	transfers := r.transfers()
	left := make([]string, len(transfers))
	var group sync.WaitGroup
	for i, t := range transfers {
		if t.upload == nil {
			continue
		}
		group.Go(func() {
			if err := t.upload.Abort(clean); err != nil {
				left[i] = streamError(StageClean, t.stream.StreamID, CodeLeftover, fmt.Errorf("not removed from the store: %w", err)).Error()
			}
		})
	}
	group.Wait()
	left = slices.DeleteFunc(left, func(what string) bool { return what == "" })
	if len(left) == 0 && len(transfers) > 0 { // the store works
		r.sweep(clean, r.plan)
	}
	return left
}
