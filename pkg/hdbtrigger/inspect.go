package hdbtrigger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// Inspection is what HANA says of everything that the backups of one database
// need. It judges nothing. What could not be read has its zero value, and the
// reason in Unreadable.
type Inspection struct {
	Database string
	// CurrentUser is who asks, and Privileges its system privileges, granted
	// directly or by a role, sorted. Without CATALOG READ the views look empty
	// rather than failing (from memory): no backup, no parameter, no database.
	CurrentUser string
	Privileges  []string
	// PortDatabase is the database that the SQL port belongs to.
	PortDatabase string
	SID, Version string
	// Status is M_DATABASES.ACTIVE_STATUS, YES when the database is online.
	Status string
	// Primary is true for the primary site and for one without replication. Mode
	// is the parameter of [system_replication] that decides it, "actual_mode is
	// sync", empty when none is set.
	Primary bool
	Mode    string
	// Parameters are those of global.ini that backups depend on and that some
	// layer sets, by "<section>/<key>".
	Parameters map[string]Parameter
	// Running is the backup id of the data backup that runs, or 0.
	Running int64
	// NewestComplete is the newest successful complete backup, NewestLog the
	// newest log backup in any state; nil when there is none. Their files are
	// not read.
	NewestComplete, NewestLog *backup.CatalogEntry
	// Broken is the last interruption of the history, nil when none is known.
	Broken *backup.Break
	Clock  Clock
	// Unreadable says why a question has no answer, by the names below.
	Unreadable map[string]error
}

// The questions of an inspection, as Unreadable names them.
const (
	AskUser           = "user"
	AskPrivileges     = "privileges"
	AskSystem         = "system" // PortDatabase, SID and Version
	AskStatus         = "status"
	AskRole           = "role" // Primary and Mode
	AskParameters     = "parameters"
	AskRunning        = "running"
	AskNewestComplete = "newest complete"
	AskNewestLog      = "newest log"
	AskBroken         = "broken"
	AskClock          = "clock"
)

// IsSystemDB reports whether the SQL port is that of SYSTEMDB.
func (i *Inspection) IsSystemDB() bool { return i.PortDatabase == backup.SystemDB }

// Parameter is a line of global.ini as it holds for a database.
type Parameter struct {
	// Value of the strongest layer; what differs from host to host is joined by
	// ", ".
	Value string
	// Layer that sets it: HOST, DATABASE, SYSTEM or DEFAULT.
	Layer string
}

// Clock compares HANA's clock with ours.
type Clock struct {
	// Ahead is by how much HANA's is ahead, right to half of RoundTrip.
	Ahead     time.Duration
	RoundTrip time.Duration
}

// Inspect asks HANA about everything that the backups of a database need. It
// changes nothing. A question that HANA does not answer does not end it: only a
// connection that cannot be made, the end of ctx, or a bad name is an error.
func (t *Trigger) Inspect(ctx context.Context, database string) (Inspection, error) {
	name, err := backup.ParseDatabase(database)
	if err != nil {
		return Inspection{}, fmt.Errorf("inspect: %w", err)
	}
	i := Inspection{Database: name, Unreadable: map[string]error{}}
	for _, question := range []struct {
		name string
		ask  func(context.Context, *Inspection) error
	}{
		{AskUser, t.askUser},
		{AskPrivileges, t.askPrivileges},
		{AskSystem, t.askSystem},
		{AskStatus, t.askStatus},
		{AskRole, t.askRole},
		{AskParameters, t.askParameters},
		{AskRunning, t.askRunning},
		{AskNewestComplete, t.askComplete},
		{AskNewestLog, t.askLog},
		{AskBroken, t.askBroken},
		{AskClock, t.askClock}, // last, when the connection is there already
	} {
		err := question.ask(ctx, &i)
		if err == nil {
			continue
		}
		if ctx.Err() != nil {
			return Inspection{}, fmt.Errorf("inspect %s: %w", name, context.Cause(ctx))
		}
		if _, unreachable := errors.AsType[*connectError](err); unreachable {
			return Inspection{}, fmt.Errorf("inspect %s: %w", name, err)
		}
		i.Unreadable[question.name] = err
	}
	return i, nil
}

func (t *Trigger) askUser(ctx context.Context, i *Inspection) error {
	var user sql.Null[string]
	err := t.query(ctx, selectUser, func(scan func(...any) error) error { return scan(&user) })
	if err == nil {
		i.CurrentUser, err = word("CURRENT_USER", user)
	}
	return err
}

