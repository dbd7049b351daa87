package logship

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
	"github.com/pipestreamer/pipestreamer/pkg/spool"
)

// lookout is how often a Fleet looks for directories of further databases.
const lookout = 5 * time.Second

// quietInterval is between two questions whether HANA has written log backups while
// there is no directory of any.
const quietInterval = 30 * time.Second

// Fleet ships the log backups of every database that has a directory below one
// directory: SYSTEMDB, and DB_<tenant> (seen in real listings of HANA 2.0).
type Fleet struct {
	config  Config
	files   spool.Config
	parts   Parts
	log     *zap.Logger
	metrics *Metrics
	spooled *spool.Metrics

	running  sync.WaitGroup
	mu       sync.Mutex
	shippers map[string]*Shipper // by database
	trouble  string
	note     string
	// quietAsked is when HANA was asked whether there are log backups to be found.
	quietAsked time.Time
}

// NewFleet returns a Fleet that works with the parts but for Volume and Remove,
// which it makes for each database from files.Directory. config.Database is not
// used. The directories below files.Directory are taken to be on one volume.
func NewFleet(config Config, files spool.Config, parts Parts, log *zap.Logger, metrics *Metrics, spooled *spool.Metrics) *Fleet {
	parts.arrivals = &arrivals{began: time.Now()}
	return &Fleet{
		config: config, files: files, parts: parts, log: log, metrics: metrics, spooled: spooled,
		shippers: make(map[string]*Shipper),
	}
}

