package job

import (
	"strconv"
	"time"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
	"github.com/pipestreamer/pipestreamer/pkg/spool"
	"github.com/pipestreamer/pipestreamer/pkg/verify"
)

// Action is what a job does.
type Action string

// The actions that can be asked for.
const (
	ActionBackup       Action = "backup"
	ActionRestore      Action = "restore"
	ActionVerification Action = "verification"
	// ActionPlan is a restore that is only planned.
	ActionPlan Action = "plan"
	// ActionProbe is a complete backup that reports what this HANA does.
	ActionProbe Action = "probe"
)

// exclusive says whether the action needs its database for itself. Reading a
// backup back does not, nor does planning.
func (a Action) exclusive() bool { return a.backsUp() || a == ActionRestore }

// backsUp says whether HANA is told to make a data backup.
func (a Action) backsUp() bool { return a == ActionBackup || a == ActionProbe }

// State is where a job stands. All but StateRunning are terminal.
type State string

// The states of a job.
const (
	// StateRunning is set from acceptance to the end.
	StateRunning State = "running"
	// StateSucceeded means that everything that was asked for is done and
	// proven.
	StateSucceeded State = "succeeded"
	// StateFailed means that nothing usable came of it, and nothing is left.
	StateFailed State = "failed"
	// StateCanceled is StateFailed by somebody's wish.
	StateCanceled State = "canceled"
	// StateLost means that HANA's catalog has a successful backup that the
	// store does not have.
	StateLost State = "lost"
)

// Terminal reports whether a job in this state has ended.
func (s State) Terminal() bool { return s != StateRunning }

// Stage is the step of a job; a failure names the stage that it happened in.
type Stage string

// The stages of a backup, in order; a restore and a verification use some.
const (
	StagePlan    Stage = "plan"
	StageArm     Stage = "arm"
	StageTrigger Stage = "trigger"
	StageStream  Stage = "stream"
	StageSettle  Stage = "settle"
	StageCommit  Stage = "commit"
	StageClean   Stage = "clean"
	StageDone    Stage = "done"
)

// Proof says what a verification has compared.
type Proof string

// The proofs. With the first every byte matches the SHA-256 of the manifest, with
// the second, where the manifest has none of some stream, the CRC-64 of each part.
// The last is that of some parts only.
const (
	ProofSHA256 Proof = "sha256"
	ProofCRC64  Proof = "crc64nvme"
	ProofSample Proof = "sample"
)

// StageBegin is when a job came to a stage.
type StageBegin struct {
	Stage Stage
	At    time.Time
}

// Record is the public account of one job, as the API shows it and the journal
// keeps it.
type Record struct {
	ID       string      `json:"job_id"`
	Action   Action      `json:"action"`
	State    State       `json:"state"`
	Stage    Stage       `json:"stage"`
	SID      string      `json:"sid,omitempty"`
	Database string      `json:"database"`
	Kind     backup.Kind `json:"kind,omitempty"`
	BackupID int64       `json:"backup_id,omitempty"`
	// BaseID is the backup on which a delta builds.
	BaseID     int64      `json:"base_id,omitempty"`
	Prefix     string     `json:"prefix,omitempty"`
	StartedAt  time.Time  `json:"started_at"`
	FinishedAt time.Time  `json:"finished_at,omitzero"`
	Streams    []Progress `json:"streams,omitempty"`
	// OutcomeUnknown says of a failed backup that HANA's catalog could not be
	// asked: HANA may take it for a good one.
	OutcomeUnknown bool `json:"outcome_unknown,omitempty"`
	// Suspended says of a job that runs that this process does no more for it: how
	// it ended is for the next one to find out.
	Suspended bool `json:"suspended,omitempty"`
	// Manifest is the key of the manifest that a backup wrote or that a
	// restore or verification read.
	Manifest string `json:"manifest,omitempty"`
	// Source is the database whose backups a restore uses, when it is another.
	Source string `json:"source,omitempty"`
	// Plan is what a restore uses.
	Plan *RestorePlan `json:"plan,omitempty"`
	// Command is what the operator has to run in HANA's container, for a
	// restore of SYSTEMDB.
	Command string `json:"command,omitempty"`
	// TenantStopped says that a restore has stopped its tenant and could not
	// bring it back: it is not usable until a restore succeeds.
	TenantStopped bool `json:"tenant_stopped,omitempty"`
	// Attempt is 2 once a backup is made again through files, because HANA
	// refused the pipes.
	Attempt int `json:"attempt,omitempty"`
	// Probe is what a probe was asked for and has seen.
	Probe *ProbeReport `json:"probe,omitempty"`
	// Warnings are what this HANA did otherwise than expected.
	Warnings []string `json:"warnings,omitempty"`
	// Spooled are the files on the volume that the store has and that are still
	// to be removed.
	Spooled []spool.File `json:"spooled,omitempty"`
	// Error is the first cause of a job that did not succeed.
	Error *Error `json:"error,omitempty"`
	// Consequences are what followed from the first cause.
	Consequences []string         `json:"consequences,omitempty"`
	Findings     []verify.Finding `json:"findings,omitempty"`
	// Proven is by what a verification that succeeded has compared what it read.
	Proven Proof `json:"proven,omitempty"`
	// History is what happened, in order.
	History []Event `json:"history,omitempty"`
	// Objects is how many objects of data the store has of it, or has given; it is
	// for the log and does not travel.
	Objects int `json:"-"`
	// Stages say when each stage began after the first one; they are for traces and
	// do not travel.
	Stages []StageBegin `json:"-"`
	// IdempotencyKey is the key that the request came with.
	IdempotencyKey string `json:"idempotency_key,omitempty"`
	// RequestedBy is who asked for the job first, as the interface knows its callers.
	// It is empty for jobs of versions that did not note it.
	RequestedBy string `json:"requested_by,omitempty"`
}

