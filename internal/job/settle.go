package job

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/cenkalti/backoff/v5"
	"golang.org/x/sync/errgroup"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// What makes a poll of the catalog go on.
var (
	errStillRunning = errors.New("the catalog says that the backup is still running")
	errFilesMissing = errors.New("the catalog does not list all files of the backup")
)

// pollCatalog asks for the entry of plan until it has ended. It gives up after
// patience; each answer while busy says so (nil: never) starts it anew. While the
// daemon drains, a HANA to which no connection can be made is given up earlier.
func (c *Conductor) pollCatalog(ctx context.Context, plan backup.Plan, patience time.Duration, busy func() bool) (backup.CatalogEntry, error) {
	lastWord := time.Now()
	var away time.Time // since when no connection can be made; zero when the last question found HANA
	ask := func() (backup.CatalogEntry, error) {
		began := time.Now()
		attempt, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		entry, err := c.parts.Trigger.Entry(attempt, plan)
		if err == nil && busy != nil && busy() {
			lastWord = time.Now()
		}
		switch {
		case !disconnected(err):
			away = time.Time{}
		case away.IsZero():
			away = began
		}
		if err == nil && (entry.State == backup.CatalogRunning || entry.State == backup.CatalogCancelPending) {
			err = errStillRunning
		}
		// A question that began in time and ended late may have met a process
		// that was stopped: it is asked once more.
		if err != nil && (began.Sub(lastWord) > patience || c.gone(away, began)) {
			err = backoff.Permanent(err)
		}
		return entry, err
	}
	return backoff.Retry(ctx, ask, backoff.WithBackOff(catalogPolicy()), backoff.WithMaxElapsedTime(0))
}

// goneAfter is how long a HANA to which no connection can be made while the daemon
// drains is asked again: it is being stopped with its pod, which waits for the job.
const goneAfter = 10 * time.Second

// gone says whether a HANA that is away since then will not come back. Before the
// drain it may have been starting.
func (c *Conductor) gone(away, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if away.IsZero() || !c.draining {
		return false
	}
	if away.Before(c.drainedAt) {
		away = c.drainedAt
	}
	return now.Sub(away) > goneAfter
}

// disconnected says whether err is that of a connection that HANA's host refuses
// or has closed. A HANA that is slow, or answers with an error, is there.
func disconnected(err error) bool {
	return slices.ContainsFunc([]error{syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.EPIPE, io.EOF, io.ErrUnexpectedEOF}, func(cause error) bool {
		return errors.Is(err, cause)
	})
}

func catalogPolicy() *backoff.ExponentialBackOff {
	policy := backoff.NewExponentialBackOff()
	policy.InitialInterval, policy.MaxInterval = 20*time.Millisecond, 5*time.Second
	return policy
}

// askCatalog finds out how a backup ended whose answer is missing. While its
// streams move, a catalog that calls it running is believed.
func (r *backupRun) askCatalog(ctx context.Context, missing error) *Error {
	entry, err := r.finalEntry(ctx, r.config.AnswerTimeout, r.flow.moving)
	switch {
	case ctx.Err() != nil:
		return newError(StageTrigger, CodeAnswerUnknown, context.Cause(ctx))
	case err != nil:
		return newError(StageTrigger, CodeAnswerUnknown, fmt.Errorf("%w; then the catalog: %w", missing, err))
	case entry.State != backup.CatalogSuccessful:
		return newError(StageTrigger, CodeCatalog, fmt.Errorf("the catalog calls backup %d %s: %s", entry.BackupID, entry.State, entry.Message))
	}
	return nil
}

// finalEntry polls the catalog and remembers what it says at last: that does
// not change any more, also if the catalog cannot be asked again.
func (r *backupRun) finalEntry(ctx context.Context, patience time.Duration, busy func() bool) (backup.CatalogEntry, error) {
	entry, err := r.pollCatalog(ctx, r.plan, patience, busy)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil {
		r.final = &entry
	}
	if r.final == nil {
		return backup.CatalogEntry{}, err
	}
	return *r.final, nil
}