func (t *Trigger) askPrivileges(ctx context.Context, i *Inspection) error {
	var privileges []string
	err := t.query(ctx, selectPrivileges, func(scan func(...any) error) error {
		var privilege sql.Null[string]
		if err := scan(&privilege); err != nil {
			return err
		}
		name, err := word("PRIVILEGE", privilege)
		privileges = append(privileges, name)
		return err
	})
	if err != nil {
		return err
	}
	i.Privileges = privileges
	return nil
}

func (t *Trigger) askSystem(ctx context.Context, i *Inspection) error {
	database, sid, version, err := t.identity(ctx)
	if err != nil {
		return err
	}
	i.PortDatabase, i.SID, i.Version = database, sid, version
	return nil
}

func (t *Trigger) askStatus(ctx context.Context, i *Inspection) (err error) {
	i.Status, err = t.status(ctx, i.Database)
	return err
}

func (t *Trigger) askRole(ctx context.Context, i *Inspection) error {
	primary, mode, err := t.role(ctx)
	if err != nil {
		return err
	}
	i.Primary, i.Mode = primary, mode
	return nil
}

// inspected are the parameters that backups depend on, by section.
func inspected() map[string][]string {
	return map[string][]string{
		sectionPersistence: {
			"log_mode", "enable_auto_log_backup", "log_backup_timeout_s",
			"basepath_databackup", "basepath_logbackup", "basepath_catalogbackup",
		},
		sectionBackup: {
			keyChunkSize, "log_backup_using_backint", "catalog_backup_using_backint",
			"max_log_backup_size", "log_backup_interval_mode",
		},
	}
}

func (t *Trigger) askParameters(ctx context.Context, i *Inspection) error {
	parameters := map[string]Parameter{}
	for section, keys := range inspected() {
		settings, err := t.section(ctx, i.Database, section)
		if err != nil {
			return err
		}
		for _, key := range keys {
			found, set := settings[key]
			if !set {
				continue
			}
			value := strings.Join(slices.Compact(slices.Sorted(slices.Values(found.values))), ", ")
			if _, err := printable("VALUE", sql.Null[string]{V: value, Valid: true}); err != nil {
				return fmt.Errorf("global.ini [%s] %s: %w", section, key, err)
			}
			parameters[section+"/"+key] = Parameter{Value: value, Layer: found.layer}
		}
	}
	i.Parameters = parameters
	return nil
}

func (t *Trigger) askRunning(ctx context.Context, i *Inspection) error {
	running, err := t.entries(ctx, selectRunning, i.Database)
	if err == nil && len(running) > 0 {
		i.Running = running[len(running)-1].BackupID
	}
	return err
}

func (t *Trigger) askComplete(ctx context.Context, i *Inspection) (err error) {
	i.NewestComplete, err = known(t.newest(ctx, selectComplete, i.Database))
	return err
}

func (t *Trigger) askLog(ctx context.Context, i *Inspection) (err error) {
	i.NewestLog, err = known(t.newest(ctx, selectLog, i.Database))
	return err
}

func (t *Trigger) askBroken(ctx context.Context, i *Inspection) error {
	breaks, err := t.breaks(ctx, i.Database)
	if n := len(breaks); err == nil && n > 0 {
		i.Broken = &breaks[n-1]
	}
	return err
}

// known makes nil of what is not there.
func known[T any](value T, err error) (*T, error) {
	if errors.Is(err, backup.ErrNotFound) {
		return nil, nil //nolint:nilnil // absence is an answer
	}
	if err != nil {
		return nil, err
	}
	return &value, nil
}

func (t *Trigger) askClock(ctx context.Context, i *Inspection) error {
	var theirs sql.NullTime
	before := time.Now()
	err := t.query(ctx, selectClock, func(scan func(...any) error) error { return scan(&theirs) })
	after := time.Now()
	if err != nil {
		return err
	}
	if !theirs.Valid {
		return &columnError{"CURRENT_UTCTIMESTAMP", nil}
	}
	i.Clock = compareClocks(theirs.Time, before, after)
	return nil
}

// compareClocks takes it that HANA looked at its clock halfway.
func compareClocks(theirs, before, after time.Time) Clock {
	roundTrip := after.Sub(before)
	return Clock{Ahead: theirs.Sub(before.Add(roundTrip / 2)), RoundTrip: roundTrip}
}
