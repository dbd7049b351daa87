package logship_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pipestreamer/pipestreamer/internal/logship"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
	"github.com/pipestreamer/pipestreamer/pkg/spool"
)

const (
	sid      = "HXE"
	database = "PRD"
)

// logName is the name of a log backup of 64 positions for each step.
func logName(volume, from, to int, id int64) string {
	return backup.LogName{VolumeID: volume, First: int64(from) * 64, Last: int64(to) * 64, BackupID: id}.String()
}

func catalogName(id int64) string { return backup.LogName{BackupID: id}.String() }

// volume is a directory in memory.
type volume struct {
	mu      sync.Mutex
	files   map[string]spool.File
	content map[string][]byte
	given   map[string]spool.File
	parsed  map[string]backup.LogName
	inode   uint64
	// free and total are what Space gives.
	free, total int64
	wake        chan struct{}
	// fault, when set, is what Next returns.
	fault  error
	failed bool // Next has returned it
	// opened, when set, is called before a file is read.
	opened func(name string) error
	// removing, when set, is called before a file is removed.
	removing func(name string)
}

func newVolume() *volume {
	return &volume{
		files: make(map[string]spool.File), content: make(map[string][]byte), given: make(map[string]spool.File),
		parsed: make(map[string]backup.LogName),
		wake:   make(chan struct{}), free: 1 << 30, total: 2 << 30,
	}
}

// write puts a file there, under a new inode.
func (v *volume) write(name string, content []byte) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.inode++
	v.files[name] = spool.File{Name: name, Dev: 1, Ino: v.inode, Size: int64(len(content)), ModTime: time.Now()}
	v.content[name] = content
	if n, err := backup.ParseLogName(name); err == nil {
		v.parsed[name] = n
	}
	v.rouse()
}

func (v *volume) rouse() {
	close(v.wake)
	v.wake = make(chan struct{})
}

// fresh are the files that were not given yet, by volume and position, those of
// the catalog last.
func (v *volume) fresh() []spool.File {
	var files []spool.File
	for name, f := range v.files {
		if v.given[name] != f {
			files = append(files, f)
		}
	}
	slices.SortFunc(files, func(a, b spool.File) int {
		x, y := v.parsed[a.Name], v.parsed[b.Name]
		return cmp.Or(-cmp.Compare(x.Kind(), y.Kind()), cmp.Compare(x.VolumeID, y.VolumeID), cmp.Compare(x.First, y.First), cmp.Compare(x.BackupID, y.BackupID))
	})
	return files[:min(len(files), 500)]
}

func (v *volume) unlink(name string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.files, name)
}

func (v *volume) names() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Sorted(maps.Keys(v.files))
}

// restart is what a new watcher does: it gives all files once more.
func (v *volume) restart() *volume {
	v.mu.Lock()
	defer v.mu.Unlock()
	clear(v.given)
	return v
}