// listedEntry waits until the catalog lists the files of a successful backup,
// too; they may come later than its row. After AnswerTimeout it returns what
// there is.
func (r *backupRun) listedEntry(ctx context.Context) (backup.CatalogEntry, error) {
	var entry backup.CatalogEntry
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		var err error
		if entry, err = r.finalEntry(ctx, r.config.AnswerTimeout, nil); err != nil {
			return struct{}{}, backoff.Permanent(err)
		}
		files := slices.DeleteFunc(slices.Clone(entry.Files), func(f backup.CatalogFile) bool { return f.SourceType == backup.SourceCatalog })
		if entry.State == backup.CatalogSuccessful && len(files) < len(r.plan.Streams) {
			return struct{}{}, errFilesMissing
		}
		return struct{}{}, nil
	}, backoff.WithBackOff(catalogPolicy()), backoff.WithMaxElapsedTime(r.config.AnswerTimeout))
	if errors.Is(err, errFilesMissing) {
		return entry, nil
	}
	return entry, err
}

// awaitEntry reads the final catalog entry. After a failure it only has to
// tell whether HANA believes in the backup, so it hardly waits for a row, least
// of all for one of a backup that HANA refused before it wrote anything.
func (r *backupRun) awaitEntry(ctx context.Context, failures []*Error) (backup.CatalogEntry, error) {
	clean, cancel := cleanContext(ctx, 4*r.config.AnswerTimeout)
	defer cancel()
	if len(failures) == 0 {
		return r.listedEntry(clean)
	}
	patience := 5 * time.Second
	if refused(failures) && !slices.ContainsFunc(r.transfers(), func(t *transfer) bool { return t.counter.bytes.Load() > 0 }) {
		patience = 500 * time.Millisecond
	}
	return r.finalEntry(clean, min(r.config.AnswerTimeout, patience), func() bool { return true })
}

// copyRate in bytes/s is what a store is trusted to move inside itself, for
// those backends whose commit is a copy.
const copyRate = 32 << 20

// commit makes the objects visible and writes the manifest, in this order. It
// is not cancelled by a request to stop: the backup is good, only its record is
// missing.
func (r *backupRun) commit(ctx context.Context, e evidence) *commitEvidence {
	r.job.update(func(record *Record) { record.Stage = StageCommit })
	r.findBreakAgain(ctx)
	manifest := r.manifest(e)
	done := &commitEvidence{visible: make(map[backup.StreamID]bool)}
	text, err := manifest.Encode()
	if err != nil {
		done.failure = newError(StageCommit, CodeUnwritten, err)
		return done
	}
	limit := r.config.CommitTimeout + time.Duration(manifest.Bytes()/copyRate)*time.Second
	ctx, cancel := cleanContext(ctx, limit)
	defer cancel()
	if done.failure = r.commitObjects(ctx, done.visible); done.failure != nil {
		return done
	}
	key := backup.ManifestKey(manifest.SID, manifest.Database, manifest.BackupID)
	if err := writeObject(ctx, r.parts.Store, key, text, r.config.CleanTimeout); err != nil {
		done.failure = newError(StageCommit, CodeUnwritten, err)
		if errors.Is(err, backup.ErrExists) {
			return done // what is there is somebody else's
		}
		if absent, err := r.proveAbsent(ctx, key); !absent {
			done.uncertain = fmt.Sprintf(
				"the objects stay, because it is not known whether the manifest %s exists (%v): verify backup %d", key, err, manifest.BackupID)
		}
		return done
	}
	done.manifest, r.written = key, manifest
	r.job.note(SideStore, "shows all objects and the manifest")
	r.job.update(func(record *Record) { record.Manifest, record.Objects = key, objectsIn(manifest) })
	return done
}

