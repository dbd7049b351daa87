package landscape

import (
	"context"
	"errors"
	"maps"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim/files"
)

// Three states of a backup in the catalog.
const (
	StateRunning    = "running"
	StateFailed     = "failed"
	StateSuccessful = "successful"
)

// The values of File.Source.
const (
	sourceVolume   = "volume"
	sourceTopology = "topology"
	sourceCatalog  = "catalog"
)

// Entry is a row of the backup catalog.
type Entry struct {
	ID                            int64 // entry id and backup id
	Type, State, Comment, Message string
	Start, End                    time.Time // End is zero while it runs
	Files                         []*File
	// History is what the positions of Files belong to, and Base the backup on
	// which a delta builds.
	History, Base int64

	late lateness
}

// lateness is by how much the catalog is behind.
type lateness struct{ row, state, files time.Duration }

// shown gives the entry as the catalog shows it at a time; nil is no row.
func (e *Entry) shown(now time.Time) *Entry {
	behind := func(by time.Duration) bool { return by > 0 && (e.End.IsZero() || now.Before(e.End.Add(by))) }
	if behind(e.late.row) {
		return nil
	}
	copied := *e
	if behind(e.late.state) {
		copied.State, copied.Message, copied.End, copied.Files = StateRunning, "", time.Time{}, nil
	}
	if behind(e.late.files) {
		copied.Files = nil
	}
	return &copied
}

// File is a file of an entry.
type File struct {
	Volume                int
	Source, Service, Path string
	Size                  int64
	Header                files.Header
	// Sum is the digest of a file whose Header does not have its Data any more.
	Sum string
}

// SHA256 gives the digest of the whole file, in hex.
func (f *File) SHA256(ctx context.Context) (string, error) {
	if f.Sum != "" {
		return f.Sum, nil
	}
	return f.Header.SHA256(ctx)
}

// Progress is how far the backup of one volume is.
type Progress struct {
	Volume           Volume
	Entry            *Entry
	Size             int64
	transferred, end atomic.Int64
}

// Transferred is in bytes.
func (p *Progress) Transferred() int64 { return p.transferred.Load() }

// End is the time of the volume's end, or zero.
func (p *Progress) End() time.Time {
	if nanos := p.end.Load(); nanos != 0 {
		return time.Unix(0, nanos)
	}
	return time.Time{}
}

func (r *run) newProgress() []*Progress {
	all := make([]*Progress, len(r.volumes))
	for i, v := range r.volumes {
		all[i] = &Progress{Volume: v, Entry: r.entry, Size: r.contents[v.ID].Size + files.HeaderSize}
	}
	return all
}

// progressOf finds the progress of a volume of this run by its position, which
// never changes while it runs.
func (r *run) progressOf(v Volume) *Progress {
	i := slices.IndexFunc(r.progress, func(p *Progress) bool { return p.Volume.ID == v.ID })
	return r.progress[i]
}

// DeleteEntries deletes an entry, or all before it, from the catalog, with
// their files when complete is true. An id that is not there is an error, and so is
// a running backup.
func (s *System) DeleteEntries(name string, id int64, allBefore, complete bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, err := s.lookup(name)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(d.entries, func(e *Entry) bool { return e.ID == id })
	if i < 0 || d.entries[i].End.IsZero() {
		return general("backup %d is not in the backup catalog or is still running", id)
	}
	if s.takeFault(failDelete) {
		return general("backup catalog: entry %d cannot be deleted", id)
	}
	from, to := i, i+1
	if allBefore {
		from, to = 0, i
	}
	var errs []error
	for _, entry := range d.entries[from:to] {
		for _, file := range entry.Files {
			if complete && file.Source != sourceCatalog {
				errs = append(errs, removeIfThere(file.Path))
			}
		}
	}
	d.entries = slices.Delete(d.entries, from, to)
	return errors.Join(errs...)
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return general("delete backup file: %v", err)
	}
	return nil
}

// Snapshot is a database at one moment.
type Snapshot struct {
	Name       string
	Online     bool
	Volumes    []Volume
	Contents   []files.Content // in the order of Volumes
	Entries    []*Entry
	Progress   []*Progress
	Parameters map[Parameter]string
	Settings   Settings
	// Points and BackedUp are where the logs of the volumes stand, and up to
	// where there are log backups.
	Points   map[int]Point
	BackedUp map[int]int64
	Broken   []Break
	// Deltas are the sizes that delta backups would have, when they are possible.
	Deltas map[string]map[int]int64
}

// Snapshot gives a copy of a database's state.
func (s *System) Snapshot(name string) (Snapshot, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, err := s.lookup(name)
	if err != nil {
		return Snapshot{}, err
	}
	shot := Snapshot{
		Name: d.name, Online: d.online, Volumes: slices.Clone(d.volumes), Settings: s.settings,
		Parameters: maps.Clone(s.parameters), Points: d.points(), BackedUp: map[int]int64{}, Broken: slices.Clone(d.broken),
		Deltas: s.deltaSizes(d),
	}
	for _, v := range d.volumes {
		shot.Contents = append(shot.Contents, d.contents[v.ID])
		if log := d.redo[v.ID]; log != nil {
			shot.BackedUp[v.ID] = log.backedUp
		}
	}
	now := s.now()
	for _, entry := range d.entries {
		if shown := entry.shown(now); shown != nil {
			shot.Entries = append(shot.Entries, shown)
		}
	}
	for _, p := range d.progress {
		entry := *p.Entry // the state is copied under the lock
		shown := &Progress{Volume: p.Volume, Entry: &entry, Size: p.Size}
		shown.transferred.Store(p.transferred.Load())
		shown.end.Store(p.end.Load())
		shot.Progress = append(shot.Progress, shown)
	}
	return shot, nil
}
