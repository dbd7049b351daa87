package job

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// StartRestore admits a restore of one complete backup into its own database.
// Errors are as for StartBackup.
func (c *Conductor) StartRestore(_ context.Context, r RestoreRequest, key string) (Record, error) {
	record, request, err := readRequest(ActionRestore, r.Database, r.Backup, key)
	if err != nil {
		return Record{}, err
	}
	return c.start(record, request, func(ctx context.Context, j *live) verdict { return c.restore(ctx, j, r.Backup) }) //nolint:contextcheck // a job outlives the request that asked for it
}

// readRequest checks what restores and verifications have in common.
func readRequest(action Action, database, id, key string) (Record, string, error) {
	database, err := backup.ParseDatabase(database)
	if err != nil {
		return Record{}, "", &FieldError{Field: "database", Err: err}
	}
	if _, err := parseBackupID(id); err != nil {
		return Record{}, "", err
	}
	return Record{Action: action, Database: database, IdempotencyKey: key}, fmt.Sprintf("%s %s %s", action, database, id), nil
}

// restoreRun is one restore on its way.
type restoreRun struct {
	*Conductor
	job      *live
	log      *zap.Logger
	manifest *backup.Manifest
	plan     backup.Plan
	sink     Sink
	counters []*counter

	deaf bool // the connection on which HANA would answer is lost

	mu       sync.Mutex
	failures []*Error
}

// fail records what went wrong with a stream. It is called before the stream is
// ended short for HANA, so that HANA's complaint about it cannot come first.
func (r *restoreRun) fail(i int, code string, err error) {
	failure := streamError(StageStream, r.plan.Streams[i].StreamID, code, err)
	r.job.noteFailure(failure)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures = append(r.failures, failure)
}

// restore serves the streams of a backup through pipes while HANA recovers
// from them.
func (c *Conductor) restore(ctx context.Context, j *live, id string) verdict {
	record := j.snapshot()
	r := &restoreRun{Conductor: c, job: j, log: c.log.With(zap.String("job_id", record.ID), zap.String("database", record.Database))}
	var failures []*Error
	if err := r.prepare(ctx, record, id); err != nil {
		failures = append(failures, err)
	} else {
		failures = r.serve(ctx)
	}
	if r.sink != nil {
		if err := r.sink.Close(); err != nil {
			r.log.Error("pipes could not be removed", zap.Error(err))
		}
	}
	return verdictOf(failures...)
}

func (r *restoreRun) prepare(ctx context.Context, record Record, id string) *Error {
	manifest, err := ReadManifest(ctx, r.parts.Store, r.config.SID, record.Database, id)
	if err != nil {
		return newError(StagePlan, CodeManifest, causeOf(ctx, err))
	}
	if manifest.Kind != backup.KindComplete {
		return newError(StagePlan, CodeManifest, fmt.Errorf("backup %d is %s: only complete backups can be restored", manifest.BackupID, manifest.Kind))
	}
	r.manifest, r.plan = manifest, manifest.Plan(record.ID, r.config.Directory)
	r.counters = r.job.follow(r.plan.Streams)
	r.job.update(func(record *Record) {
		record.Kind, record.BackupID, record.Prefix = manifest.Kind, manifest.BackupID, manifest.Prefix
		record.Manifest = backup.ManifestKey(manifest.SID, manifest.Database, manifest.BackupID)
	})
	if err := presence(ctx, r.parts.Store, manifest); err != nil {
		return err
	}
	if manifest.Database != backup.SystemDB {
		if err := r.parts.Recoverer.CheckRecovery(ctx, r.plan); err != nil {
			return newError(StagePlan, CodePlan, causeOf(ctx, err))
		}
	}
	r.job.update(func(record *Record) { record.Stage = StageArm })
	r.sink = r.parts.NewSink()
	return r.arm(ctx, r.job, r.sink, r.plan)
}