// Next implements [logship.Volume].
func (v *volume) Next(ctx context.Context) ([]spool.File, error) {
	for {
		v.mu.Lock()
		files := v.fresh()
		for _, f := range files {
			v.given[f.Name] = f
		}
		wake, fault, again := v.wake, v.fault, v.failed
		v.failed = fault != nil
		v.mu.Unlock()
		if fault != nil {
			return nil, fault
		}
		if len(files) > 0 || again {
			return files, nil
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// Open implements [logship.Volume].
func (v *volume) Open(f spool.File) (io.ReadCloser, error) {
	if v.opened != nil {
		if err := v.opened(f.Name); err != nil {
			return nil, err
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	now, there := v.files[f.Name]
	switch {
	case !there:
		return nil, &fs.PathError{Op: "open", Path: f.Name, Err: fs.ErrNotExist}
	case now != f:
		return nil, errChanged
	}
	return &volumeReader{volume: v, file: f, reader: bytes.NewReader(v.content[f.Name])}, nil
}

var errChanged = errors.New("the file has changed")

// volumeReader ends well only if the file is still the same.
type volumeReader struct {
	volume *volume
	file   spool.File
	reader *bytes.Reader
}

func (r *volumeReader) Read(p []byte) (int, error) {
	n, err := r.reader.Read(p)
	if err == nil {
		return n, nil
	}
	r.volume.mu.Lock()
	defer r.volume.mu.Unlock()
	if r.volume.files[r.file.Name] != r.file {
		return n, errChanged
	}
	return n, err
}

func (*volumeReader) Close() error { return nil }

// Again implements [logship.Volume].
func (v *volume) Again(name string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.given, name)
	v.rouse()
}

// Space implements [logship.Volume].
func (v *volume) Space() (free, total int64, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.free, v.total, nil
}

// remove is [logship.Parts.Remove].
func (v *volume) remove(f spool.File) (bool, error) {
	if v.removing != nil {
		v.removing(f.Name)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.files[f.Name] != f {
		return false, nil
	}
	delete(v.files, f.Name)
	return true, nil
}

// hana is what HANA knows.
type hana struct {
	mu      sync.Mutex
	entries []backup.CatalogEntry
	base    *backup.CatalogEntry
	breaks  []backup.Break
	err     error
	asked   int
}

var _ backup.Historian = (*hana)(nil)

// knows adds the entry of a file, of a size, in a state.
func (h *hana) knows(tb testing.TB, name string, size int64, state string) {
	tb.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.entries = append(h.entries, entryOf(tb, name, size, state))
}

func (h *hana) change(change func(*hana)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change(h)
}

func entryOf(tb testing.TB, name string, size int64, state string) backup.CatalogEntry {
	tb.Helper()
	n, err := backup.ParseLogName(name)
	if err != nil {
		tb.Fatal(err)
	}
	source := backup.SourceVolume
	if n.Kind() == backup.KindCatalog {
		source = backup.SourceCatalog
	}
	at := time.UnixMilli(n.BackupID).UTC()
	return backup.CatalogEntry{
		EntryID: n.BackupID, BackupID: n.BackupID, EntryType: backup.EntryLog, State: state, StartedAt: at, EndedAt: at.Add(time.Second),
		Files: []backup.CatalogFile{{
			VolumeID: n.VolumeID, SourceType: source, Size: size, DestinationType: "file", Path: "/hana/backup/log/DB_PRD/" + name,
			FirstLogPosition: n.First, LastLogPosition: n.Last, LastCommit: at,
		}},
	}
}

func (h *hana) Logs(ctx context.Context, of string, first, last int64) ([]backup.CatalogEntry, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asked++
	if h.err != nil || ctx.Err() != nil {
		return nil, errors.Join(h.err, ctx.Err())
	}
	if of != database {
		return nil, fmt.Errorf("asked for %s", of)
	}
	var found []backup.CatalogEntry
	for i := range h.entries {
		if id := h.entries[i].BackupID; id >= first && id <= last {
			found = append(found, h.entries[i])
		}
	}
	return found, nil
}

func (h *hana) Base(context.Context, string, backup.Kind) (backup.CatalogEntry, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.base == nil {
		return backup.CatalogEntry{}, backup.ErrNotFound
	}
	return *h.base, h.err
}

func (h *hana) Breaks(context.Context, string) ([]backup.Break, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.breaks), h.err
}

// bases are the data backups in the store.
type bases struct {
	mu   sync.Mutex
	base logship.Base
	err  error
}

// newBases has a complete backup of now that does not say where its replay begins.
func newBases() *bases {
	now := time.Now()
	return &bases{base: logship.Base{BackupID: now.UnixMilli(), StartedAt: now, Since: now}}
}

// set has the store hold another data backup, of now, or none that can be had.
func (b *bases) set(positions map[int]int64, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	b.base, b.err = logship.Base{BackupID: now.UnixMilli(), StartedAt: now, Since: now, Positions: positions}, err
}

// Base implements [logship.Bases].
func (b *bases) Base(_ context.Context, of string) (logship.Base, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if of != database {
		return logship.Base{}, fmt.Errorf("asked for %s", of)
	}
	return b.base, b.err
}

// namesOf are the names in one index.
func namesOf(x *backup.LogIndex) []string {
	names := make([]string, 0, len(x.Files))
	for i := range x.Files {
		names = append(names, x.Files[i].Name)
	}
	return names
}

// base of a key.
func baseName(key string) string { return path.Base(key) }
