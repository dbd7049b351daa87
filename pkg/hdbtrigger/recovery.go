package hdbtrigger

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// RecoverText gives the text of the statement that r describes. For a tenant it
// is what [Trigger.RecoverTo] issues; for SYSTEMDB, which SQL cannot recover, it
// is for recoverSys.py in HANA's container. An error names the field.
//
// With r.Until the statement says where the log backups are and how far to go,
// in UTC (from memory); without it LogPaths do not matter. There is no CHECK
// ACCESS: with it HANA opens every file once before it begins, which a pipe
// would have to survive.
func RecoverText(r backup.Recovery) (string, error) {
	s, err := recoveryStatement(r)
	return s.text, err
}

// recoveryStatement builds RECOVER DATABASE or RECOVER DATA … BACKUP_ID.
func recoveryStatement(r backup.Recovery) (statement, error) {
	kind := kindUntil
	if r.Until.IsZero() {
		kind = kindRecover
	}
	if err := checkRecovery(r); err != nil {
		return statement{}, fmt.Errorf("build %s: %w", kind, err)
	}
	text := kind
	if r.Database != backup.SystemDB {
		text += " FOR " + identifier(r.Database)
	}
	source := ""
	if database, sid := sourceOf(r); database != r.Database || sid != r.SID {
		source = " USING SOURCE " + literal(database+"@"+sid)
	}
	catalog := " USING CATALOG PATH (" + literal(r.CatalogPath) + ")"
	data := " USING DATA PATH (" + literal(r.DataPath) + ")"
	id := " USING BACKUP_ID " + strconv.FormatInt(r.BackupID, 10)
	if kind == kindRecover {
		return statement{kind, text + id + source + catalog + data + " CLEAR LOG"}, nil
	}
	if r.BackupID == 0 {
		id = ""
	}
	logs := make([]string, len(r.LogPaths))
	for i, path := range r.LogPaths {
		logs[i] = literal(path)
	}
	text += " UNTIL TIMESTAMP " + literal(r.Until.UTC().Format(time.DateTime)) + " CLEAR LOG" + source + catalog
	return statement{kind, text + " USING LOG PATH (" + strings.Join(logs, ",") + ")" + data + id}, nil
}

// sourceOf is whose backups are used.
func sourceOf(r backup.Recovery) (database, sid string) {
	database, sid = r.Source, r.SourceSID
	if database == "" {
		database = r.Database
	}
	if sid == "" {
		sid = r.SID
	}
	return database, sid
}

// checkRecovery checks every value that goes into the statement.
func checkRecovery(r backup.Recovery) error {
	if err := checkDatabase(r.Database); err != nil {
		return err
	}
	if err := backup.CheckSID(r.SID); err != nil {
		return err
	}
	source, sourceSID := sourceOf(r)
	if err := checkDatabase(source); err != nil {
		return fmt.Errorf("source: %w", err)
	}
	if err := backup.CheckSID(sourceSID); err != nil {
		return fmt.Errorf("source: %w", err)
	}
	if r.BackupID != 0 || r.Until.IsZero() {
		if err := checkBackupID(r.BackupID); err != nil {
			return err
		}
	}
	if err := checkPath("catalog path", r.CatalogPath); err != nil {
		return err
	}
	if err := checkPath("data path", r.DataPath); err != nil {
		return err
	}
	if r.Until.IsZero() {
		return nil
	}
	return checkUntil(r)
}

// checkUntil checks what only a recovery to a point in time has.
func checkUntil(r backup.Recovery) error {
	if !r.Until.Equal(r.Until.Truncate(time.Second)) {
		return fmt.Errorf("until %s: expected whole seconds", r.Until.Format(time.RFC3339Nano))
	}
	if year := r.Until.UTC().Year(); year < 1970 || year > 9999 {
		return fmt.Errorf("until %s: expected a year from 1970 to 9999", r.Until.Format(time.RFC3339))
	}
	if len(r.LogPaths) == 0 {
		return errors.New("log paths: expected at least one")
	}
	for _, path := range r.LogPaths {
		if err := checkPath("log path", path); err != nil {
			return err
		}
	}
	return nil
}

func checkPath(field, path string) error {
	if err := backup.CheckDirectory(path); err != nil {
		return fmt.Errorf("%s: %w", field, err)
	}
	return nil
}
