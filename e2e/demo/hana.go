package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/SAP/go-hdb/driver"
)

// volume is what one volume of the tenant holds, as the simulator tells it.
type volume struct {
	ID     int
	Size   int64
	SHA256 string
}

// hana asks and commands the simulator's SYSTEMDB.
type hana struct{ db *sql.DB }

func connect(address, user, password string) *hana {
	return &hana{sql.OpenDB(driver.NewBasicAuthConnector(address, user, password))}
}

// content lists what the volumes of the tenant hold. SIM.CONTENT exists in the
// simulator only.
func (h *hana) content(ctx context.Context) ([]volume, error) {
	return h.volumes(ctx, `SELECT VOLUME_ID, SIZE, SHA256 FROM SIM.CONTENT WHERE DATABASE_NAME = ? ORDER BY VOLUME_ID`, tenant)
}

// written lists what the simulator says that it wrote into the data files of a
// backup, whose paths begin with prefix. (It writes its catalog elsewhere.)
func (h *hana) written(ctx context.Context, backupID int64, prefix string) ([]volume, error) {
	return h.volumes(ctx, `SELECT VOLUME_ID, SIZE, SHA256 FROM SIM.FILES WHERE BACKUP_ID = ? AND PATH LIKE ? ORDER BY VOLUME_ID`,
		backupID, prefix+"%")
}

func (h *hana) volumes(ctx context.Context, query string, arguments ...any) (all []volume, err error) {
	rows, err := h.db.QueryContext(ctx, query, arguments...)
	if err != nil {
		return nil, fmt.Errorf("ask the simulator: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var v volume
		if err := rows.Scan(&v.ID, &v.Size, &v.SHA256); err != nil {
			return nil, fmt.Errorf("ask the simulator: %w", err)
		}
		all = append(all, v)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("ask the simulator: %w", err)
	}
	return all, nil
}

// destroy makes the tenant lose its data.
func (h *hana) destroy(ctx context.Context) error {
	if _, err := h.db.ExecContext(ctx, "SIM DESTROY '"+tenant+"'"); err != nil {
		return fmt.Errorf("destroy the data of %s: %w", tenant, err)
	}
	return nil
}

func (h *hana) close() error { return h.db.Close() }
