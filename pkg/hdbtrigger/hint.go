package hdbtrigger

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"slices"
	"syscall"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// hint says what to do about one code of HANA.
type hint struct {
	code int
	text string
}

// innerHints belong to codes in brackets; they know more than the outer code.
// The codes are from real texts (vendor guides, SAP KBAs, a backup.log); what
// the two file codes mean for pipes is inferred from Linux.
func innerHints() []hint {
	return []hint{
		{2000004, "HANA could not open a backup file: rc=13 means that the pipe's owner or mode is wrong, rc=22 that this HANA insists on O_DIRECT, which pipes refuse, rc=28 that the volume is full."},
		{2000008, "HANA could not go on writing: rc=32 means that the reader of a pipe went away, so look for the first failed stream of this job; rc=28 means that HANA wrote to a full volume instead of a pipe."},
		{110203, "HANA could write only a part of its data: the reader of a pipe went away, so look for the first failed stream of this job."},
		{110507, "HANA ran a Backint agent, which failed: look at backint.log, and check that the backup was meant to go to files."},
		{111004, "The log backups overlap: several systems wrote into one log backup path; choose a backup id and paths explicitly."},
		{111014, "The backup that was named cannot be used for recovery: check that it is the right backup of the right system, and its catalog."},
		{1000002, "HANA ran out of memory for its backup buffers: free memory or lower global.ini [backup] data_backup_buffer_size."},
		{8022830, "HANA could not handle its backup catalog: check the catalog's path for space and rights, then look at backup.log."},
		{301102, "HANA could not send its root keys to the secondary site: keep the secondary online, or unregister it before the recovery."},
		{301153, "HANA could not send its root keys to the secondary site: keep the secondary online, or unregister it before the recovery."},
	}
}

// outerHints belong to the code of the error itself. Sources: SAP's texts as
// vendor guides show them; 257, 259, 362 and 414 from memory of the SQL
// reference.
func outerHints() []hint {
	return []hint{
		{codeAuthentication, "User or password is wrong: correct the password file, which is read again at the next attempt; do not try by hand too often, or HANA locks the user."},
		{codeSyntax, "HANA does not know this form of the statement: report its version together with the text."},
		{codePrivilege, "The user lacks a privilege: DATABASE BACKUP OPERATOR (SYSTEMDB: BACKUP OPERATOR) and CATALOG READ for backups, and DATABASE RECOVERY OPERATOR, DATABASE STOP and DATABASE START for restores."},
		{codeTable, "A system view is missing or not visible: check that the port is SYSTEMDB's (3<instance>13) and that the user has CATALOG READ."},
		{codeSchema, "A schema is missing or not visible: check that the port is SYSTEMDB's (3<instance>13) and that the user has CATALOG READ."},
		{codeForcedChange, "HANA wants this user to change its password first: log in once by hand, or create the user with NO FORCE_FIRST_PASSWORD_CHANGE and DISABLE PASSWORD LIFETIME."},
		{codeLocked, "The user is locked after failed logins: correct the password file, then ALTER USER <user> RESET CONNECT ATTEMPTS in SYSTEMDB."},
		{codeBackup, "The backup failed in HANA: look at the failed streams of this job first, then at backup.log of the database for HANA's own cause."},
		{codeRecovery, "The recovery failed in HANA and the tenant is down: look at the streams of this job, then at backup.log of the database; a recovery may simply be started again."},
		{codeStrategy, "HANA found no way to recover before it touched any data: catalog and backups do not fit together; check backup id, paths and system."},
	}
}

// Hint gives one sentence for whoever has to act on err, or "" when there is
// nothing to add to it.
func Hint(err error) string {
	if hana, found := errors.AsType[*backup.HANAError](err); found {
		return hanaHint(hana)
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		// hdbsql shows this as -10709 "Connection refused".
		return "Nothing listens at SYSTEMDB's SQL port: HANA is down or still starting, the port is wrong (3<instance>13), or this is a secondary site, where refused connections are normal."
	}
	if _, found := errors.AsType[x509.UnknownAuthorityError](err); found {
		return "HANA's certificate is not signed by an authority that is trusted here: set the root CA file."
	}
	if _, found := errors.AsType[x509.HostnameError](err); found {
		return "HANA's certificate is for another name: set the TLS server name to one that it carries."
	}
	if _, found := errors.AsType[tls.RecordHeaderError](err); found {
		return "The server does not speak TLS on this port: check the port, or switch TLS off."
	}
	return ""
}

func hanaHint(err *backup.HANAError) string {
	inner := innerHints()
	for _, code := range err.Inner {
		if i := slices.IndexFunc(inner, func(h hint) bool { return h.code == code }); i >= 0 {
			return inner[i].text
		}
	}
	outer := outerHints()
	if i := slices.IndexFunc(outer, func(h hint) bool { return h.code == err.Code }); i >= 0 {
		return outer[i].text
	}
	return ""
}