// Progress is how far one stream is.
type Progress struct {
	backup.Stream
	// Bytes have passed between HANA and us.
	Bytes int64 `json:"bytes"`
	// Stored bytes are acknowledged by the store (backup), or were read from
	// it and matched their checksum (restore, verification).
	Stored int64 `json:"stored"`
	// Written bytes are in a file of HANA that is not read yet.
	Written int64 `json:"written,omitempty"`
	// Path is the name that HANA opened, and Door what stood there.
	Path string `json:"path,omitempty"`
	Door string `json:"door,omitempty"`
	Done bool   `json:"done"`
	// Waits is where the time went.
	Waits Waits `json:"waits"`
	// WaitingFor is who the stream waits for now: hana, store, or pipestreamer
	// while it works; empty before and after.
	WaitingFor Side `json:"waiting_for,omitempty"`
	// Stalled says that nothing has moved for timeouts.stall.
	Stalled bool `json:"stalled,omitempty"`
	// StoreError is what the store answered last while it is asked again.
	StoreError string `json:"store_error,omitempty"`
	// StoreErrorSince is when that began, and StoreErrorUntil about when the store is
	// given up at the latest: refused credentials are sooner.
	StoreErrorSince time.Time `json:"store_error_since,omitzero"`
	StoreErrorUntil time.Time `json:"store_error_until,omitzero"`
}

// Error is the first cause of a job's failure.
type Error struct {
	// At is when it was noticed.
	At    time.Time `json:"at,omitzero"`
	Stage Stage     `json:"stage"`
	// Stream is "<volume>_<part>", empty when the cause lies in no stream.
	Stream string `json:"stream,omitempty"`
	// Code is stable and listed in docs/errors.md.
	Code string `json:"code"`
	// HANACode and HANAInner are HANA's own codes, when it reported any.
	HANACode  int    `json:"hana_code,omitempty"`
	HANAInner []int  `json:"hana_inner,omitempty"`
	Message   string `json:"message"`
	// Hint says what to do.
	Hint string `json:"hint,omitempty"`
	// Err is the error itself, for errors.Is; it does not travel.
	Err error `json:"-"`
}

// Error gives stage, stream and message.
func (e *Error) Error() string {
	switch {
	case e.Stream == "":
		return string(e.Stage) + ": " + e.Message
	case e.Stage == StageStream:
		return "stream " + e.Stream + ": " + e.Message
	default:
		return string(e.Stage) + ", stream " + e.Stream + ": " + e.Message
	}
}

// Unwrap gives the error behind it.
func (e *Error) Unwrap() error { return e.Err }

// BackupLogID is how HANA's backup.log writes a backup id: in hex. Lines of one
// backup carry it (seen in log excerpts of several releases).
func BackupLogID(backupID int64) string {
	if backupID <= 0 {
		return ""
	}
	return strconv.FormatInt(backupID, 16)
}

// BackupRequest asks for a backup.
type BackupRequest struct {
	Database string      `json:"database"`
	Kind     backup.Kind `json:"kind,omitempty"`
	// Prefix is optional; by default it is made from database and time.
	Prefix string `json:"prefix,omitempty"`
	// RequestedBy is who asks, as the interface knows its callers. It does not travel
	// with the request, and does not count when requests are compared.
	RequestedBy string `json:"-"`
}

// RestoreRequest asks for a restore of one backup, or to a point in time.
type RestoreRequest struct {
	Database string `json:"database"`
	// Backup is the backup id of a data backup in decimal, or "latest" for the
	// newest one. No log is replayed.
	Backup string `json:"backup,omitempty"`
	// Until is a time in whole seconds, "latest" for the newest point that can be
	// reached, or a backup id. Either Backup or Until is set.
	Until string `json:"until,omitempty"`
	// ToDatabase is the tenant that is replaced, by default Database.
	ToDatabase string `json:"to_database,omitempty"`
	// DryRun plans only.
	DryRun bool `json:"dry_run,omitempty"`
	// RequestedBy is as in BackupRequest.
	RequestedBy string `json:"-"`
}

// VerificationRequest asks to read one backup back.
type VerificationRequest struct {
	Database string `json:"database"`
	// Backup is a backup id in decimal, or "latest".
	Backup string `json:"backup"`
	// Sample, when above 0, reads only that many parts of each object instead
	// of all its bytes.
	Sample int `json:"sample,omitempty"`
	// RequestedBy is as in BackupRequest.
	RequestedBy string `json:"-"`
}
