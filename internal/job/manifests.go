package job

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// Latest stands for the newest backup wherever a backup id is asked for.
const Latest = "latest"

const (
	// manifestReaders is how many manifests are read at a time.
	manifestReaders = 16
	// manifestMemory is how large those are together, in bytes: to decode them takes up
	// to five times as much. One that is larger is read alone.
	manifestMemory = 8 << 20
)

// BackupSummary is a backup in a list: its manifest without streams and catalog.
type BackupSummary struct {
	BackupID   int64       `json:"backup_id"`
	SID        string      `json:"sid"`
	Database   string      `json:"database"`
	Kind       backup.Kind `json:"kind"`
	Prefix     string      `json:"prefix"`
	JobID      string      `json:"job_id"`
	StartedAt  time.Time   `json:"started_at"`
	FinishedAt time.Time   `json:"finished_at"`
	Streams    int         `json:"streams"`
	Bytes      int64       `json:"bytes"`
}

// SummaryOf returns what a list says of a backup.
func SummaryOf(m *backup.Manifest) BackupSummary {
	return BackupSummary{
		BackupID: m.BackupID, SID: m.SID, Database: m.Database, Kind: m.Kind, Prefix: m.Prefix, JobID: m.JobID,
		StartedAt: m.StartedAt, FinishedAt: m.FinishedAt, Streams: len(m.Streams), Bytes: m.Bytes(),
	}
}

// UnreadableManifest is a backup of which no more is known.
type UnreadableManifest struct {
	Database string `json:"database"`
	Key      string `json:"key"`
	Error    string `json:"error"`
}

// BackupList is what the store has.
type BackupList struct {
	// Backups are sorted, newest first.
	Backups []BackupSummary `json:"backups"`
	// Unreadable are sorted by key.
	Unreadable []UnreadableManifest `json:"unreadable,omitempty"`
}

// Backups lists the backups of one database, or of all when database is empty. One
// whose manifest cannot be read does not hide the others.
func (c *Conductor) Backups(ctx context.Context, database string) (BackupList, error) {
	databases, err := c.databasesOf(ctx, database)
	if err != nil {
		return BackupList{}, err
	}
	a := c.archive()
	objects, err := a.listManifests(ctx, databases...)
	if err != nil {
		return BackupList{}, err
	}
	var list BackupList
	list.Backups, objects = c.summaries.find(objects)
	err = a.readManifests(ctx, objects, func(o backup.Object, m *backup.Manifest, err error) {
		if err != nil {
			_, database, _, _ := backup.ParseManifestKey(o.Key)
			list.Unreadable = append(list.Unreadable, UnreadableManifest{database, o.Key, err.Error()})
			return
		}
		summary := SummaryOf(m)
		c.summaries.keep(o, summary)
		list.Backups = append(list.Backups, summary)
	})
	slices.SortFunc(list.Backups, func(a, b BackupSummary) int {
		return cmp.Or(cmp.Compare(b.BackupID, a.BackupID), cmp.Compare(a.Database, b.Database))
	})
	slices.SortFunc(list.Unreadable, func(a, b UnreadableManifest) int { return cmp.Compare(a.Key, b.Key) })
	return list, err
}

// databasesOf is one database, or all of which the store has anything.
func (c *Conductor) databasesOf(ctx context.Context, database string) ([]string, error) {
	if database == "" {
		return c.storedDatabases(ctx)
	}
	name, err := backup.ParseDatabase(database)
	if err != nil {
		return nil, &FieldError{Field: "database", Err: err}
	}
	return []string{name}, nil
}

// storedDatabases are those of which the store has anything. Below them are all log
// backups: to list everything takes minutes where there are years of them.
func (c *Conductor) storedDatabases(ctx context.Context) ([]string, error) {
	names, err := c.parts.Store.Folders(ctx, c.config.SID+"/")
	if err != nil {
		return nil, fmt.Errorf("list databases: %w", err)
	}
	return slices.DeleteFunc(names, func(name string) bool {
		parsed, err := backup.ParseDatabase(name)
		return err != nil || parsed != name
	}), nil
}

