package hdbtrigger

import (
	"context"
	"fmt"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// Entry returns the catalog's row and files of the backup that carries plan's
// comment, or backup.ErrNotFound. Without CATALOG READ the catalog looks empty.
// A row that cannot be right is an error that names the column.
func (t *Trigger) Entry(ctx context.Context, plan backup.Plan) (backup.CatalogEntry, error) {
	entry, err := t.entry(ctx, plan)
	if err != nil {
		return backup.CatalogEntry{}, fmt.Errorf("catalog entry of job %s: %w", plan.JobID, err)
	}
	entry.Files, err = t.files(ctx, plan.Database, entry.EntryID)
	if err != nil {
		return backup.CatalogEntry{}, fmt.Errorf("catalog files of job %s: %w", plan.JobID, err)
	}
	return entry, nil
}

// entry reads the row without its files. Several rows with one comment mean
// that HANA got the statement more than once, and no one of them is the right
// one.
func (t *Trigger) entry(ctx context.Context, plan backup.Plan) (backup.CatalogEntry, error) {
	if err := checkPlan(plan); err != nil {
		return backup.CatalogEntry{}, err
	}
	entries, err := t.entries(ctx, selectEntry, plan.Database, plan.Comment())
	switch {
	case err != nil:
		return backup.CatalogEntry{}, err
	case len(entries) == 0:
		return backup.CatalogEntry{}, backup.ErrNotFound
	case len(entries) > 1:
		return backup.CatalogEntry{}, fmt.Errorf("%d backups of %s carry it, the first with backup id %d, the last with %d: expected one",
			len(entries), plan.Database, entries[0].BackupID, entries[len(entries)-1].BackupID)
	}
	return entries[0], nil
}

// entries reads the answer to one of the questions that begin with
// selectEntries. The entries have no files.
func (t *Trigger) entries(ctx context.Context, question string, args ...any) ([]backup.CatalogEntry, error) {
	var entries []backup.CatalogEntry
	err := t.query(ctx, question, func(scan func(...any) error) error {
		var row entryRow
		if err := scan(row.targets()...); err != nil {
			return err
		}
		entry, err := row.entry()
		entries = append(entries, entry)
		return err
	}, args...)
	if err != nil {
		return nil, err
	}
	return entries, nil
}

// newest reads the answer to one of the questions for a newest entry, or gives
// backup.ErrNotFound.
func (t *Trigger) newest(ctx context.Context, question, database string) (backup.CatalogEntry, error) {
	entries, err := t.entries(ctx, question, database)
	if err != nil {
		return backup.CatalogEntry{}, err
	}
	if len(entries) == 0 {
		return backup.CatalogEntry{}, backup.ErrNotFound
	}
	return entries[0], nil
}

func (t *Trigger) files(ctx context.Context, database string, entryID int64) ([]backup.CatalogFile, error) {
	files := []backup.CatalogFile{}
	err := t.query(ctx, selectFiles, func(scan func(...any) error) error {
		var row fileRow
		if err := scan(row.targets()...); err != nil {
			return err
		}
		file, err := row.file()
		files = append(files, file)
		return err
	}, database, entryID)
	if err != nil {
		return nil, err
	}
	return files, nil
}
