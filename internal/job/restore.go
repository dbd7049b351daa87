package job

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/pipestreamer/pipestreamer/internal/chain"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
	"github.com/pipestreamer/pipestreamer/pkg/hdbtrigger"
	"github.com/pipestreamer/pipestreamer/pkg/spool"
)

// StartRestore admits a restore of one backup, or to a point in time, into its
// own database or another tenant; a dry run only plans it. Errors are as for
// StartBackup.
func (c *Conductor) StartRestore(ctx context.Context, r RestoreRequest, key string) (Record, error) {
	source, target, point, err := r.parse()
	if err != nil {
		return Record{}, err
	}
	record := Record{Action: ActionRestore, Database: target, IdempotencyKey: key, RequestedBy: r.RequestedBy}
	if source != target {
		record.Source = source
	}
	if r.DryRun {
		record.Action = ActionPlan
	} else if err := c.checkTarget(ctx, r, target, key); err != nil {
		return Record{}, err
	}
	request := fmt.Sprintf("%s %s %s %s %s", record.Action, source, target, r.Backup, r.Until)
	return c.start(record, request, func(ctx context.Context, j *live) verdict { return c.restore(ctx, j, source, point, r.DryRun) }) //nolint:contextcheck // a job outlives the request that asked for it
}

// checkTarget refuses to restore into a database that HANA does not have.
func (c *Conductor) checkTarget(ctx context.Context, r RestoreRequest, target, key string) error {
	field := "database"
	if r.ToDatabase != "" {
		field = "to_database"
	}
	err := c.checkDatabase(ctx, field, target, key)
	if refused, is := errors.AsType[*FieldError](err); is {
		refused.Err = fmt.Errorf("%w; %s", refused.Err, createFirst)
	}
	return err
}

// createFirst is what a restore into a database needs that is not there.
const createFirst = "create it first (CREATE DATABASE), a restore replaces what is in it"

// restoreRun is one restore on its way.
type restoreRun struct {
	*Conductor
	job    *live
	log    *zap.Logger
	source string // the database whose backups are used
	chain  chain.Chain
	// plan names the database that is replaced and the complete backup.
	plan   backup.Plan
	outlet *outlet
	// recovery is what HANA is told unless the restore is a simple one.
	recovery backup.Recovery
	shelf    *spool.Shelf // nil when HANA needs no log and no catalog
	served   []served
	// files says that HANA gets the data as files, not through pipes.
	files bool

	deaf   bool // the connection on which HANA would answer is lost
	unsure bool // HANA may still be recovering

	mu       sync.Mutex
	failures []*Error
}

// served is one stream that HANA reads.
type served struct {
	backup  int    // in the chain
	name    string // of the file
	stream  backup.Stream
	objects []backup.Object
	sum     string // SHA-256 of the stream
	counter *counter
}

// fail records what went wrong with a stream. It is called before the stream is
// ended short for HANA, so that HANA's complaint about it cannot come first.
func (r *restoreRun) fail(s *served, code string, err error) {
	failure := streamError(StageStream, s.stream.StreamID, code, err)
	r.job.noteFailure(failure)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures = append(r.failures, failure)
}

// restore serves the streams of backups through pipes, and lays out the log
// beside them, while HANA recovers from them.
func (c *Conductor) restore(ctx context.Context, j *live, source string, point chain.Target, dryRun bool) verdict {
	record := j.snapshot()
	r := &restoreRun{
		Conductor: c, job: j, source: source, files: c.config.Door == DoorSpool || c.config.Door == DoorAuto && c.doors.refuses(),
		log: c.log.With(zap.String("job_id", record.ID), zap.String("database", record.Database)),
	}
	if err := r.choose(ctx, record, point); err != nil || dryRun {
		return verdictOf(failureOf(err)...)
	}
	failures := r.attempt(ctx)
	if c.config.Door == DoorAuto && ctx.Err() == nil && r.refusedRead(failures) {
		r.job.warn("this HANA opens its files with O_DIRECT, which pipes refuse: the data was laid out as files on the volume")
		r.job.note(SideDaemon, "tries once more, with files: %s", failures[0].Message)
		r.files, r.failures, r.outlet, r.shelf = true, nil, nil, nil
		if second := r.attempt(ctx); len(second) == 0 {
			failures = nil
		} else {
			failures = append(second, failures...)
		}
	}
	if len(failures) == 0 {
		r.job.warn("make a complete backup now: until then HANA makes no delta and no log backup that goes on from here, and what is written from now on cannot be recovered")
	}
	return r.verdict(failures)
}

func (r *restoreRun) verdict(failures []*Error) verdict {
	v := verdictOf(failures...)
	if v.cause != nil {
		record := r.job.snapshot()
		leftStopped(&record, v.cause)
	}
	return v
}

// attempt is one RECOVER and all that belongs to it.
func (r *restoreRun) attempt(ctx context.Context) []*Error {
	failures := failureOf(r.prepare(ctx))
	if len(failures) == 0 {
		failures = r.serve(ctx)
	}
	if r.outlet != nil {
		if err := r.outlet.close(); err != nil {
			r.log.Error("pipes could not be removed", zap.Error(err))
		}
	}
	if r.shelf != nil {
		r.closeShelf()
	}
	return failures
}

// closeShelf removes what was laid out, unless HANA may still be recovering from
// it: then it stays, and the record says so.
func (r *restoreRun) closeShelf() {
	end := r.shelf.Close
	if r.unsure {
		end = r.shelf.Leave
		r.job.warn(shelfStays(r.config.Directory, r.job.snapshot().ID))
	}
	if err := end(); err != nil {
		r.log.Error("files that were laid out for HANA stay", zap.Error(err))
		r.job.warn("files that were laid out for HANA stay on the volume: " + err.Error())
	}
}

// mayRecover says whether HANA may go on to read what was laid out for it, after
// this error: it was told to recover and has not had its last word.
func (r *restoreRun) mayRecover(err error) bool {
	if r.plan.Database == backup.SystemDB {
		return err != nil && r.shelf != nil && len(r.shelf.Opened()) > 0 // it cannot be asked
	}
	return err != nil && r.job.snapshot().TenantStopped && (r.deaf || !isFinal(err))
}

func failureOf(err *Error) []*Error {
	if err == nil {
		return nil
	}
	return []*Error{err}
}

// choose plans what is used, and says so in the record.
func (r *restoreRun) choose(ctx context.Context, record Record, point chain.Target) *Error {
	var err *Error
	if r.chain, err = r.archive().plan(ctx, r.source, point); err != nil {
		return err
	}
	last := r.chain.Last()
	r.plan = r.chain.Complete.Plan(record.ID, r.config.Directory)
	r.plan.Database = record.Database
	r.job.update(func(record *Record) {
		record.Kind, record.BackupID, record.Prefix = last.Kind, last.BackupID, last.Prefix
		record.Objects = objectsIn(append(slices.Clone(r.chain.Deltas), r.chain.Complete)...)
		record.Manifest = backup.ManifestKey(last.SID, last.Database, last.BackupID)
		record.Plan = describe(&r.chain, point.Until)
	})
	r.recovery = recoveryOf(&r.chain, point, record.Database)
	r.recovery.JobID, r.recovery.DataPath = record.ID, r.config.Directory
	if record.Action == ActionPlan {
		if absent := r.absent(ctx, record.Database); absent != nil {
			r.job.warn(absent.Error() + "; " + createFirst)
		}
	}
	return nil
}

// simple says whether HANA needs nothing but the files of one complete backup.
func (r *restoreRun) simple() bool { return len(r.chain.Staged()) == 0 }

// prepare gets everything ready before HANA is told anything.
func (r *restoreRun) prepare(ctx context.Context) *Error {
	var plans []backup.Plan
	var streams []backup.Stream
	r.served = nil
	for i, m := range r.chain.Data() {
		plan := m.Plan(r.plan.JobID, r.config.Directory)
		plans = append(plans, plan)
		for k, s := range plan.Streams {
			r.served = append(r.served, served{backup: i, name: plan.FileName(s.StreamID), stream: s, objects: m.Streams[k].Objects, sum: m.Streams[k].SHA256})
			if !r.simple() {
				s.File = plan.FileName(s.StreamID) // or two could not be told apart
			}
			streams = append(streams, s)
		}
	}
	for i, c := range r.job.follow(streams) {
		r.served[i].counter = c
	}
	if r.plan.Database != backup.SystemDB {
		if err := r.parts.Recoverer.CheckRecovery(ctx, r.plan); err != nil {
			return r.planRefused(ctx, r.plan.Database, err)
		}
	}
	if err := r.decodable(ctx); err != nil {
		return err
	}
	r.job.update(func(record *Record) { record.Stage = StageArm })
	if err := r.stage(ctx); err != nil {
		return err
	}
	if r.shelf != nil {
		r.recovery.CatalogPath, r.recovery.LogPaths = r.shelf.Path(), []string{r.shelf.Path()}
	}
	if r.files {
		r.plan.Directory, r.recovery.DataPath, plans = r.shelf.Path(), r.shelf.Path(), nil
	}
	r.outlet = r.outletFor(plans)
	return r.arm(ctx, r.job, r.outlet, r.plan)
}

