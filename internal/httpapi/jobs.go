package httpapi

import (
	"context"

	"github.com/pipestreamer/pipestreamer/internal/job"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// Jobs is what stands behind the counter; job.Conductor is one.
type Jobs interface {
	Starter
	Registry
	Archive
	// Ready returns why no job could be taken now, or nil.
	Ready(ctx context.Context) error
}

// Starter takes requests. Each returns the record of the accepted job, of the
// earlier job when the idempotency key was used for the same request before,
// or *job.FieldError, *job.BusyError, *job.ConflictError, job.ErrDraining,
// job.ErrHANAStarting.
type Starter interface {
	StartBackup(ctx context.Context, r job.BackupRequest, idempotencyKey string) (job.Record, error)
	StartRestore(ctx context.Context, r job.RestoreRequest, idempotencyKey string) (job.Record, error)
	StartVerification(ctx context.Context, r job.VerificationRequest, idempotencyKey string) (job.Record, error)
	StartProbe(ctx context.Context, r job.ProbeRequest, idempotencyKey string) (job.Record, error)
}

// Registry knows the jobs.
type Registry interface {
	// Jobs returns the known jobs, newest first.
	Jobs() []job.Record
	// Job returns one, or job.ErrUnknownJob.
	Job(id string) (job.Record, error)
	// Cancel asks a job to end: job.ErrUnknownJob, job.ErrFinished,
	// job.ErrSuspended.
	Cancel(id string) error
	// Subscribe returns the current record, then newer ones. A slow reader
	// misses some, never the last, after which the channel is closed. The
	// function ends the subscription.
	Subscribe(id string) (<-chan job.Record, func(), error)
	// SubscribeAll returns the current records of the running jobs, then newer
	// ones of any job. A slow reader misses some, never the last of a job. The
	// function ends the subscription.
	SubscribeAll() (<-chan []job.Record, func())
}

// Archive knows the backups.
type Archive interface {
	// Backups lists the backups; an empty database means all.
	Backups(ctx context.Context, database string) (job.BackupList, error)
	// Backup returns one by its id in decimal or "latest", or
	// backup.ErrNotFound.
	Backup(ctx context.Context, database, id string) (*backup.Manifest, error)
	// Recovery says to which points a database can be restored.
	Recovery(ctx context.Context, database string) (job.Recovery, error)
}