// Run ships until ctx ends, and returns when every shipper has.
func (f *Fleet) Run(ctx context.Context) error {
	defer f.running.Wait()
	ticker := time.NewTicker(lookout)
	defer ticker.Stop()
	for {
		f.look(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// errNoDirectory means that no database has a directory.
var errNoDirectory = errors.New("no directory of a database")

// look finds databases, and notes what keeps it from that. HANA makes the directories
// with the first log backup: before it, that there are none is no trouble.
func (f *Fleet) look(ctx context.Context) {
	trouble, note := "", ""
	switch err := f.launch(ctx); {
	case errors.Is(err, errNoDirectory) && f.quiet(ctx):
		note = NoLogYet
	case err != nil:
		trouble = err.Error()
	}
	f.mu.Lock()
	before := f.trouble
	f.trouble, f.note = trouble, note
	f.mu.Unlock()
	f.metrics.lookout(trouble == "")
	if trouble != "" && trouble != before {
		f.log.Error("log backups cannot be looked for", zap.String("problem", trouble))
	}
}

// Trouble says what keeps the log backups of some or all databases from being
// found, empty when nothing does. No [Status] tells that.
func (f *Fleet) Trouble() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.trouble
}

// NoLogYet is the note of a Fleet that has nothing to find.
const NoLogYet = "HANA has written no log backup yet"

// Note says what there is to know where nothing is found and nothing is wrong.
func (f *Fleet) Note() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.note
}

// catalog is a Historian that can tell whether there are log backups.
type catalog interface {
	Databases(ctx context.Context) ([]string, error)
	NewestLog(ctx context.Context, database string) (backup.CatalogEntry, error)
}

// quiet says whether HANA's catalog knows of no log backup of any database. A HANA
// that does not say is not quiet.
func (f *Fleet) quiet(ctx context.Context) bool {
	historian, can := f.parts.Historian.(catalog)
	if !can {
		return false
	}
	f.mu.Lock()
	asked, before := f.quietAsked, f.note != ""
	f.mu.Unlock()
	if time.Since(asked) < quietInterval {
		return before
	}
	ctx, cancel := context.WithTimeout(ctx, f.config.withDefaults().AskTimeout)
	defer cancel()
	quiet := isQuiet(ctx, historian)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.quietAsked = time.Now()
	return quiet
}

func isQuiet(ctx context.Context, historian catalog) bool {
	databases, err := historian.Databases(ctx)
	if err != nil {
		return false
	}
	for _, database := range databases {
		if _, err := historian.NewestLog(ctx, database); !errors.Is(err, backup.ErrNotFound) {
			return false
		}
	}
	return true
}

// launch starts a shipper for each directory that is new. It says what keeps it
// from that.
func (f *Fleet) launch(ctx context.Context) error {
	entries, err := os.ReadDir(f.files.Directory)
	if err != nil {
		return err
	}
	found := false
	var problems []string
	for _, e := range entries {
		database, ours := databaseOf(e.Name())
		if !ours {
			continue
		}
		found = true
		if kind := e.Type(); !kind.IsDir() {
			problems = append(problems, notFollowed(f.files.Directory+"/"+e.Name(), kind))
			continue
		}
		if err := f.start(ctx, database, f.files.Directory+"/"+e.Name()); err != nil {
			problems = append(problems, err.Error())
		}
	}
	if !found {
		return fmt.Errorf("%s has %w: expected %s or DB_<tenant>", f.files.Directory, errNoDirectory, backup.SystemDB)
	}
	if len(problems) > 0 {
		return errors.New(strings.Join(problems, "; "))
	}
	return nil
}

// notFollowed says what a directory should be, and that nothing is shipped from
// there.
func notFollowed(path string, kind fs.FileMode) string {
	if kind&fs.ModeSymlink != 0 {
		return path + " is a symbolic link, which is never followed: the log backups there are not shipped; mount the directory itself there"
	}
	return path + " is not a directory: no log backups are shipped from there"
}

// databaseOf gives the database whose log backups lie in a directory.
func databaseOf(directory string) (string, bool) {
	if directory == backup.SystemDB {
		return backup.SystemDB, true
	}
	tenant, is := strings.CutPrefix(directory, "DB_")
	name, err := backup.ParseDatabase(tenant)
	return name, is && err == nil && name == tenant
}

func (f *Fleet) start(ctx context.Context, database, directory string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.shippers[database] != nil {
		return nil
	}
	config, parts := f.config, f.parts
	config.Database = database
	watcher := spool.NewWatcher(f.files, directory, f.log, f.spooled)
	parts.Volume = watcher
	parts.Remove = func(file spool.File) (bool, error) { return spool.Remove(f.files.Directory, directory, file) }
	shipper, err := New(config, parts, f.log, f.metrics)
	if err != nil {
		return fmt.Errorf("ship logs of %s: %w", database, err)
	}
	f.shippers[database] = shipper
	f.log.Info("shipping log and catalog backups", zap.String("database", database), zap.String("directory", directory))
	f.running.Go(func() {
		if err := shipper.Run(ctx); err != nil && ctx.Err() == nil {
			f.log.Error("the shipping of log backups has ended", zap.String("database", database), zap.Error(err))
		}
		if err := watcher.Close(); err != nil {
			f.log.Warn("a watched directory could not be closed", zap.String("directory", directory), zap.Error(err))
		}
	})
	return nil
}

// LookNow has the shipper of a database look now, see [Shipper.LookNow]. A database
// without one has nothing to look at.
func (f *Fleet) LookNow(database string) {
	f.mu.Lock()
	shipper := f.shippers[database]
	f.mu.Unlock()
	if shipper != nil {
		shipper.LookNow()
	}
}

// Status tells how far each database is, sorted by name.
func (f *Fleet) Status() []Status {
	f.mu.Lock()
	shippers := make([]*Shipper, 0, len(f.shippers))
	for _, s := range f.shippers {
		shippers = append(shippers, s)
	}
	f.mu.Unlock()
	statuses := make([]Status, 0, len(shippers))
	for _, s := range shippers {
		statuses = append(statuses, s.Status())
	}
	slices.SortFunc(statuses, func(a, b Status) int { return strings.Compare(a.Database, b.Database) })
	return statuses
}
