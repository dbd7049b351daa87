package spool

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// Watcher waits for the log backups and backups of the catalog that HANA leaves
// in one directory at any time. Next is for one goroutine; the other methods may
// be called from any.
type Watcher struct {
	cfg       Config
	directory string
	log       *zap.Logger
	metrics   *Metrics
	done      chan struct{} // closed by Close

	// mu guards everything below and every use of dir.
	mu     sync.Mutex
	closed bool
	opened bool // once
	failed bool // the last look
	// dir and events are nil while the directory does not exist.
	dir      *directory
	events   *queue
	rescan   time.Duration
	nextScan time.Time
	files    map[string]*logFile
	fresh    bool              // before the first scan of a directory
	trails   map[string]*trail // by final name
	strange  map[string]bool   // names that were counted or reported
}

// logFile is a log or catalog backup that stands in the directory.
type logFile struct {
	file     File
	name     backup.LogName
	finished bool
	yielded  bool
}

// NewWatcher returns a Watcher of the directory dir, which is cfg.Directory or
// below it and may come into being later. A nil log or metrics is replaced by
// one that leads nowhere.
func NewWatcher(cfg Config, dir string, log *zap.Logger, metrics *Metrics) *Watcher {
	if log == nil {
		log = zap.NewNop()
	}
	if metrics == nil {
		metrics = NewMetrics(nil)
	}
	w := &Watcher{
		cfg: cfg.withDefaults(), directory: dir, log: log.Named("spool"), metrics: metrics,
		done: make(chan struct{}), rescan: defaultRescan,
	}
	if cfg.Rescan > 0 {
		w.rescan = cfg.Rescan
	}
	w.forget()
	return w
}

func (w *Watcher) forget() {
	w.files, w.trails, w.strange = make(map[string]*logFile), make(map[string]*trail), make(map[string]bool)
}

// Next waits until HANA has finished files that were not yielded before, and
// returns them, at most Config.BatchFiles: log backups by volume and position,
// then backups of the catalog by id. What stands there at the start is among
// them. A file that has changed since it was yielded is a new one. When ctx ends,
// Next returns its cause; after Close, ErrClosed. After any other error it may be
// called again, and returns as soon as it could look again, even if there is no file.
// A directory that was there and is gone is an error for as long as it is.
func (w *Watcher) Next(ctx context.Context) ([]File, error) {
	for {
		batch, again, err := w.take(ctx)
		if err == nil && len(batch) == 0 && !again {
			err = w.wait(ctx)
		}
		if err != nil {
			return nil, fmt.Errorf("wait for log backups in %s: %w", w.directory, err)
		}
		if len(batch) > 0 || again {
			return batch, nil
		}
	}
}

// take returns what is there now, and whether the look before has failed.
func (w *Watcher) take(ctx context.Context) (batch []File, again bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.closed:
		return nil, false, ErrClosed
	case ctx.Err() != nil:
		return nil, false, context.Cause(ctx)
	}
	again = w.failed
	err = w.look()
	w.failed = err != nil
	if err != nil || w.dir == nil {
		return nil, false, err
	}
	return w.batch(), again, nil
}

// look takes in what has happened in the directory, if it is there.
func (w *Watcher) look() error {
	if err := w.enter(); err != nil || w.dir == nil {
		return err
	}
	if err := w.catchUp(); err != nil {
		return errors.Join(err, w.leave())
	}
	return nil
}

// wait returns when there may be something to take.
func (w *Watcher) wait(ctx context.Context) error {
	w.mu.Lock()
	events, until := w.events, w.nextScan
	w.mu.Unlock()
	if events == nil {
		timer := time.NewTimer(w.rescan)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		case <-w.done:
		}
		return nil
	}
	err := events.wait(ctx, until)
	select {
	case <-w.done:
		return nil // take says so
	default:
		return err
	}
}

// enter opens the directory if it is there.
func (w *Watcher) enter() error {
	if w.dir != nil {
		return nil
	}
	dir, err := openDirectory(w.cfg.Directory, w.directory, w.cfg.Owners)
	if errors.Is(err, fs.ErrNotExist) && !w.opened && !w.failed {
		return nil
	}
	if err != nil {
		return err
	}
	w.dir = dir
	if err := w.begin(); err != nil {
		return errors.Join(err, w.leave())
	}
	return nil
}

func (w *Watcher) begin() (err error) {
	if w.rescan, err = w.cfg.rescan(w.dir); err != nil {
		return err
	}
	if w.events, err = w.dir.subscribe(); err != nil {
		return err
	}
	w.nextScan, w.fresh = time.Time{}, true // now
	if w.opened {
		return nil
	}
	w.opened = true
	// Once, because a Remove of our own may be under way later.
	back, err := w.dir.putBack()
	if err != nil {
		w.log.Error("files that were about to be removed cannot get their names back", zap.Error(err))
	}
	if len(back) > 0 {
		w.log.Info("files that were about to be removed have their names back", zap.Strings("files", back))
	}
	return nil
}

