package doctor

import (
	"fmt"
	"slices"
)

// Severity says what a finding means for a backup.
type Severity string

// The severities.
const (
	OK Severity = "ok"
	// Warning means that backups work and something else does not, or that it
	// could not be found out.
	Warning Severity = "warning"
	// Error means that some backup, or what the configuration promises, fails.
	Error Severity = "error"
)

// Finding is the answer to one check.
type Finding struct {
	Check string `json:"check"`
	// Database is set when the check is about one.
	Database string   `json:"database,omitempty"`
	Severity Severity `json:"severity"`
	Message  string   `json:"message"`
	// Hint says what to do, empty when that is nothing.
	Hint string `json:"hint,omitempty"`
}

// The checks.
const (
	CheckConfiguration = "configuration"
	CheckHANA          = "hana"
	CheckTLS           = "hana-tls"
	CheckHANAClock     = "hana-clock"

	CheckBackupPrivileges  = "privileges-backup"
	CheckRestorePrivileges = "privileges-restore"
	CheckDeletePrivileges  = "privileges-catalog-delete"

	CheckOnline     = "database-online"
	CheckRole       = "system-replication"
	CheckLogMode    = "log-mode"
	CheckAutoLog    = "auto-log-backup"
	CheckLogTimeout = "log-backup-timeout"
	CheckLogBackup  = "log-backup"
	CheckLogPath    = "log-backup-path"
	CheckCatalog    = "catalog-backup-path"
	CheckLogs       = "log-directory"
	CheckChunkSize  = "chunk-size"
	CheckRunning    = "data-backup-running"
	CheckBase       = "complete-backup"
	CheckHistory    = "history"

	CheckDirectory  = "directory"
	CheckMode       = "directory-mode"
	CheckPipes      = "directory-pipes"
	CheckFileSystem = "directory-file-system"
	CheckSpace      = "directory-space"
	CheckOwner      = "spool-owner"
	CheckInotify    = "inotify"
	CheckPipeLimits = "pipe-limits"
	CheckProtected  = "protected-fifos"

	CheckState      = "state-directory"
	CheckMemory     = "memory"
	CheckStore      = "store"
	CheckStoreClock = "store-clock"
	CheckDoor       = "door"
)

// Count gives how many findings have a severity.
func Count(findings []Finding, severity Severity) int {
	return len(slices.DeleteFunc(slices.Clone(findings), func(f Finding) bool { return f.Severity != severity }))
}

// report collects findings, of one database when that is set.
type report struct {
	database string
	findings []Finding
}

func (r *report) add(check string, severity Severity, hint, format string, args ...any) {
	r.findings = append(r.findings, Finding{Check: check, Database: r.database, Severity: severity, Message: fmt.Sprintf(format, args...), Hint: hint})
}

func (r *report) ok(check, format string, args ...any) { r.add(check, OK, "", format, args...) }
