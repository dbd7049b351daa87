package job

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
	"github.com/pipestreamer/pipestreamer/pkg/verify"
)

// StartVerification admits a verification of one backup. Errors are as for
// StartBackup.
func (c *Conductor) StartVerification(ctx context.Context, r VerificationRequest, key string) (Record, error) {
	database, err := backup.ParseDatabase(r.Database)
	if err != nil {
		return Record{}, &FieldError{Field: "database", Err: err}
	}
	if _, err := parseBackupID(r.Backup); err != nil {
		return Record{}, err
	}
	if r.Sample < 0 {
		return Record{}, &FieldError{Field: "sample", Err: fmt.Errorf("%d: expected 0 for all bytes, or a number of parts", r.Sample)}
	}
	if err := c.checkBackup(ctx, database, r.Backup, key); err != nil {
		return Record{}, err
	}
	record := Record{Action: ActionVerification, Database: database, IdempotencyKey: key, RequestedBy: r.RequestedBy}
	request := fmt.Sprintf("%s %s %s %d", record.Action, database, r.Backup, r.Sample)
	return c.start(record, request, func(ctx context.Context, j *live) verdict { return c.verify(ctx, j, r) }) //nolint:contextcheck // a job outlives the request that asked for it
}

// checkBackup refuses a verification of a backup that the store does not have:
// that is a mistake of whoever asks, and no backup has failed it. A store that does
// not answer at once proves nothing.
func (c *Conductor) checkBackup(ctx context.Context, database, id, key string) error {
	c.mu.Lock()
	_, repeated := c.keys[key]
	c.mu.Unlock()
	if repeated && key != "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, existsTimeout)
	defer cancel()
	if _, err := ReadManifest(ctx, c.parts.Store, c.config.SID, database, id); errors.Is(err, backup.ErrNotFound) {
		return fmt.Errorf("backup %s of %s: %w", id, database, err)
	}
	return nil
}

// verify reads a backup back and fails with the findings, if there are any.
func (c *Conductor) verify(ctx context.Context, j *live, r VerificationRequest) verdict {
	manifest, err := ReadManifest(ctx, c.parts.Store, c.config.SID, j.snapshot().Database, r.Backup)
	if err != nil {
		return verdictOf(newError(StagePlan, manifestCode(err), causeOf(ctx, err)))
	}
	plan := manifest.Plan(j.snapshot().ID, c.config.Directory)
	for i := range manifest.Streams { // what is read is what is stored
		plan.Streams[i].EstimatedSize = manifest.Streams[i].StoredSize()
	}
	counters := j.follow(plan.Streams)
	index := make(map[backup.StreamID]*counter, len(counters))
	for i, s := range plan.Streams {
		index[s.StreamID] = counters[i]
	}
	j.update(func(record *Record) {
		record.Stage, record.Kind, record.BackupID, record.Prefix = StageStream, manifest.Kind, manifest.BackupID, manifest.Prefix
		record.Objects = objectsIn(manifest)
		record.Manifest = backup.ManifestKey(manifest.SID, manifest.Database, manifest.BackupID)
	})
	var undecoded atomic.Bool
	findings, err := verify.Run(ctx, c.parts.Store, manifest, verify.Options{
		Sample: r.Sample, Streams: c.parts.Store, Undecoded: func(backup.StreamID) { undecoded.Store(true) },
		Progress: func(id backup.StreamID, n int64) {
			index[id].bytes.Add(n)
			index[id].stored.Add(n)
		},
	})
	if err != nil {
		return verdictOf(newError(StageStream, CodeStoreUnusable, causeOf(ctx, err)))
	}
	if undecoded.Load() {
		j.warn("streams are encrypted and encryption.identityFile has no identity for them: they were checked as they are stored, and not decrypted")
	}
	for _, counter := range counters {
		counter.done.Store(true)
	}
	j.update(func(record *Record) {
		record.Findings = findings
		if len(findings) == 0 {
			record.Proven = proofOf(manifest, r.Sample)
		}
	})
	if len(findings) > 0 {
		return verdict{state: StateFailed, cause: newError(StageStream, CodeFindings,
			fmt.Errorf("findings: %d, the first: %s", len(findings), findings[0].Message))}
	}
	return verdict{state: StateSucceeded}
}

// proofOf says by what a manifest is compared.
func proofOf(m *backup.Manifest, sample int) Proof {
	switch {
	case sample > 0:
		return ProofSample
	case slices.ContainsFunc(m.Streams, func(s backup.ManifestStream) bool { return s.SHA256 == "" }):
		return ProofCRC64
	default:
		return ProofSHA256
	}
}
