package job

import (
	"context"
	"errors"
	"time"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
	"github.com/pipestreamer/pipestreamer/pkg/hdbtrigger"
)

// The codes of [Error]. They are stable; docs/errors.md lists them and a test
// keeps that list in step.
const (
	CodeCanceled         = "canceled"
	CodeInterrupted      = "interrupted"
	CodePlan             = "plan_refused"
	CodeNotPrimary       = "not_primary"
	CodeBackupRunning    = "backup_running"
	CodeWrongSystem      = "wrong_system"
	CodePrefixUsed       = "prefix_used"
	CodeHANA             = "hana_error"
	CodeUnreachable      = "hana_unreachable"
	CodeAnswerUnknown    = "hana_answer_unknown"
	CodePipe             = "pipe_failed"
	CodeIntrusion        = "pipe_bypassed"
	CodeUnopened         = "stream_unopened"
	CodeUnfinished       = "stream_unfinished"
	CodeIdle             = "hana_idle"
	CodeStream           = "stream_mismatch"
	CodeHeader           = "header_mismatch"
	CodeCatalogMissing   = "catalog_missing"
	CodeCatalog          = "catalog_mismatch"
	CodeStoreUnusable    = "store_unusable"
	CodeMemory           = "memory_exhausted"
	CodeLeftover         = "leftover"
	CodePipesLeft        = "pipes_left"
	CodeDirect           = "direct_refused"
	CodeUnsure           = "leftover_unsure"
	CodeUpload           = "upload_failed"
	CodeCommit           = "commit_failed"
	CodeManifest         = "manifest_unusable"
	CodeUnwritten        = "manifest_unwritten"
	CodeObject           = "object_unusable"
	CodeIdentity         = "identity_missing"
	CodeUnread           = "stream_unread"
	CodePointMissed      = "point_missed"
	CodePointUnreachable = "point_unreachable"
	CodeRoom             = "no_room"
	CodeStaging          = "staging_failed"
	CodeBaseMissing      = "base_missing"
	CodeBaseForeign      = "base_foreign"
	CodeFindings         = "findings"
	CodeState            = "state_unwritable"
)

// CodeInfo explains one code to an operator.
type CodeInfo struct {
	Code    string
	Meaning string
	Reason  string
	Action  string
}