// leave gives up a directory that is not what it was.
func (w *Watcher) leave() error {
	var err error
	if w.events != nil {
		err = w.events.close()
	}
	err = errors.Join(err, w.dir.close())
	w.dir, w.events = nil, nil
	w.forget()
	return err
}

// batch chooses what Next returns.
func (w *Watcher) batch() []File {
	var ready []*logFile
	for _, f := range w.files {
		if f.finished && !f.yielded {
			ready = append(ready, f)
		}
	}
	slices.SortFunc(ready, func(a, b *logFile) int { return compareLogs(a.name, b.name) })
	ready = ready[:min(len(ready), w.cfg.BatchFiles)]
	files := make([]File, 0, len(ready))
	for _, f := range ready {
		f.yielded = true
		files = append(files, f.file)
	}
	w.metrics.files.WithLabelValues(contentLog).Add(float64(len(files)))
	return files
}

// compareLogs puts the catalog last: it names what comes before it.
func compareLogs(a, b backup.LogName) int {
	return cmp.Or(
		-cmp.Compare(a.Kind(), b.Kind()), // "log" before "catalog"
		cmp.Compare(a.VolumeID, b.VolumeID), cmp.Compare(a.First, b.First), cmp.Compare(a.Last, b.Last),
		cmp.Compare(a.BackupID, b.BackupID), cmp.Compare(a.N, b.N),
	)
}

// Again lets a later Next yield the file with this name once more. It does not
// wake a Next that waits.
func (w *Watcher) Again(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if f := w.files[name]; f != nil {
		f.yielded = false
	}
}

// Open reads a file that was yielded. The reader returns io.EOF only if the file
// is still f then, otherwise an error that wraps ErrChanged, as Open does itself.
// The reader may outlive the Watcher.
func (w *Watcher) Open(f File) (io.ReadCloser, error) {
	r, err := w.open(f)
	if err != nil {
		return nil, fmt.Errorf("open log backup %s: %w", f.Name, err)
	}
	if !r.want.is(f) {
		w.metrics.changed.WithLabelValues(contentLog).Inc()
		return nil, errors.Join(fmt.Errorf("open log backup %s: %w since it was found", f.Name, ErrChanged), r.Close())
	}
	return r, nil
}

func (w *Watcher) open(f File) (*reader, error) {
	if _, err := backup.ParseLogName(f.Name); err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.closed:
		return nil, ErrClosed
	case w.dir == nil:
		return nil, fmt.Errorf("directory %s: %w", w.directory, fs.ErrNotExist)
	}
	bytes := w.metrics.bytes.WithLabelValues(contentLog)
	return newReader(w.dir, f.Name, readerHooks{
		stopped: func() error { return nil },
		passed:  func(n int) { bytes.Add(float64(n)) },
		ended: func(err error) error {
			if errors.Is(err, ErrChanged) {
				w.metrics.changed.WithLabelValues(contentLog).Inc()
			}
			return err
		},
	})
}

// Waiting says what stands in the directory at this moment: how many log and
// catalog backups, their bytes, and when the oldest was written. Files that were
// yielded count until they are removed.
func (w *Watcher) Waiting() (files int, bytes int64, oldest time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.dir != nil {
		if err := w.scan(false); err != nil {
			w.log.Warn("log backups cannot be counted", zap.Error(err))
		}
	}
	for _, f := range w.files {
		bytes += f.file.Size
		if oldest.IsZero() || f.file.ModTime.Before(oldest) {
			oldest = f.file.ModTime
		}
	}
	return len(w.files), bytes, oldest
}

// Space gives the bytes that HANA may still write to the file system of the
// directory, and its size.
func (w *Watcher) Space() (free, total int64, err error) {
	var st unix.Statfs_t
	w.mu.Lock()
	dir := w.dir
	if dir != nil {
		st, err = dir.statfs()
	}
	w.mu.Unlock()
	if dir == nil {
		if dir, err = openDirectory(w.cfg.Directory, w.cfg.Directory, w.cfg.Owners); err != nil {
			return 0, 0, err
		}
		st, err = dir.statfs()
		err = errors.Join(err, dir.close())
	}
	if err != nil {
		return 0, 0, err
	}
	block := uint64(st.Bsize)                                      //nolint:gosec // not negative
	return int64(st.Bavail * block), int64(st.Blocks * block), nil //nolint:gosec // no file system has 2^63 bytes
}

// Close ends Next. Every file stays where it is.
func (w *Watcher) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil
	}
	w.closed = true
	close(w.done)
	if w.dir == nil {
		return nil
	}
	return w.leave()
}
