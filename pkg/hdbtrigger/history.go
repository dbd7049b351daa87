package hdbtrigger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

var _ backup.Historian = (*Trigger)(nil)

// Base implements [backup.Historian]. Data snapshots are left out: whether a
// delta builds on one is not known, and no file of it could be stored.
func (t *Trigger) Base(ctx context.Context, database string, kind backup.Kind) (backup.CatalogEntry, error) {
	entry, err := t.base(ctx, database, kind)
	if err != nil {
		return backup.CatalogEntry{}, fmt.Errorf("base of a backup of %q: %w", database, err)
	}
	return entry, nil
}

func (t *Trigger) base(ctx context.Context, database string, kind backup.Kind) (backup.CatalogEntry, error) {
	name, err := backup.ParseDatabase(database)
	if err != nil {
		return backup.CatalogEntry{}, err
	}
	var question string
	switch kind {
	case backup.KindDifferential:
		question = selectComplete
	case backup.KindIncremental:
		question = selectData
	default:
		return backup.CatalogEntry{}, fmt.Errorf("kind %q: expected differential or incremental", kind)
	}
	entry, err := t.newest(ctx, question, name)
	if err != nil {
		return backup.CatalogEntry{}, err
	}
	entry.Files, err = t.files(ctx, name, entry.EntryID)
	return entry, err
}

// Breaks implements [backup.Historian]. A HANA before 2.00.040 does not have the
// view and never says that a history is broken.
func (t *Trigger) Breaks(ctx context.Context, database string) ([]backup.Break, error) {
	breaks, err := t.breaks(ctx, database)
	if err != nil {
		return nil, fmt.Errorf("where the history of %q is broken: %w", database, err)
	}
	return breaks, nil
}

func (t *Trigger) breaks(ctx context.Context, database string) ([]backup.Break, error) {
	name, err := backup.ParseDatabase(database)
	if err != nil {
		return nil, err
	}
	var breaks []backup.Break
	err = t.query(ctx, selectBreaks, func(scan func(...any) error) error {
		var row breakRow
		if err := scan(&row.at, &row.reason, &row.message); err != nil {
			return err
		}
		b, err := row.value()
		breaks = append(breaks, b)
		return err
	}, name)
	if hana, found := errors.AsType[*backup.HANAError](err); found && hana.Code == codeTable {
		t.log.Debug("this HANA does not tell whether the backup history is broken", zap.Error(err))
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return breaks, nil
}

// Logs implements [backup.Historian]. It asks once, however many there are. An
// entry that has no files yet, or never got any, is among them.
func (t *Trigger) Logs(ctx context.Context, database string, first, last int64) ([]backup.CatalogEntry, error) {
	name, err := backup.ParseDatabase(database)
	if err != nil {
		return nil, fmt.Errorf("log backups: %w", err)
	}
	logs := []backup.CatalogEntry{}
	err = t.query(ctx, selectLogs, func(scan func(...any) error) error {
		var entry entryRow
		var fileOf sql.Null[int64]
		var file fileRow
		if err := scan(append(append(entry.targets(), &fileOf), file.targets()...)...); err != nil {
			return err
		}
		logs, err = addLog(logs, &entry, fileOf, &file)
		return err
	}, name, backup.EntryLog, first, last)
	if err != nil {
		return nil, fmt.Errorf("log backups of %s from %d to %d: %w", name, first, last, err)
	}
	return logs, nil
}

// NewestLog is the newest log backup of a database that the catalog has, whatever
// became of it, or backup.ErrNotFound.
func (t *Trigger) NewestLog(ctx context.Context, database string) (backup.CatalogEntry, error) {
	entry, err := t.newest(ctx, selectLog, database)
	if err != nil {
		return backup.CatalogEntry{}, fmt.Errorf("newest log backup of %s: %w", database, err)
	}
	return entry, nil
}

// addLog adds a row of selectLogs to logs, whose last entry may be the row's.
func addLog(logs []backup.CatalogEntry, row *entryRow, fileOf sql.Null[int64], file *fileRow) ([]backup.CatalogEntry, error) {
	entry, err := row.entry()
	if err != nil {
		return nil, err
	}
	if len(logs) == 0 || logs[len(logs)-1].EntryID != entry.EntryID {
		entry.Files = []backup.CatalogFile{}
		logs = append(logs, entry)
	}
	if !fileOf.Valid {
		return logs, nil
	}
	f, err := file.file()
	if err != nil {
		return nil, fmt.Errorf("backup id %d: %w", entry.BackupID, err)
	}
	to := &logs[len(logs)-1]
	to.Files = append(to.Files, f)
	return logs, nil
}