// Codes lists every code with what it means, why it usually happens and what
// to do. The action of a code is the hint of its errors.
func Codes() []CodeInfo {
	return []CodeInfo{
		{CodeCanceled, "The job was cancelled.", "Somebody asked for it, or the daemon was shut down.", "Start the job again when it is wanted."},
		{CodeInterrupted, "The daemon ended while the job ran.", "The container was killed or restarted.", "Start a new backup; nothing of this one can be used."},
		{CodePlan, "HANA did not allow the backup to be planned.", "The database is stopped or unknown, a privilege is missing, or HANA is not reachable.", "Do what the message asks for: correct the name of the database, start it, or grant the privilege. pipestreamer doctor --database NAME tells what is missing."},
		{CodeNotPrimary, "This system is the secondary site of a system replication.", "A takeover happened, or the job was sent to the wrong site.", "Send the request to the primary site."},
		{CodeBackupRunning, "HANA already runs a data backup of this database.", "Another tool or an operator started one.", "Wait until it has ended; HANA allows one at a time. An entry that a crash of HANA left running in M_BACKUP_CATALOG has to be removed there (BACKUP CANCEL, BACKUP CATALOG DELETE)."},
		{CodeWrongSystem, "The system that answers is not the one in the configuration.", "hana.host or hana.sid is wrong.", "Compare hana.sid with the system behind hana.host."},
		{CodePrefixUsed, "The store already holds objects under this prefix.", "The prefix was used before; objects are never overwritten.", "Leave the prefix out, or choose another."},
		{CodeUnreachable, "A statement could not be sent to HANA.", "HANA is down, the port or the password is wrong, or the user is locked.", "Look at the message; nothing was started in HANA."},
		{CodeLeftover, "Something of a failed backup stays in the store.", "The store failed while it was cleaned up.", "Remove the named objects by hand; no manifest names them."},
		{CodeUnsure, "Something of an interrupted backup stays in the store, and a manifest may name it.", "The store could not be asked for long enough to find out.", "Do not remove it by hand: look with pipestreamer list whether the backup exists, and verify it."},
		{CodeHANA, "HANA reported an error.", "See HANA's codes and text in the message; details are in its backup.log.", "Look at backup.log of the database for the codes in the message."},
		{CodeAnswerUnknown, "The connection was lost and HANA's catalog could not be asked.", "The database or the network went away during the backup.", "Look at M_BACKUP_CATALOG, then start a new backup."},
		{CodePipe, "A pipe could not be made or read.", "The backup directory is missing, read-only, sticky, or holds files of that name.", "Check the backup directory: same path in both containers, writable, not sticky."},
		{CodePipesLeft, "Pipes of an earlier process could not be removed.", "The backup directory is read-only or belongs to somebody else now.", "Remove the named pipes by hand; nobody is blocked on them."},
		{CodeDirect, "HANA opens its backup files with O_DIRECT, which a pipe refuses.", "This HANA does so on this file system, and does not try again without.", "Pipes cannot be used with this HANA and directory: try another file system for backupDirectory, and report the HANA version."},
		{CodeIntrusion, "HANA wrote past a pipe, or something replaced one.", "This HANA writes regular files (O_DIRECT with rename), has more volumes than planned, or somebody touched the directory.", "Look at the named file; do not run other tools in the backup directory."},
		{CodeUnopened, "HANA never wrote to a stream that it was expected to write.", "A service was stopped between planning and backup, or HANA wrote elsewhere.", "Compare M_VOLUMES with the planned streams and start the backup again."},
		{CodeUnfinished, "HANA says that it is done, but a stream has no end.", "Some process still holds the pipe open.", "Look for processes in HANA's container that have the pipe open."},
		{CodeIdle, "HANA has stopped writing and has not answered.", "A savepoint or lock in HANA blocks it, a service hangs, or its disk does.", "Look at M_BACKUP_PROGRESS, M_JOB_PROGRESS and the service's trace; raise timeouts.idle if HANA needs longer."},
		{CodeStream, "What a stream saw is not what a complete backup looks like.", "HANA died, opened a file twice, or closed it early.", "Look at HANA's trace at that time and start the backup again."},
		{CodeHeader, "A stream does not begin with the header of this backup.", "Another process wrote into the pipe, or this HANA writes another header.", "Keep the job record and report it with the HANA version."},
		{CodeCatalogMissing, "HANA's backup catalog has no entry for this job.", "The backup never started, or the catalog cannot be read (CATALOG READ).", "Check the privileges of the backup user and M_BACKUP_CATALOG."},
		{CodeCatalog, "HANA's backup catalog and the streams disagree.", "A file is missing, extra, or of another size; or HANA marks the backup as not successful.", "Do not use this backup; start a new one."},
		{CodeStoreUnusable, "The store cannot be written, read or cleaned.", "Credentials, bucket, network or quota.", "Check the store's settings and rights with the message."},
		{CodeMemory, "The memory budget has no room for all streams of the backup.", "Other jobs use it, or it is too small for so many volumes.", "Wait for the other jobs, or raise memoryBudget."},
		{CodeUpload, "The store refused or lost the bytes of a stream.", "Credentials expired, quota, network, or a store that is away for longer than store.outageTolerance.", "Mend the store, then start a new backup."},
		{CodeCommit, "The objects could not be made visible and checked.", "The store failed at the last step.", "Start a new backup; HANA's catalog entry of this one cannot be restored."},
		{CodeUnwritten, "The manifest of a backup could not be written.", "The store failed at the very last step, or somebody else's object is at its key.", "Mend the store, then start a new backup; HANA's catalog entry of this one cannot be restored. Only if the job says that the manifest may exist, verify this backup first."},
		{CodeManifest, "A manifest is missing or cannot be used.", "Wrong backup id, or the object was changed.", "List the backups of the database and choose another."},
		{CodeObject, "An object of the backup is missing, short or altered.", "It was deleted, overwritten or damaged in the store.", "Run a verification and restore another backup."},
		{CodeIdentity, "The backup is encrypted, and no identity that decrypts it is at hand.", "encryption.identityFile is not set, is not there, or has the identities of others.", "Put the identity of one of the recipients into encryption.identityFile and start again."},
		{CodeUnread, "HANA did not read a stream to its end.", "RECOVER ended early, or does not need the file.", "Do not trust the restored database; look at HANA's backup.log."},
		{CodeBaseMissing, "The store does not have, whole, the backup on which HANA would build the delta.", "There is no complete backup yet, another tool made the last one, or objects were deleted.", "Make a complete backup."},
		{CodeBaseForeign, "The delta and the backup on which it should build are not of the same history of the database.", "The database was recovered, its log was interrupted (log_mode overwrite), or another tool made a backup meanwhile.", "Make a complete backup."},
		{CodePointMissed, "HANA has recovered, but not to the point that was asked for.", "It did not find, or did not take, a log backup; a recovery then stops early without an error (SAP KBA 3006027).", "Do not use the database; look at its backup.log for the log position that was reached, and restore again."},
		{CodePointUnreachable, "The point cannot be reached with what the store has.", "A backup, a log backup or an object is missing, or the point lies outside of the history.", "Choose a point that the message names, or look for the missing objects."},
		{CodeRoom, "The volume has no room for the files of the backup.", "This backup comes through files (a delta, a HANA that refuses pipes, or door: spool), and the volume was made for pipes.", "Make the volume of backupDirectory larger than the estimate plus a twentieth, or let files be freed while HANA writes them (spool.follow, spool.punch)."},
		{CodeStaging, "Log and catalog backups could not be laid out for HANA, or not be removed afterwards.", "The volume of backupDirectory is full or read-only.", "Make room in backupDirectory: a restore needs the size of its log backups there."},
		{CodeFindings, "The verification found differences.", "See the findings.", "With an error among them, treat this backup as unusable and make a new one; look at warnings."},
		{CodeState, "The daemon cannot write its own state.", "The volume of stateDirectory is full or read-only.", "Make room in stateDirectory."},
	}
}

