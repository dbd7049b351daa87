package hdbtrigger

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// The kinds of statements, as errors and metrics name them.
const (
	kindBackup  = "BACKUP DATA"
	kindCancel  = "BACKUP CANCEL"
	kindDelete  = "BACKUP CATALOG DELETE"
	kindRecover = "RECOVER DATA"
	kindUntil   = "RECOVER DATABASE"
	kindStop    = "ALTER SYSTEM STOP DATABASE"
	kindStart   = "ALTER SYSTEM START DATABASE"
	kindSelect  = "SELECT"
)

// statement changes something in HANA. None of these takes parameters, so the
// text is built, from names that pass the grammars of package backup only.
type statement struct {
	kind string
	text string
}

// backupStatement builds BACKUP DATA. The type stands before FOR (seen in
// backup.log: "backup data incremental for sbx using …"). The job id goes into
// COMMENT, by which the catalog entry is found (Plan.Comment).
func backupStatement(plan backup.Plan) (statement, error) {
	if err := checkPlan(plan); err != nil {
		return statement{}, fmt.Errorf("build %s: %w", kindBackup, err)
	}
	text := "BACKUP DATA"
	switch plan.Kind {
	case backup.KindComplete:
	case backup.KindDifferential:
		text += " DIFFERENTIAL"
	case backup.KindIncremental:
		text += " INCREMENTAL"
	default:
		return statement{}, fmt.Errorf("build %s: %w", kindBackup, errKind(plan.Kind))
	}
	if plan.Database != backup.SystemDB {
		text += " FOR " + identifier(plan.Database)
	}
	text += " USING FILE (" + literal(plan.Path()) + ") COMMENT " + literal(plan.Comment())
	return statement{kindBackup, text}, nil
}

// RecoverFilesText gives the text of a recovery from the files of one complete
// backup at plan.Path(). For a tenant it is what [Trigger.Recover] issues; for
// SYSTEMDB, which SQL cannot recover, it is for recoverSys.py in HANA's container.
func RecoverFilesText(plan backup.Plan) (string, error) {
	if plan.Database != backup.SystemDB {
		s, err := recoverStatement(plan)
		return s.text, err
	}
	if err := checkPlan(plan); err != nil {
		return "", fmt.Errorf("build %s: %w", kindRecover, err)
	}
	return "RECOVER DATA USING FILE (" + literal(plan.Path()) + ") CLEAR LOG", nil
}

// recoverStatement builds RECOVER DATA for a tenant from a complete backup.
func recoverStatement(plan backup.Plan) (statement, error) {
	if err := checkPlan(plan); err != nil {
		return statement{}, fmt.Errorf("build %s: %w", kindRecover, err)
	}
	if plan.Kind != backup.KindComplete {
		// USING FILE takes complete backups only; a delta needs the catalog.
		return statement{}, fmt.Errorf("build %s: kind %q: only a complete backup can be recovered by its files", kindRecover, plan.Kind)
	}
	if err := checkTenant(plan.Database); err != nil {
		return statement{}, fmt.Errorf("build %s: %w", kindRecover, err)
	}
	text := "RECOVER DATA FOR " + identifier(plan.Database) + " USING FILE (" + literal(plan.Path()) + ") CLEAR LOG"
	return statement{kindRecover, text}, nil
}

// databaseStatement builds kindStop or kindStart for a tenant.
func databaseStatement(kind, database string) (statement, error) {
	if err := checkTenant(database); err != nil {
		return statement{}, fmt.Errorf("build %s: %w", kind, err)
	}
	return statement{kind, kind + " " + identifier(database)}, nil
}

// cancelStatement builds BACKUP CANCEL. That it takes a tenant's backup id
// without naming the tenant was tried with the simulator only.
func cancelStatement(backupID int64) (statement, error) {
	if err := checkBackupID(backupID); err != nil {
		return statement{}, fmt.Errorf("build %s: %w", kindCancel, err)
	}
	return statement{kindCancel, "BACKUP CANCEL " + strconv.FormatInt(backupID, 10)}, nil
}

// deleteStatement builds BACKUP CATALOG DELETE for one backup, without COMPLETE:
// what HANA would do to files that are pipes is not known. The form with FOR is
// from a script of an SAP employee (hanacleaner) and was tried with the
// simulator only.
func deleteStatement(plan backup.Plan, backupID int64) (statement, error) {
	if err := checkDatabase(plan.Database); err != nil {
		return statement{}, fmt.Errorf("build %s: %w", kindDelete, err)
	}
	if err := checkBackupID(backupID); err != nil {
		return statement{}, fmt.Errorf("build %s: %w", kindDelete, err)
	}
	text := kindDelete
	if plan.Database != backup.SystemDB {
		text += " FOR " + identifier(plan.Database)
	}
	return statement{kindDelete, text + " BACKUP_ID " + strconv.FormatInt(backupID, 10)}, nil
}

// checkPlan checks every name that goes into a statement.
func checkPlan(plan backup.Plan) error {
	if err := checkDatabase(plan.Database); err != nil {
		return err
	}
	if err := backup.CheckDirectory(plan.Directory); err != nil {
		return err
	}
	if err := backup.CheckPrefix(plan.Prefix); err != nil {
		return err
	}
	if err := backup.CheckPrefix(plan.Comment()); err != nil { // the same characters
		return fmt.Errorf("job id: %w", err)
	}
	return nil
}

func checkDatabase(name string) error {
	parsed, err := backup.ParseDatabase(name)
	if err != nil {
		return err
	}
	if parsed != name {
		return fmt.Errorf("database %q: expected upper case", name)
	}
	return nil
}

func checkTenant(name string) error {
	if err := checkDatabase(name); err != nil {
		return err
	}
	if name == backup.SystemDB {
		return errors.New("SYSTEMDB cannot be stopped or recovered by SQL: use recoverSys.py in HANA's container")
	}
	return nil
}

func checkBackupID(id int64) error {
	if id < 1 || id > maxBackupID {
		return fmt.Errorf("backup id %d: expected epoch milliseconds", id)
	}
	return nil
}

func errKind(kind backup.Kind) error {
	return fmt.Errorf("kind %q: expected complete, differential or incremental", kind)
}

func identifier(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

func literal(value string) string { return `'` + strings.ReplaceAll(value, `'`, `''`) + `'` }