// decodable fails before HANA is touched when data cannot be decrypted here: the
// identity is missing, or is not the one. All streams of a backup are encrypted for
// the same recipients, so one of each is looked at.
func (r *restoreRun) decodable(ctx context.Context) *Error {
	seen := make(map[int]bool)
	for i := range r.served {
		s := &r.served[i]
		if seen[s.backup] || !slices.Contains(backup.EncodingOf(s.objects), backup.EncodingAge) {
			continue
		}
		seen[s.backup] = true
		reader, err := r.parts.Store.OpenStream(ctx, s.objects) // which looks at its beginning
		if err == nil {
			err = reader.Close()
		}
		if err != nil {
			return streamError(StagePlan, s.stream.StreamID, CodeObject, causeOf(ctx, err))
		}
	}
	return nil
}

// serve answers HANA's readers until the recovery has ended. A stream that
// cannot be served ends short, so that HANA fails too; what HANA then says is a
// consequence.
func (r *restoreRun) serve(ctx context.Context) []*Error {
	group, serving := errgroup.WithContext(ctx)
	serving, stop := context.WithCancel(serving)
	defer stop()
	for i := range r.served {
		s := &r.served[i]
		if r.files {
			break // HANA finds them
		}
		group.Go(func() error {
			open := func(ctx context.Context) (io.ReadCloser, error) { return r.open(ctx, s) }
			return r.outlet.sinks[s.backup].Serve(serving, s.stream, open)
		})
	}
	recovered := r.tellOperator()
	if recovered == nil {
		recovered = r.recover(serving)
	}
	r.unsure = r.mayRecover(recovered)
	stop()
	err := group.Wait()
	failures := r.failures // all streams have ended
	if err != nil && len(failures) == 0 && ctx.Err() == nil {
		failures = append(failures, newError(StageStream, CodePipe, err))
	}
	if ctx.Err() != nil {
		failures = append(failures, newError(StageStream, CodeCanceled, context.Cause(ctx)))
	}
	if recovered != nil {
		failures = append(failures, newError(StageTrigger, CodeAnswerUnknown, recovered))
	}
	if len(failures) > 0 {
		return failures
	}
	return r.consumed()
}

// tellOperator shows what to run where SQL cannot recover.
func (r *restoreRun) tellOperator() error {
	if r.plan.Database != backup.SystemDB {
		return nil
	}
	text, err := hdbtrigger.RecoverFilesText(r.plan)
	if !r.simple() {
		text, err = hdbtrigger.RecoverText(r.recovery)
	}
	if err != nil {
		return err
	}
	r.job.update(func(record *Record) { record.Command = recoverCommand(text) })
	return nil
}

// open starts a stream from byte 0 and counts what HANA takes of it.
func (r *restoreRun) open(ctx context.Context, s *served) (io.ReadCloser, error) {
	reader, err := r.parts.Store.OpenStream(ctx, s.objects)
	if err != nil {
		if ctx.Err() == nil {
			r.fail(s, CodeObject, err)
		}
		return nil, err
	}
	if len(backup.EncodingOf(s.objects)) > 0 {
		// Of others each part is checked, and that is all of them. A SHA-256 would
		// only tell after HANA has had every byte.
		reader = backup.Checked(reader, s.objects, s.stream.EstimatedSize, s.sum)
	}
	s.counter.bytes.Store(0)
	return &countedReader{ReadCloser: reader, counter: s.counter, fail: func(err error) {
		if ctx.Err() == nil {
			r.fail(s, CodeObject, err)
		}
	}}, nil
}
