package logship

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

const (
	// askInterval is between two questions which databases HANA has, quietInterval
	// while there is no directory of any, or no answer.
	askInterval   = 5 * time.Minute
	quietInterval = 30 * time.Second
	// recent is how old a log backup is at most that says where HANA writes them, and
	// lately how far back one of a volume is looked for: backups of the catalog, which
	// go with them, may go elsewhere.
	recent = 24 * time.Hour
	lately = time.Hour
)

// inventory is what HANA has said of its databases.
type inventory struct {
	asked    time.Time
	answered bool // the last question
	// found are the databases that had a directory then, databases are all that HANA
	// has. Of those without one, logged have a log backup in the catalog, and elsewhere
	// says where HANA writes the files of some, by database.
	found, databases, logged []string
	elsewhere                map[string]string
}

// catalog is a Historian that knows all databases and their newest log backups.
type catalog interface {
	backup.Historian
	Databases(ctx context.Context) ([]string, error)
	NewestLog(ctx context.Context, database string) (backup.CatalogEntry, error)
}

// ask takes the inventory when it is time to, or a directory is gone. What HANA said
// before counts while it does not answer.
func (f *Fleet) ask(ctx context.Context, found []string) {
	historian, can := f.parts.Historian.(catalog)
	f.mu.Lock()
	before := f.hana
	f.mu.Unlock()
	interval := askInterval
	if len(found) == 0 || !before.answered {
		interval = quietInterval
	}
	if slices.ContainsFunc(before.found, func(database string) bool { return !slices.Contains(found, database) }) {
		interval = 0
	}
	if !can || time.Since(before.asked) < interval {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, f.config.withDefaults().AskTimeout)
	defer cancel()
	now, err := takeInventory(ctx, historian, f.files.Directory, found)
	if err != nil {
		now = before
		f.log.Debug("HANA does not say of which databases there are log backups", zap.Error(err))
	}
	now.asked, now.answered, now.found = time.Now(), err == nil, found
	f.mu.Lock()
	f.hana = now
	f.mu.Unlock()
}

func takeInventory(ctx context.Context, historian catalog, directory string, found []string) (now inventory, err error) {
	now.elsewhere = make(map[string]string)
	if now.databases, err = historian.Databases(ctx); err != nil {
		return now, err
	}
	for _, database := range now.databases {
		if slices.Contains(found, database) {
			continue
		}
		newest, err := historian.NewestLog(ctx, database)
		if errors.Is(err, backup.ErrNotFound) {
			continue
		}
		if err != nil {
			return now, err
		}
		now.logged = append(now.logged, database)
		where, err := writtenTo(ctx, historian, database, newest.BackupID)
		if err != nil {
			return now, err
		}
		if where != "" && path.Dir(where) != path.Clean(directory) {
			now.elsewhere[database] = where
		}
	}
	return now, nil
}

// writtenTo is the directory of the newest log backups of a database, empty when they
// are not recent or no files.
func writtenTo(ctx context.Context, historian catalog, database string, newest int64) (directory string, err error) {
	if time.Since(time.UnixMilli(newest)) > recent {
		return "", nil
	}
	entries, err := historian.Logs(ctx, database, newest-lately.Milliseconds(), newest)
	for i := range entries {
		for j := range entries[i].Files {
			if file := &entries[i].Files[j]; file.SourceType == backup.SourceVolume && file.DestinationType == "file" {
				directory = path.Dir(file.Path)
			}
		}
	}
	return directory, err
}

// quiet says whether HANA's catalog knows of no log backup of any database. A HANA
// that does not say is not quiet.
func (f *Fleet) quiet() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.hana.answered && len(f.hana.logged) == 0
}

// Absent says whether a database without a [Status] needs none: nothing keeps log
// backups from being found, and HANA has said that it does not have the database, or
// no log backup of it.
func (f *Fleet) Absent(database string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.trouble == "" && f.hana.answered && f.shippers[database] == nil && !slices.Contains(f.hana.logged, database)
}

// elsewhere says of which databases HANA writes the log backups where nobody looks.
func (f *Fleet) elsewhere(found []string) (problems []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, database := range slices.Sorted(maps.Keys(f.hana.elsewhere)) {
		if !slices.Contains(found, database) {
			problems = append(problems, fmt.Sprintf("HANA writes the log backups of %s to %s, which is not directly below %s: they are not shipped",
				database, f.hana.elsewhere[database], f.files.Directory))
		}
	}
	return problems
}
