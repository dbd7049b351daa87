package hdbtrigger

import (
	"database/sql"
	"fmt"
	"math"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

const (
	// maxBackupID is the last millisecond of the year 9999: backup ids are
	// times.
	maxBackupID = 253_402_300_799_999
	// maxBytes is 1 EiB; what says more is not a size.
	maxBytes = 1 << 60
)

// columnError is a value of a system view that cannot be right. A wrong zero
// would pass for a truth: an empty file, volume 0, a backup without an end.
type columnError struct {
	column string
	value  any // nil for NULL
}

// Error names the column and shows the value.
func (e *columnError) Error() string {
	if e.value == nil {
		return fmt.Sprintf("column %s is NULL", e.column)
	}
	return fmt.Sprintf("column %s has a value that cannot be right: %#v", e.column, e.value)
}

// number gives the value of a column that must be from least to most.
func number(column string, value sql.Null[int64], least, most int64) (int64, error) {
	if !value.Valid {
		return 0, &columnError{column, nil}
	}
	if value.V < least || value.V > most {
		return 0, &columnError{column, value.V}
	}
	return value.V, nil
}

// word gives the value of a column that must have one.
func word(column string, value sql.Null[string]) (string, error) {
	if !value.Valid {
		return "", &columnError{column, nil}
	}
	if strings.TrimSpace(value.V) == "" {
		return "", &columnError{column, value.V}
	}
	return printable(column, value)
}

// printable gives the value of a column that may be NULL. No name or path of a
// backup has control characters, and what has them would go into logs and on
// terminals.
func printable(column string, value sql.Null[string]) (string, error) {
	if !utf8.ValidString(value.V) || strings.ContainsFunc(value.V, unicode.IsControl) {
		return "", &columnError{column, value.V}
	}
	return value.V, nil
}

// position gives the value of a column that may be NULL, which reads as 0.
func position(column string, value sql.Null[int64]) (int64, error) {
	if !value.Valid {
		return 0, nil
	}
	return number(column, value, 0, math.MaxInt64)
}

// entryRow is a row of entryColumns.
type entryRow struct {
	entryID, backupID         sql.Null[int64]
	kind, state, text, remark sql.Null[string]
	started, ended            sql.NullTime
}

func (r *entryRow) targets() []any {
	return []any{&r.entryID, &r.backupID, &r.kind, &r.state, &r.text, &r.remark, &r.started, &r.ended}
}

// entry checks the row. A state that is not known here passes: it is not
// "successful", and the operator should read it. HANA's message is free text.
func (r *entryRow) entry() (e backup.CatalogEntry, err error) {
	if e.EntryID, err = number("ENTRY_ID", r.entryID, 1, math.MaxInt64); err != nil {
		return e, err
	}
	if e.BackupID, err = number("BACKUP_ID", r.backupID, 1, maxBackupID); err != nil {
		return e, err
	}
	if e.EntryType, err = word("ENTRY_TYPE_NAME", r.kind); err != nil {
		return e, err
	}
	if e.State, err = word("STATE_NAME", r.state); err != nil {
		return e, err
	}
	if e.Comment, err = printable("COMMENT", r.remark); err != nil {
		return e, err
	}
	if !r.started.Valid || r.started.Time.IsZero() {
		return e, &columnError{"UTC_START_TIME", nil}
	}
	if e.State == backup.CatalogSuccessful && (!r.ended.Valid || r.ended.Time.IsZero()) {
		return e, &columnError{"UTC_END_TIME", nil}
	}
	// An end before the start is possible: somebody set the clock.
	e.Message, e.StartedAt, e.EndedAt = r.text.V, r.started.Time, r.ended.Time
	return e, nil
}

// fileRow is a row of fileColumns.
type fileRow struct {
	volume, size                             sql.Null[int64]
	source, service, host, destination, path sql.Null[string]
	redo, first, last                        sql.Null[int64]
	committed                                sql.NullTime
}

func (r *fileRow) targets() []any {
	return []any{
		&r.volume, &r.source, &r.service, &r.host, &r.size, &r.destination, &r.path,
		&r.redo, &r.first, &r.last, &r.committed,
	}
}

// file checks the row. The files of volumes and of the topology are compared
// with the streams, so they must have volume, size and path; of others (the
// backup of the catalog) NULL is accepted, because what HANA has there was
// never seen.
func (r *fileRow) file() (f backup.CatalogFile, err error) {
	if f.SourceType, err = word("SOURCE_TYPE_NAME", r.source); err != nil {
		return f, err
	}
	streamed := f.SourceType == backup.SourceVolume || f.SourceType == backup.SourceTopology
	if streamed || r.volume.Valid {
		volume, err := number("SOURCE_ID", r.volume, 0, math.MaxInt32)
		if err != nil {
			return f, err
		}
		f.VolumeID = int(volume)
	}
	if streamed || r.size.Valid {
		if f.Size, err = number("BACKUP_SIZE", r.size, 0, maxBytes); err != nil {
			return f, err
		}
	}
	if err := r.texts(&f, streamed); err != nil {
		return f, err
	}
	err = r.log(&f)
	return f, err
}

// log reads what a file says of the log. What it does not say is NULL: a data
// backup has no range, a log backup no position to begin a recovery at.
func (r *fileRow) log(f *backup.CatalogFile) (err error) {
	if f.RedoLogPosition, err = position("REDO_LOG_POSITION", r.redo); err != nil {
		return err
	}
	if f.FirstLogPosition, err = position("FIRST_REDO_LOG_POSITION", r.first); err != nil {
		return err
	}
	if f.LastLogPosition, err = position("LAST_REDO_LOG_POSITION", r.last); err != nil {
		return err
	}
	switch {
	case r.first.Valid && !r.last.Valid:
		return &columnError{"LAST_REDO_LOG_POSITION", nil}
	case r.last.Valid && !r.first.Valid:
		return &columnError{"FIRST_REDO_LOG_POSITION", nil}
	case f.LastLogPosition < f.FirstLogPosition:
		return &columnError{"LAST_REDO_LOG_POSITION", f.LastLogPosition}
	}
	if r.committed.Valid {
		f.LastCommit = r.committed.Time
	}
	return nil
}

func (r *fileRow) texts(f *backup.CatalogFile, streamed bool) error {
	for _, field := range []struct {
		column string
		value  sql.Null[string]
		to     *string
		needed bool
	}{
		{"SERVICE_TYPE_NAME", r.service, &f.Service, false},
		{"HOST", r.host, &f.Host, false},
		{"DESTINATION_TYPE_NAME", r.destination, &f.DestinationType, streamed},
		{"DESTINATION_PATH", r.path, &f.Path, streamed},
	} {
		read := printable
		if field.needed {
			read = word
		}
		var err error
		if *field.to, err = read(field.column, field.value); err != nil {
			return err
		}
	}
	return nil
}

// breakRow is a row of selectBreaks.
type breakRow struct {
	at              sql.NullTime
	reason, message sql.Null[string]
}

// value checks the row. HANA's message is free text.
func (r *breakRow) value() (b backup.Break, err error) {
	if !r.at.Valid || r.at.Time.IsZero() {
		return b, &columnError{"UTC_TIME", nil}
	}
	if b.Reason, err = word("REASON", r.reason); err != nil {
		return b, err
	}
	b.At, b.Message = r.at.Time, r.message.V
	return b, nil
}