// sideOf names the side on which a failure of this code happens.
func sideOf(code string) Side {
	switch code {
	case CodeStoreUnusable, CodeUpload, CodeCommit, CodeUnwritten, CodeManifest, CodeObject, CodeLeftover, CodeUnsure, CodePrefixUsed:
		return SideStore
	case CodeCanceled:
		return SideOperator
	case CodeInterrupted, CodePipe, CodePipesLeft, CodeMemory, CodeState, CodeFindings, CodeWrongSystem, CodeIdentity:
		return SideDaemon
	default:
		return SideHANA
	}
}

// hintFor gives the action of a code.
func hintFor(code string) string {
	for _, info := range Codes() {
		if info.Code == code {
			return info.Action
		}
	}
	return ""
}

// newError builds the error of one stage. What is known better from err (HANA
// answered, somebody cancelled) replaces code and hint.
func newError(stage Stage, code string, err error) *Error {
	if known, found := errors.AsType[*Error](err); found {
		return known
	}
	e := &Error{At: time.Now().UTC(), Stage: stage, Code: code, Message: err.Error(), Hint: hintFor(code), Err: err}
	hana, answered := errors.AsType[*backup.HANAError](err)
	if answered {
		e.HANACode, e.HANAInner = hana.Code, hana.Inner
	}
	if answered && !hdbtrigger.IsQuery(hana) { // a query that fails says nothing about the backup
		e.Code, e.Hint = CodeHANA, hintFor(CodeHANA)
	} else if better := codeOf(err); better != "" {
		e.Code, e.Hint = better, hintFor(better)
	}
	if hint := hdbtrigger.Hint(err); hint != "" {
		e.Hint = hint
	}
	return e
}

// codeOf is the code that err itself tells, or "".
func codeOf(err error) string {
	for _, known := range []struct {
		err  error
		code string
	}{
		{backup.ErrNotPrimary, CodeNotPrimary},
		{backup.ErrBusy, CodeBackupRunning},
		{backup.ErrWrongSystem, CodeWrongSystem},
		{backup.ErrNotSent, CodeUnreachable},
		{backup.ErrNoIdentity, CodeIdentity},
		{backup.ErrMemory, CodeMemory},
		{context.Canceled, CodeCanceled},
		{errCancelRequested, CodeCanceled},
		{ErrDraining, CodeCanceled},
	} {
		if errors.Is(err, known.err) {
			return known.code
		}
	}
	return ""
}

// streamError is newError for one stream.
func streamError(stage Stage, id backup.StreamID, code string, err error) *Error {
	e := *newError(stage, code, err)
	if e.Stream == "" && e.Code != CodeCanceled {
		e.Stream = id.String()
	}
	return &e
}