// presence fails before HANA is touched when an object is missing or of
// another size.
func presence(ctx context.Context, store backup.Store, m *backup.Manifest) *Error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(8)
	for i := range m.Streams {
		s := &m.Streams[i]
		for k := range s.Objects {
			object := &s.Objects[k]
			group.Go(func() error {
				found, err := store.Stat(ctx, object.Key)
				if err != nil {
					return streamError(StagePlan, s.StreamID, CodeObject, causeOf(ctx, fmt.Errorf("object %s: %w", object.Key, err)))
				}
				if found.Size != object.Size {
					return streamError(StagePlan, s.StreamID, CodeObject,
						fmt.Errorf("object %s has %d bytes, its manifest says %d", object.Key, found.Size, object.Size))
				}
				return nil
			})
		}
	}
	if err := group.Wait(); err != nil {
		return newError(StagePlan, CodeObject, err)
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
	for i, s := range r.plan.Streams {
		group.Go(func() error {
			open := func(ctx context.Context) (io.ReadCloser, error) { return r.open(ctx, i) }
			return r.sink.Serve(serving, s, open)
		})
	}
	if r.plan.Database == backup.SystemDB {
		r.job.update(func(record *Record) { record.Command = RecoverCommand(r.plan) })
	}
	recovered := r.recover(serving)
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

// open starts a stream from byte 0 and counts what HANA takes of it.
func (r *restoreRun) open(ctx context.Context, i int) (io.ReadCloser, error) {
	reader, err := r.parts.Store.OpenStream(ctx, r.manifest.Streams[i].Objects)
	if err != nil {
		if ctx.Err() == nil {
			r.fail(i, CodeObject, err)
		}
		return nil, err
	}
	r.counters[i].bytes.Store(0)
	return &countedReader{ReadCloser: reader, counter: r.counters[i], fail: func(err error) {
		if ctx.Err() == nil {
			r.fail(i, CodeObject, err)
		}
	}}, nil
}

// countedReader counts what is read; it starts anew with each opening.
type countedReader struct {
	io.ReadCloser

	counter *counter
	fail    func(error)
}

func (r *countedReader) Read(p []byte) (int, error) {
	r.counter.clock.turn(SideStore)
	n, err := r.ReadCloser.Read(p)
	r.counter.clock.turn(SideHANA)
	r.counter.bytes.Add(int64(n))
	r.counter.read.Add(int64(n))
	r.counter.stored.Store(max(r.counter.stored.Load(), r.counter.bytes.Load()))
	switch {
	case err == nil:
	case errors.Is(err, io.EOF):
		r.counter.done.Store(true)
	default:
		r.fail(err)
	}
	return n, err
}

// Close implements io.Closer.
func (r *countedReader) Close() error {
	r.counter.clock.turn("")
	return r.ReadCloser.Close()
}

// consumed checks that HANA took every stream to its last byte: a recovery
// that reads less has not restored this backup.
func (r *restoreRun) consumed() []*Error {
	complete := make(map[backup.StreamID]bool)
	reports := r.sink.Report()
	for i := range reports {
		complete[reports[i].StreamID] = reports[i].Complete > 0
	}
	var failures []*Error
	for _, s := range r.plan.Streams {
		if !complete[s.StreamID] {
			failures = append(failures, streamError(StageSettle, s.StreamID, CodeUnread,
				errors.New("HANA says that it has recovered, but did not read this stream to its end")))
		}
	}
	return failures
}

// awaitReaders waits until every stream was read to its end and nobody has
// opened one for EndTimeout. Whether SYSTEMDB came back is then for
// recoverSys.py to say: SQL cannot recover it and cannot see it recover.
func (r *restoreRun) awaitReaders(ctx context.Context) error {
	ticker := time.NewTicker(r.config.EndTimeout / 10)
	defer ticker.Stop()
	var quiet int
	var last int
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ticker.C:
		}
		opens, complete := 0, 0
		reports := r.sink.Report()
		for i := range reports {
			opens += reports[i].Opens
			if reports[i].Complete > 0 {
				complete++
			}
		}
		if complete < len(r.plan.Streams) || opens != last {
			quiet, last = 0, opens
			continue
		}
		if quiet++; quiet >= 10 {
			return nil
		}
	}
}

// RecoverCommand is what an operator runs as <sid>adm in HANA's container to
// recover SYSTEMDB from the pipes of plan (SAP HANA administration guide: SQL
// clients cannot recover SYSTEMDB).
func RecoverCommand(plan backup.Plan) string {
	return fmt.Sprintf(`HDBSettings.sh recoverSys.py --command="RECOVER DATA USING FILE ('%s') CLEAR LOG" --wait`, plan.Path())
}