// commitObjects makes the objects of all streams visible, and gives the first
// failure.
func (r *backupRun) commitObjects(ctx context.Context, visible map[backup.StreamID]bool) *Error {
	var mu sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	for _, t := range r.transfers() {
		group.Go(func() error {
			if err := t.upload.Commit(ctx); err != nil {
				return streamError(StageCommit, t.stream.StreamID, CodeCommit, err)
			}
			mu.Lock()
			defer mu.Unlock()
			visible[t.stream.StreamID] = true
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return newError(StageCommit, CodeCommit, err)
	}
	return nil
}

// proveAbsent makes sure that our manifest is not at key: it must not outlive
// the objects that it names. One of another job is left alone.
func (r *backupRun) proveAbsent(ctx context.Context, key string) (bool, error) {
	clean, cancel := cleanContext(ctx, r.config.CleanTimeout)
	defer cancel()
	_, err := backoff.Retry(clean, func() (struct{}, error) {
		if m, err := readManifest(clean, r.parts.Store, key); err == nil && m.JobID != r.plan.JobID {
			return struct{}{}, nil
		}
		if err := r.parts.Store.Remove(clean, key); err != nil {
			return struct{}{}, err
		}
		_, err := r.parts.Store.Stat(clean, key)
		switch {
		case errors.Is(err, backup.ErrNotFound):
			return struct{}{}, nil
		case err != nil:
			return struct{}{}, err
		default:
			return struct{}{}, backoff.Permanent(fmt.Errorf("%s is still there", key))
		}
	}, backoff.WithBackOff(backoff.NewExponentialBackOff()))
	return err == nil, err
}

func (r *backupRun) manifest(e evidence) *backup.Manifest {
	m := &backup.Manifest{
		Version: backup.ManifestVersion, Tool: r.config.Tool, JobID: r.plan.JobID,
		SID: r.plan.SID, Database: r.plan.Database, Kind: r.plan.Kind, BackupID: e.entry.BackupID,
		Warnings: r.job.snapshot().Warnings, Broken: r.broken,
		Directory: r.plan.Directory, Prefix: r.plan.Prefix, HANAVersion: r.plan.HANAVersion,
		StartedAt: r.job.snapshot().StartedAt, FinishedAt: time.Now().UTC(), Catalog: *e.entry,
	}
	if e.base != nil {
		m.BaseID = e.base.BackupID
	}
	for i := range e.streams {
		s := &e.streams[i]
		m.DatabaseUUID = s.header.DatabaseUUID
		m.Streams = append(m.Streams, backup.ManifestStream{
			StreamID: s.stream.StreamID, Service: s.stream.Service, Host: s.stream.Host,
			Path: r.plan.Directory + "/" + r.plan.FileName(s.stream.StreamID), Door: s.report.Door,
			Size: s.stored.Bytes, SHA256: s.stored.SHA256, Objects: s.stored.Objects,
		})
	}
	slices.SortFunc(m.Streams, func(a, b backup.ManifestStream) int {
		if a.VolumeID != b.VolumeID {
			return a.VolumeID - b.VolumeID
		}
		return a.PartID - b.PartID
	})
	return m
}

// writeObject stores a small object, all or nothing.
func writeObject(ctx context.Context, store backup.Store, key string, text []byte, cleanTimeout time.Duration) error {
	upload, err := store.Begin(ctx, key, backup.UploadOptions{EstimatedSize: int64(len(text)), AtHand: true, Patient: true})
	if err != nil {
		return fmt.Errorf("write %s: %w", key, err)
	}
	_, err = upload.Consume(ctx, bytes.NewReader(text))
	if err == nil {
		err = upload.Commit(ctx)
	}
	if err != nil {
		clean, cancel := cleanContext(ctx, cleanTimeout)
		defer cancel()
		return fmt.Errorf("write %s: %w", key, errors.Join(err, upload.Abort(clean)))
	}
	return nil
}