// listManifests lists the manifests of databases.
func (a archive) listManifests(ctx context.Context, databases ...string) ([]backup.Object, error) {
	listed := make([][]backup.Object, len(databases))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(manifestReaders)
	for i, database := range databases {
		group.Go(func() error {
			objects, err := a.store.List(ctx, backup.ManifestPrefix(a.sid, database))
			if err != nil {
				return fmt.Errorf("list manifests of %s: %w", database, err)
			}
			listed[i] = slices.DeleteFunc(objects, func(o backup.Object) bool {
				_, _, _, err := backup.ParseManifestKey(o.Key)
				return err != nil
			})
			return nil
		})
	}
	err := group.Wait()
	return slices.Concat(listed...), err
}

// readManifests reads the manifests at objects, several at a time, and gives each to
// take, one at a time and in any order: without the parts of its objects, which are
// most of it, or with the error because of which it is left out. It fails only when
// ctx ends.
func (a archive) readManifests(ctx context.Context, objects []backup.Object, take func(o backup.Object, m *backup.Manifest, err error)) error {
	var mu sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(manifestReaders)
	for _, o := range objects {
		group.Go(func() error {
			m, err := a.readWithoutParts(ctx, o)
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err != nil {
				a.log.Error("a manifest is left out", zap.String("key", o.Key), zap.Error(err))
			}
			mu.Lock()
			defer mu.Unlock()
			take(o, m, err)
			return nil
		})
	}
	return group.Wait()
}

// readWithoutParts waits until there is memory for what it reads.
func (a archive) readWithoutParts(ctx context.Context, o backup.Object) (*backup.Manifest, error) {
	size := min(max(o.Size, 0), manifestMemory)
	if err := a.memory.Acquire(ctx, size); err != nil {
		return nil, err
	}
	defer a.memory.Release(size)
	m, err := readManifest(ctx, a.store, o.Key)
	if err != nil {
		return nil, err
	}
	for i := range m.Streams {
		for k := range m.Streams[i].Objects {
			m.Streams[i].Objects[k].Parts = nil
		}
	}
	return m, nil
}

// summaryAge is after how long at most a manifest is read again. A list of objects does
// not show that nobody may read one any more, or that it has rotted in its place.
const summaryAge = 24 * time.Hour

// summaries keeps those of manifests that were read, so that who asks for a list reads
// only what is new. Nothing is kept of what could not be read. It is safe for
// concurrent use.
type summaries struct {
	mu   sync.Mutex
	kept map[string]keptSummary // by key
}

// keptSummary is of an object as it was listed.
type keptSummary struct {
	BackupSummary

	size    int64
	modTime time.Time
	until   time.Time
}

// find returns what is kept of objects, and those that have to be read: the others,
// and what was replaced or read too long ago.
func (s *summaries) find(objects []backup.Object) (found []BackupSummary, rest []backup.Object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.kept, func(_ string, k keptSummary) bool { return !time.Now().Before(k.until) })
	for _, o := range objects {
		if k, known := s.kept[o.Key]; known && k.size == o.Size && k.modTime.Equal(o.ModTime) {
			found = append(found, k.BackupSummary)
		} else {
			rest = append(rest, o)
		}
	}
	return found, rest
}

// keep keeps those that were read at the same time for different times, so that they
// are not all read again by the same list.
func (s *summaries) keep(o backup.Object, summary BackupSummary) {
	until := time.Now().Add(summaryAge/2 + rand.N(summaryAge/2))
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kept == nil {
		s.kept = make(map[string]keptSummary)
	}
	s.kept[o.Key] = keptSummary{summary, o.Size, o.ModTime, until}
}

// Backup returns one manifest of a database by its backup id or [Latest], or
// backup.ErrNotFound.
func (c *Conductor) Backup(ctx context.Context, database, id string) (*backup.Manifest, error) {
	return ReadManifest(ctx, c.parts.Store, c.config.SID, database, id)
}

