package hdbtrigger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// Plan checks that a backup of database may start now and lists the streams
// that HANA will write, sorted. It asks for the volumes immediately before it
// returns: they are not the same in every tenant and change with its services.
// It fills in SID, Database, Kind, HANAVersion and Streams.
//
// Errors: backup.ErrNotFound for an unknown database, backup.ErrNotPrimary,
// backup.ErrBusy, a *backup.HANAError, or one that says what is in the way.
func (t *Trigger) Plan(ctx context.Context, database string, kind backup.Kind) (backup.Plan, error) {
	plan, err := t.plan(ctx, database, kind)
	if err != nil {
		return backup.Plan{}, fmt.Errorf("plan backup of %q: %w", database, err)
	}
	return plan, nil
}

func (t *Trigger) plan(ctx context.Context, database string, kind backup.Kind) (backup.Plan, error) {
	name, err := backup.ParseDatabase(database)
	if err != nil {
		return backup.Plan{}, err
	}
	if kind != backup.KindComplete && kind != backup.KindDifferential && kind != backup.KindIncremental {
		return backup.Plan{}, errKind(kind)
	}
	plan := backup.Plan{Database: name, Kind: kind}
	if plan.SID, plan.HANAVersion, err = t.system(ctx); err != nil {
		return backup.Plan{}, err
	}
	checks := []func(context.Context, string) error{t.CheckOnline, t.checkPrimary, t.checkIdle}
	if !t.allowParts {
		checks = append(checks, t.checkChunkSize)
	}
	for _, check := range checks {
		if err := check(ctx, name); err != nil {
			return backup.Plan{}, err
		}
	}
	estimates, err := t.estimates(ctx, name, kind)
	if err != nil {
		return backup.Plan{}, err
	}
	volumes, err := t.volumes(ctx, name)
	if err != nil {
		return backup.Plan{}, err
	}
	plan.Streams = streams(name, volumes, estimates)
	return plan, nil
}

// system gives SID and version, and makes sure that this is SYSTEMDB: a tenant
// has a SQL port too, but no SYS_DATABASES.
func (t *Trigger) system(ctx context.Context) (sid, version string, err error) {
	database, sid, version, err := t.identity(ctx)
	if err != nil {
		return "", "", err
	}
	if database != backup.SystemDB {
		return "", "", fmt.Errorf("the SQL port belongs to database %q: expected that of SYSTEMDB, 3<instance>13", database)
	}
	return sid, version, nil
}

// identity says which database answers, of which system.
func (t *Trigger) identity(ctx context.Context) (database, sid, version string, err error) {
	found := false
	err = t.query(ctx, selectSystem, func(scan func(...any) error) error {
		found = true
		return scan(&database, &sid, &version)
	})
	if err == nil && !found {
		err = errors.New("SYS.M_DATABASE is empty: expected the database that answers")
	}
	return database, sid, version, err
}

// status is M_DATABASES.ACTIVE_STATUS, YES when the database is online.
func (t *Trigger) status(ctx context.Context, database string) (string, error) {
	var status sql.Null[string]
	found := false
	err := t.query(ctx, selectStatus, func(scan func(...any) error) error {
		found = true
		return scan(&status)
	}, database)
	if err != nil {
		return "", err
	}
	if !found {
		return "", fmt.Errorf("database %s is not in M_DATABASES (without CATALOG READ the view may look empty): %w", database, backup.ErrNotFound)
	}
	return status.V, nil
}

// ErrOffline means that a database has to be started before it can be backed up.
var ErrOffline = errors.New("is not online")

// CheckOnline says whether a database is online. Errors: ErrOffline,
// backup.ErrNotFound for an unknown database, or why HANA does not tell.
func (t *Trigger) CheckOnline(ctx context.Context, database string) error {
	status, err := t.status(ctx, database)
	if err != nil {
		return err
	}
	if status != active {
		return fmt.Errorf("database %s %w: its ACTIVE_STATUS is %q", database, ErrOffline, status)
	}
	return nil
}

// checkIdle refuses when a data backup of the database runs: HANA allows one.
func (t *Trigger) checkIdle(ctx context.Context, database string) error {
	running, err := t.entries(ctx, selectRunning, database)
	if err != nil || len(running) == 0 {
		return err
	}
	last := running[len(running)-1]
	return fmt.Errorf("%w: %s with backup id %d, started %s",
		backup.ErrBusy, last.EntryType, last.BackupID, last.StartedAt.UTC().Format(time.RFC3339))
}
