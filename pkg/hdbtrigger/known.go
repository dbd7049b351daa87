package hdbtrigger

// Basis is how a code of HANA is known.
type Basis string

// The bases. HANA itself was never at hand.
const (
	// Seen stands in output of a real HANA: in vendors' guides, SAP KBAs, a
	// backup.log.
	Seen Basis = "seen"
	// Remembered is from memory of SAP's documentation, without a public
	// source.
	Remembered Basis = "remembered"
)

// KnownCode is an error code of HANA that this program can say something about.
type KnownCode struct {
	Code int
	// Inner codes stand in brackets within the text of an outer one.
	Inner bool
	// Text is what HANA says with it, as far as it is the same each time.
	Text  string
	Basis Basis
	// Hint says in one sentence what to do.
	Hint string
}

// KnownCodes lists the codes: the outer ones, then the inner ones.
func KnownCodes() []KnownCode { return append(outerCodes(), innerKnown()...) }

const (
	catalogReadHint = "check that the port is SYSTEMDB's (3<instance>13) and that the user has CATALOG READ."
	rootKeyHint     = "HANA could not send its root keys to the secondary site: keep the secondary online, or unregister it before the recovery."
)

func outerCodes() []KnownCode {
	return []KnownCode{
		{codeGeneral, false, "general error: …", Seen, "HANA's text says what is wrong; the trace of the service that answered says more."},
		{codeAuthentication, false, "authentication failed", Seen, "User or password is wrong: correct the password file, which is read again at the next attempt; do not try by hand too often, or HANA locks the user."},
		{codeSyntax, false, "sql syntax error: …", Remembered, "HANA does not know this form of the statement: report its version together with the text."},
		{codePrivilege, false, "insufficient privilege: …", Seen, "The user lacks a privilege: DATABASE BACKUP OPERATOR (SYSTEMDB: BACKUP OPERATOR) and CATALOG READ for backups, BACKUP ADMIN to delete catalog entries, and DATABASE RECOVERY OPERATOR, DATABASE STOP and DATABASE START for restores."},
		{codeTable, false, "invalid table name: …", Remembered, "A system view is missing or not visible: " + catalogReadHint},
		{codeSchema, false, "invalid schema name: …", Remembered, "A schema is missing or not visible: " + catalogReadHint},
		{codeForcedChange, false, "user is forced to change password", Remembered, "HANA wants this user to change its password first: log in once by hand, or create the user with NO FORCE_FIRST_PASSWORD_CHANGE and DISABLE PASSWORD LIFETIME."},
		{codeLocked, false, "user is locked; try again later: lock time is 1440 minutes…", Seen, "The user is locked after failed logins: correct the password file, then ALTER USER <user> RESET CONNECT ATTEMPTS in SYSTEMDB."},
		{codeBackup, false, "backup could not be completed: …", Seen, "The backup failed in HANA: look at the failed streams of this job first, then at backup.log of the database for HANA's own cause."},
		{codeRecovery, false, "recovery could not be completed: …", Seen, "The recovery failed in HANA and the tenant is down: look at the streams of this job, then at backup.log of the database; a recovery may simply be started again."},
		{codeStrategy, false, "recovery strategy could not be determined: …", Seen, "HANA found no way to recover before it touched any data: catalog and backups do not fit together; check backup id, paths and system."},
		{codeClientKey, false, "Invalid value for KEY (…)", Seen, "SAP's client did not find its hdbuserstore key; this program does not use one."},
		{codeClientConnect, false, "Connection failed (RTE:[89006] System call 'connect' failed, …)", Seen, refusedHint},
	}
}

// innerKnown are the inner codes. What the two file codes mean for pipes is
// inferred from Linux.
func innerKnown() []KnownCode {
	return []KnownCode{
		{2000004, true, "Cannot open file …", Seen, "HANA could not open a backup file: rc=13 means that the pipe's owner or mode is wrong, rc=22 that this HANA insists on O_DIRECT, which pipes refuse, rc=28 that the volume is full."},
		{2000008, true, "Error during asynchronous file transfer (io_getevents), rc=…", Seen, "HANA could not go on writing: rc=32 means that the reader of a pipe went away, so look for the first failed stream of this job; rc=28 means that HANA wrote to a full volume instead of a pipe, rc=2 that somebody removed the pipe under HANA."},
		{89006, true, "System call 'connect' failed, rc=…", Seen, refusedHint},
		{110088, true, "Error read…", Seen, "HANA could not read a backup file, or what it read is damaged: verify the backup, and look at the streams of this job."},
		{110203, true, "Not all data could be written: Expected … but transferred …", Seen, "HANA could write only a part of its data: the reader of a pipe went away, so look for the first failed stream of this job."},
		{110507, true, "Backint exited with exit code … instead of 0.", Seen, "HANA ran a Backint agent, which failed: look at backint.log, and check that the backup was meant to go to files."},
		{111004, true, "Ambiguous sequence of log backups, overlapping …", Seen, "The log backups overlap: several systems wrote into one log backup path; choose a backup id and paths explicitly."},
		{111014, true, "The backup with backup id '…' cannot be used for recovery", Seen, "The backup that was named cannot be used for recovery: check that it is the right backup of the right system, and its catalog."},
		{1000002, true, "Allocation failed; $size$=…", Seen, "HANA ran out of memory for its backup buffers: free memory or lower global.ini [backup] data_backup_buffer_size."},
		{8022830, true, "ltt::exception caught while operating on IDBackupCatalog", Seen, "HANA could not handle its backup catalog: check the catalog's path for space and rights, then look at backup.log."},
		{301102, true, "Sending root key to secondary failed: …", Seen, rootKeyHint},
		{301153, true, "Sending root key to secondary failed: …", Seen, rootKeyHint},
		{71000018, true, "ptime::PtimeException", Seen, "HANA failed at the end of a recovery, after it had read every byte (seen once): look at backup.log and the trace of the service."},
	}
}
