package doctor

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
	"github.com/pipestreamer/pipestreamer/pkg/hdbtrigger"
)

// The system privileges (SAP HANA administration guide).
const (
	backupAdmin      = "BACKUP ADMIN"
	backupOperator   = "BACKUP OPERATOR"
	catalogRead      = "CATALOG READ"
	databaseAdmin    = "DATABASE ADMIN"
	databaseBackup   = "DATABASE BACKUP OPERATOR"
	databaseBackups  = "DATABASE BACKUP ADMIN"
	databaseRecovery = "DATABASE RECOVERY OPERATOR"
	databaseStart    = "DATABASE START"
	databaseStop     = "DATABASE STOP"
)

// need is met by any of some privileges; the first is the least one.
type need []string

func (n need) met(privileges []string) bool {
	return slices.ContainsFunc(n, func(p string) bool { return slices.Contains(privileges, p) })
}

// hasDatabasePrivileges says whether a version knows DATABASE BACKUP OPERATOR and
// DATABASE RECOVERY OPERATOR, which came with 2.0 SPS05, revision 50 (documents
// of vendors). A version that cannot be read counts as a newer one.
func hasDatabasePrivileges(version string) bool {
	fields := strings.Split(version, ".")
	if len(fields) < 3 {
		return true
	}
	major, errMajor := strconv.Atoi(fields[0])
	revision, errRevision := strconv.Atoi(fields[2])
	return errMajor != nil || errRevision != nil || major > 2 || major == 2 && revision >= 50
}

// needs lists for the databases what backups, restores and the deletion of a
// catalog entry take. That of older versions is the set which vendors document
// for them.
func needs(databases []string, version string) (backups, restores, deletes []need) {
	system := slices.Contains(databases, backup.SystemDB)
	tenants := slices.ContainsFunc(databases, func(d string) bool { return d != backup.SystemDB })
	backups = append(backups, need{catalogRead})
	if system {
		backups = append(backups, need{backupOperator, backupAdmin})
		deletes = append(deletes, need{backupAdmin})
	}
	switch {
	case !tenants:
		return backups, nil, deletes
	case hasDatabasePrivileges(version):
		backups = append(backups, need{databaseBackup, databaseBackups, databaseAdmin})
		deletes = append(deletes, need{databaseBackups, databaseAdmin})
		restores = append(restores, need{databaseRecovery, databaseAdmin})
	default:
		backups = append(backups, need{databaseAdmin}, need{backupAdmin})
		deletes = append(deletes, need{databaseAdmin}, need{backupAdmin})
		restores = append(restores, need{databaseAdmin})
	}
	restores = append(restores, need{databaseStart, databaseAdmin}, need{databaseStop, databaseAdmin})
	return backups, restores, deletes
}

func judgePrivileges(f *Facts) []Finding {
	r := new(report)
	if len(f.HANA) == 0 {
		return nil
	}
	i := &f.HANA[0]
	if err := i.Unreadable[hdbtrigger.AskPrivileges]; err != nil {
		unread(r, CheckBackupPrivileges, err)
		return r.findings
	}
	backups, restores, deletes := needs(f.Databases, i.Version)
	judgeNeeds(r, i, CheckBackupPrivileges, "back up and read the catalog", backups, Error)
	if len(restores) > 0 {
		judgeNeeds(r, i, CheckRestorePrivileges, "restore tenants", restores, Warning)
	}
	if f.Settings.DeleteLost {
		judgeNeeds(r, i, CheckDeletePrivileges, "delete lost backups from the catalog, as onLost says", deletes, Warning)
	}
	return r.findings
}

func judgeNeeds(r *report, i *hdbtrigger.Inspection, check, what string, all []need, severity Severity) {
	var missing []string
	for _, n := range all {
		if !n.met(i.Privileges) {
			missing = append(missing, n[0])
		}
	}
	if len(missing) == 0 {
		r.ok(check, "user %s may %s", i.CurrentUser, what)
		return
	}
	names := strings.Join(missing, ", ")
	hint := fmt.Sprintf("In SYSTEMDB, as a user who may grant that: GRANT %s TO %s;", names, quoted(i.CurrentUser))
	r.add(check, severity, hint, "user %s may not %s: it lacks %s", i.CurrentUser, what, names)
}

// quoted is a name as SQL takes it whatever is in it.
func quoted(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }
