package job

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v5"
	"golang.org/x/sync/errgroup"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// errStillRunning makes a poll of the catalog go on.
var errStillRunning = errors.New("the catalog says that the backup is still running")

// pollCatalog asks for the entry of plan until it has ended. It gives up when
// the catalog could not be asked for patience; a backup that runs on keeps it
// patient when whileRunning is set.
func (r *backupRun) pollCatalog(ctx context.Context, patience time.Duration, whileRunning bool) (backup.CatalogEntry, error) {
	lastWord := time.Now()
	ask := func() (backup.CatalogEntry, error) {
		attempt, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		entry, err := r.parts.Trigger.Entry(attempt, r.plan)
		if err == nil && whileRunning {
			lastWord = time.Now()
		}
		if err == nil && (entry.State == backup.CatalogRunning || entry.State == backup.CatalogCancelPending) {
			err = errStillRunning
		}
		if err != nil && time.Since(lastWord) > patience {
			err = backoff.Permanent(err)
		}
		return entry, err
	}
	policy := backoff.NewExponentialBackOff()
	policy.InitialInterval, policy.MaxInterval = 20*time.Millisecond, 5*time.Second
	return backoff.Retry(ctx, ask, backoff.WithBackOff(policy), backoff.WithMaxElapsedTime(0))
}

// askCatalog finds out how a backup ended whose answer got lost.
func (r *backupRun) askCatalog(ctx context.Context, lost error) *Error {
	entry, err := r.pollCatalog(ctx, r.config.AnswerTimeout, true)
	switch {
	case ctx.Err() != nil:
		return newError(StageTrigger, CodeAnswerUnknown, context.Cause(ctx))
	case err != nil:
		return newError(StageTrigger, CodeAnswerUnknown, fmt.Errorf("%w; then the catalog: %w", lost, err))
	case entry.State != backup.CatalogSuccessful:
		return newError(StageTrigger, CodeCatalog, fmt.Errorf("the catalog calls backup %d %s: %s", entry.BackupID, entry.State, entry.Message))
	}
	return nil
}

// awaitEntry reads the final catalog entry. After a failure it only has to
// tell whether HANA believes in the backup, so it does not outlive its time.
func (r *backupRun) awaitEntry(ctx context.Context, failed bool) (backup.CatalogEntry, error) {
	clean, cancel := cleanContext(ctx, 2*r.config.AnswerTimeout)
	defer cancel()
	if !failed {
		return r.pollCatalog(clean, r.config.AnswerTimeout, false)
	}
	entry, err := r.pollCatalog(clean, min(r.config.AnswerTimeout, 5*time.Second), true)
	if err != nil {
		return entry, fmt.Errorf("ask the catalog: %w", err)
	}
	return entry, nil
}

// commit makes the objects visible and writes the manifest, in this order. It
// is not cancelled by a request to stop: the backup is good, only its record
// is missing. On error nothing stays visible once clean has run.
func (r *backupRun) commit(ctx context.Context, e evidence) *Error {
	r.job.update(func(record *Record) { record.Stage = StageCommit })
	ctx, cancel := cleanContext(ctx, r.config.CommitTimeout)
	defer cancel()
	manifest := r.manifest(e)
	text, err := manifest.Encode()
	if err != nil {
		return newError(StageCommit, CodeManifest, err)
	}
	group, groupContext := errgroup.WithContext(ctx)
	for _, t := range r.uploads {
		group.Go(func() error {
			if err := t.upload.Commit(groupContext); err != nil {
				return streamError(StageCommit, t.stream.StreamID, CodeCommit, err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return newError(StageCommit, CodeCommit, err)
	}
	key := backup.ManifestKey(manifest.SID, manifest.Database, manifest.BackupID)
	if err := writeObject(ctx, r.parts.Store, key, text, r.config.CleanTimeout); err != nil {
		return newError(StageCommit, CodeManifest, err)
	}
	r.job.update(func(record *Record) { record.Manifest = key })
	return nil
}

func (r *backupRun) manifest(e evidence) *backup.Manifest {
	m := &backup.Manifest{
		Version: backup.ManifestVersion, Tool: r.config.Tool, JobID: r.plan.JobID,
		SID: r.plan.SID, Database: r.plan.Database, Kind: r.plan.Kind, BackupID: e.entry.BackupID,
		Directory: r.plan.Directory, Prefix: r.plan.Prefix, HANAVersion: r.plan.HANAVersion,
		StartedAt: r.job.snapshot().StartedAt, FinishedAt: time.Now().UTC(), Catalog: *e.entry,
	}
	for i := range e.streams {
		s := &e.streams[i]
		m.Streams = append(m.Streams, backup.ManifestStream{
			StreamID: s.stream.StreamID, Service: s.stream.Service, Host: s.stream.Host,
			Path: r.plan.Directory + "/" + r.plan.FileName(s.stream.StreamID),
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
	upload, err := store.Begin(ctx, key, backup.UploadOptions{EstimatedSize: int64(len(text))})
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