// ReadManifest reads and checks the manifest of one backup, given by its id or
// [Latest]. It returns *FieldError for what cannot be an id or a name and
// backup.ErrNotFound when there is no such backup.
func ReadManifest(ctx context.Context, store backup.Store, sid, database, id string) (*backup.Manifest, error) {
	database, err := backup.ParseDatabase(database)
	if err != nil {
		return nil, &FieldError{Field: "database", Err: err}
	}
	number, err := parseBackupID(id)
	if err != nil {
		return nil, err
	}
	if number != 0 {
		return readManifest(ctx, store, backup.ManifestKey(sid, database, number))
	}
	objects, err := store.List(ctx, backup.ManifestPrefix(sid, database))
	if err != nil {
		return nil, fmt.Errorf("list manifests of %s: %w", database, err)
	}
	var newest int64
	for _, object := range objects {
		if _, _, number, err := backup.ParseManifestKey(object.Key); err == nil {
			newest = max(newest, number)
		}
	}
	if newest == 0 {
		return nil, fmt.Errorf("no backup of %s: %w", database, backup.ErrNotFound)
	}
	return readManifest(ctx, store, backup.ManifestKey(sid, database, newest))
}

// parseBackupID reads a backup id, or [Latest] as 0.
func parseBackupID(id string) (int64, error) {
	if id == Latest {
		return 0, nil
	}
	number, err := strconv.ParseInt(id, 10, 64)
	if err != nil || number <= 0 {
		return 0, &FieldError{Field: "backup", Err: fmt.Errorf("%q: expected a backup id or %q", id, Latest)}
	}
	return number, nil
}

func readManifest(ctx context.Context, store backup.Store, key string) (_ *backup.Manifest, err error) {
	reader, err := store.Open(ctx, key, 0, -1)
	if err != nil {
		return nil, fmt.Errorf("read manifest %s: %w", key, err)
	}
	defer func() { err = errors.Join(err, reader.Close()) }()
	text, err := io.ReadAll(io.LimitReader(reader, backup.ManifestLimit+1))
	if err != nil {
		return nil, fmt.Errorf("read manifest %s: %w", key, err)
	}
	if len(text) > backup.ManifestLimit {
		return nil, damagedError{fmt.Errorf("read manifest %s: larger than %d bytes", key, backup.ManifestLimit)}
	}
	m, err := backup.DecodeManifest(text)
	if err != nil {
		return nil, damagedError{fmt.Errorf("read manifest %s: %w", key, err)}
	}
	if want := backup.ManifestKey(m.SID, m.Database, m.BackupID); want != key {
		return nil, damagedError{fmt.Errorf("read manifest %s: it belongs at %s", key, want)}
	}
	return m, nil
}

// manifestCode tells a manifest that cannot be used from a store that does not
// answer.
func manifestCode(err error) string {
	if unusable(err) {
		return CodeManifest
	}
	return CodeStoreUnusable
}

// presence fails when an object of a backup is missing or of another size.
func presence(ctx context.Context, store backup.Store, m *backup.Manifest) *Error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(8)
	for i := range m.Streams {
		s := &m.Streams[i]
		for k := range s.Objects {
			object := &s.Objects[k]
			group.Go(func() error {
				found, err := store.Stat(ctx, object.Key)
				if err != nil {
					code := CodeObject
					if !errors.Is(err, backup.ErrNotFound) {
						code = CodeStoreUnusable
					}
					return streamError(StagePlan, s.StreamID, code, causeOf(ctx, fmt.Errorf("object %s: %w", object.Key, err)))
				}
				if found.Size != object.Size {
					return streamError(StagePlan, s.StreamID, CodeObject,
						fmt.Errorf("object %s has %d bytes, its manifest says %d", object.Key, found.Size, object.Size))
				}
				return nil
			})
		}
	}
	if err := group.Wait(); err != nil {
		return newError(StagePlan, CodeObject, err)
	}
	return nil
}

// objectsIn counts the objects that manifests name.
func objectsIn(manifests ...*backup.Manifest) (n int) {
	for _, m := range manifests {
		for i := range m.Streams {
			n += len(m.Streams[i].Objects)
		}
	}
	return n
}
