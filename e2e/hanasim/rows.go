package hanasim

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim/files"
	"github.com/pipestreamer/pipestreamer/e2e/hanasim/landscape"
	"github.com/pipestreamer/pipestreamer/e2e/hanasim/views"
)

// digestLimit is the size up to which the SHA-256 of a content or file is
// computed when a query asks for it.
const digestLimit = 8 << 30

// source gives the rows of the views as one session sees them.
type source struct{ *session }

// Rows is for [views.Source].
func (c source) Rows(ctx context.Context, schema, view string) ([][]any, error) {
	if schema == "SIM" {
		return c.simRows(ctx, view)
	}
	// Without CATALOG READ the views look empty (from memory, no source).
	blind := !slices.Contains(c.system.users.privileges(c.reader.User), catalogRead)
	if blind && strings.HasPrefix(view, "M_") && view != "M_DATABASE" {
		return nil, nil
	}
	if schema != views.AllDatabases {
		return c.rows(view, c.database)
	}
	var all [][]any
	for _, name := range c.system.land.Names() {
		rows, err := c.rows(view, name)
		if err != nil {
			return nil, err
		}
		for _, row := range rows {
			all = append(all, append([]any{name}, row...))
		}
	}
	return all, nil
}

func (c source) rows(view, database string) ([][]any, error) {
	shot, err := c.system.land.Snapshot(database)
	if err != nil {
		return nil, err
	}
	shown := shown{c.system, shot}
	rows := map[string]func() [][]any{
		"M_BACKUP_CATALOG":               shown.catalog,
		"M_BACKUP_CATALOG_FILES":         shown.files,
		"M_BACKUP_PROGRESS":              shown.progress,
		"M_BACKUP_SIZE_ESTIMATIONS":      shown.estimations,
		"M_BACKUP_HISTORY_BROKEN":        shown.broken,
		"M_INIFILE_CONTENTS":             shown.parameters,
		"M_VOLUMES":                      shown.volumes,
		"M_SERVICES":                     shown.services,
		"M_DATABASE":                     shown.database,
		"M_LOG_SEGMENTS":                 shown.logSegments,
		"M_SERVICE_REPLICATION":          shown.serviceReplication,
		"M_SYSTEM_REPLICATION":           shown.systemReplication,
		"M_HOST_INFORMATION":             shown.hostInformation,
		"M_LANDSCAPE_HOST_CONFIGURATION": shown.hosts,
		"M_SYSTEM_OVERVIEW":              shown.overview,
		"M_DATABASES":                    c.databases,
		"M_CONNECTIONS":                  c.connections,
		"EFFECTIVE_PRIVILEGES":           c.privileges,
		"DUMMY":                          func() [][]any { return [][]any{{"X"}} },
	}[view]
	if rows == nil {
		return nil, fmt.Errorf("view %s has no rows", view)
	}
	return rows(), nil
}

func (c source) databases() [][]any {
	var rows [][]any
	for _, name := range c.system.land.Names() {
		active := "NO"
		if shot, err := c.system.land.Snapshot(name); err == nil && shot.Online {
			active = "YES"
		}
		rows = append(rows, []any{name, "", active, "", "", "", "DEFAULT"})
	}
	return rows
}

func (c source) connections() [][]any {
	c.system.mu.Lock()
	defer c.system.mu.Unlock()
	var rows [][]any
	for _, id := range slices.Sorted(maps.Keys(c.system.sessions)) {
		other := c.system.sessions[id]
		if other.database != c.database {
			continue
		}
		status := "IDLE"
		if other.cancel != nil {
			status = "RUNNING"
		}
		rows = append(rows, []any{c.system.config.Host, nil, id, other.reader.User, status})
	}
	return rows
}

// privileges shows those of all users, whoever asks (assumed).
func (c source) privileges() [][]any {
	var rows [][]any
	for _, user := range c.system.users.names() {
		for _, privilege := range c.system.users.privileges(user) {
			rows = append(rows, []any{user, user, "USER", "SYSTEMPRIVILEGE", privilege, "FALSE", "TRUE"})
		}
	}
	return rows
}

func (c source) simRows(ctx context.Context, view string) ([][]any, error) {
	names := []string{c.database}
	if c.database == landscape.SystemDB {
		names = c.system.land.Names()
	}
	var rows [][]any
	for _, name := range names {
		shot, err := c.system.land.Snapshot(name)
		if err != nil {
			return nil, err
		}
		more, err := contentRows(ctx, shot)
		if view == "FILES" {
			more, err = fileRows(ctx, shot)
		}
		if err != nil {
			return nil, err
		}
		rows = append(rows, more...)
	}
	return rows, nil
}

func contentRows(ctx context.Context, shot landscape.Snapshot) ([][]any, error) {
	var rows [][]any
	for i, content := range shot.Contents {
		sum, err := digest(ctx, content.Size, content.SHA256)
		if err != nil {
			return nil, err
		}
		volume := shot.Volumes[i].ID
		row := []any{shot.Name, volume, content.Size, strconv.FormatUint(content.Seed, 10), sum}
		if point, found := shot.Points[volume]; found {
			row = append(row, point.Position, point.Hex(), point.Commit)
		} else {
			row = append(row, nil, nil, nil)
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func fileRows(ctx context.Context, shot landscape.Snapshot) ([][]any, error) {
	var rows [][]any
	for _, entry := range shot.Entries {
		for _, file := range entry.Files {
			if file.Header.Content == (files.Content{}) {
				continue
			}
			sum, err := digest(ctx, file.Size, file.SHA256)
			if err != nil {
				return nil, err
			}
			rows = append(rows, []any{shot.Name, entry.ID, file.Volume, file.Path, file.Size, sum})
		}
	}
	return rows, nil
}

// digest computes a digest, or nothing for what is too large to do so.
func digest(ctx context.Context, size int64, compute func(context.Context) (string, error)) (any, error) {
	if size > digestLimit {
		return nil, nil //nolint:nilnil // NULL
	}
	return compute(ctx)
}
