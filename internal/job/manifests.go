package job

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// Latest stands for the newest backup wherever a backup id is asked for.
const Latest = "latest"

// Backups returns the manifests of one database, or of all when database is
// empty, newest first.
func (c *Conductor) Backups(ctx context.Context, database string) ([]*backup.Manifest, error) {
	prefix := c.config.SID + "/"
	if database != "" {
		name, err := backup.ParseDatabase(database)
		if err != nil {
			return nil, &FieldError{Field: "database", Err: err}
		}
		prefix = backup.ManifestPrefix(c.config.SID, name)
	}
	objects, err := c.parts.Store.List(ctx, prefix)
	if err != nil {
		return nil, fmt.Errorf("list manifests: %w", err)
	}
	var manifests []*backup.Manifest
	for _, object := range objects {
		if _, _, _, err := backup.ParseManifestKey(object.Key); err != nil {
			continue // a data object
		}
		m, err := readManifest(ctx, c.parts.Store, object.Key)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err != nil { // one that is broken must not hide the others
			c.log.Error("a manifest is left out of the list", zap.String("key", object.Key), zap.Error(err))
			continue
		}
		manifests = append(manifests, m)
	}
	slices.SortFunc(manifests, func(a, b *backup.Manifest) int { return int(b.BackupID - a.BackupID) })
	return manifests, nil
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
