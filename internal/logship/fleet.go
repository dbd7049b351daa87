package logship

import (
	"context"
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
	shippers map[string]*shipping // by database
	trouble  string
	since    time.Time // when the trouble began
	note     string
	hana     inventory
}

// shipping is a shipper that runs until stop.
type shipping struct {
	*Shipper

	stop context.CancelFunc
}

// NewFleet returns a Fleet that works with the parts but for Volume and Remove,
// which it makes for each database from files.Directory. config.Database is not
// used. The directories below files.Directory are taken to be on one volume.
func NewFleet(config Config, files spool.Config, parts Parts, log *zap.Logger, metrics *Metrics, spooled *spool.Metrics) *Fleet {
	parts.arrivals = &arrivals{began: time.Now()}
	return &Fleet{
		config: config, files: files, parts: parts, log: log, metrics: metrics, spooled: spooled,
		shippers: make(map[string]*shipping),
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

// look finds databases, and notes what keeps it from that. HANA makes the directories
// with the first log backup: before it, that there are none is no trouble.
func (f *Fleet) look(ctx context.Context) {
	var trouble, note string
	if found, problems, err := f.launch(ctx); err != nil {
		trouble = err.Error()
	} else {
		f.ask(ctx, found)
		f.drop(found)
		problems = append(problems, f.elsewhere(found)...)
		switch {
		case len(found) > 0:
		case f.quiet():
			note = NoLogYet
		default:
			problems = append(problems, fmt.Sprintf("%s has no directory of a database: expected %s or DB_<tenant>", f.files.Directory, backup.SystemDB))
		}
		trouble = strings.Join(problems, "; ")
	}
	f.mu.Lock()
	before := f.trouble
	f.trouble, f.note = trouble, note
	if before == "" {
		f.since = time.Now()
	}
	f.mu.Unlock()
	f.metrics.lookout(trouble == "")
	if trouble != "" && trouble != before {
		f.log.Error("log backups cannot be looked for", zap.String("problem", trouble))
	}
}

// Trouble says what keeps the log backups of some or all databases from being
// found, and since when; empty when nothing does. No [Status] tells that.
func (f *Fleet) Trouble() (text string, since time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.trouble, f.since
}

// NoLogYet is the note of a Fleet that has nothing to find.
const NoLogYet = "HANA has written no log backup yet"

// Note says what there is to know where nothing is found and nothing is wrong.
func (f *Fleet) Note() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.note
}

// launch starts a shipper for each directory that is new. It returns the databases
// that have one, and what keeps those from being shipped.
func (f *Fleet) launch(ctx context.Context) (found, problems []string, err error) {
	entries, err := os.ReadDir(f.files.Directory)
	if err != nil {
		return nil, nil, err
	}
	for _, e := range entries {
		database, ours := databaseOf(e.Name())
		if !ours {
			continue
		}
		found = append(found, database)
		if kind := e.Type(); !kind.IsDir() {
			problems = append(problems, notFollowed(f.files.Directory+"/"+e.Name(), kind))
			continue
		}
		if err := f.start(ctx, database, f.files.Directory+"/"+e.Name()); err != nil {
			problems = append(problems, err.Error())
		}
	}
	return found, problems, nil
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
	life, stop := context.WithCancel(ctx)
	f.shippers[database] = &shipping{Shipper: shipper, stop: stop}
	f.log.Info("shipping log and catalog backups", zap.String("database", database), zap.String("directory", directory))
	f.running.Go(func() {
		defer stop()
		if err := shipper.Run(life); err != nil && life.Err() == nil {
			f.log.Error("the shipping of log backups has ended", zap.String("database", database), zap.Error(err))
		}
		if err := watcher.Close(); err != nil {
			f.log.Warn("a watched directory could not be closed", zap.String("directory", directory), zap.Error(err))
		}
		if ctx.Err() == nil {
			f.forget(database)
		}
	})
	return nil
}

// drop ends the shippers of databases that HANA does not have any more, once their
// directories are gone, too. What stands in a directory is shipped all the same.
func (f *Fleet) drop(found []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for database, s := range f.shippers {
		if f.hana.answered && !slices.Contains(found, database) && !slices.Contains(f.hana.databases, database) {
			s.stop()
		}
	}
}

// forget leaves no trace of a shipper that has ended.
func (f *Fleet) forget(database string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.shippers, database)
	f.metrics.forget(database)
	f.log.Info("the log backups of a database are not shipped any more: it is gone, and its directory, too", zap.String("database", database))
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
	shippers := make([]*shipping, 0, len(f.shippers))
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
