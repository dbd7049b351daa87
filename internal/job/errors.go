package job

import (
	"context"
	"errors"
	"fmt"
)

// Errors with which a request is refused.
var (
	// ErrDraining means that the daemon is shutting down; *DrainedError is one, too.
	ErrDraining = errors.New("the daemon is shutting down")
	// ErrHANAStarting means that HANA, which starts after the daemon, does not take
	// backups of the database yet; the same request may be granted later.
	ErrHANAStarting = errors.New("HANA may still be starting, as this daemon has just started, too")
	// ErrUnknownJob means that there is no job of that id.
	ErrUnknownJob = errors.New("no such job")
	// ErrFinished means that the job has already ended.
	ErrFinished = errors.New("the job has already ended")
	// ErrSuspended means that this process does no more for the job.
	ErrSuspended = errors.New("the job is left to the next daemon, which finds out how it ended")
)

// FieldError refuses a request because of one of its fields.
type FieldError struct {
	Field string
	Err   error
}

// Error names the field and what was expected.
func (e *FieldError) Error() string { return fmt.Sprintf("field %q: %v", e.Field, e.Err) }

// Unwrap gives the reason.
func (e *FieldError) Unwrap() error { return e.Err }

// BusyError refuses a request because another job works on the database.
type BusyError struct {
	Database string
	JobID    string
}

// Error names the job that is in the way.
func (e *BusyError) Error() string {
	return fmt.Sprintf("database %s is busy with job %s", e.Database, e.JobID)
}

// ConflictError refuses a request whose idempotency key was used for another.
type ConflictError struct {
	Key   string
	JobID string
}

// Error names the job that holds the key.
func (e *ConflictError) Error() string {
	return "idempotency key was already used for a different request by job " + e.JobID
}

// causeOf prefers the reason for which ctx ended over what it made fail.
func causeOf(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}
