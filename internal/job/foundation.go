package job

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/internal/chain"
	"github.com/pipestreamer/pipestreamer/internal/logship"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

var _ logship.Bases = (*Conductor)(nil)

// Base implements [logship.Bases]. What HANA calls its newest data backup may be
// lost, or not ours: only what the store has counts.
func (c *Conductor) Base(ctx context.Context, database string) (logship.Base, error) {
	a := c.archive()
	ids, err := a.backupIDs(ctx, database)
	if err != nil {
		return logship.Base{}, err
	}
	for _, id := range ids {
		elements, err := a.elements(ctx, database, id)
		if unusable(err) {
			a.log.Debug("a data backup is none from which log could be replayed", zap.Int64("backup_id", id), zap.Error(err))
			continue
		}
		if err != nil {
			return logship.Base{}, err
		}
		newest, complete := elements[0], elements[len(elements)-1]
		return logship.Base{
			BackupID: id, StartedAt: newest.Catalog.StartedAt, Since: complete.Catalog.StartedAt,
			Positions: chain.ReplayPositions(newest),
		}, nil
	}
	return logship.Base{}, fmt.Errorf("data backup of %s that can be restored: %w", database, backup.ErrNotFound)
}

// backupIDs are those of the manifests of a database, newest first.
func (a archive) backupIDs(ctx context.Context, database string) ([]int64, error) {
	objects, err := a.store.List(ctx, backup.ManifestPrefix(a.sid, database))
	if err != nil {
		return nil, fmt.Errorf("list manifests of %s: %w", database, err)
	}
	var ids []int64
	for i := range objects {
		if _, _, id, err := backup.ParseManifestKey(objects[i].Key); err == nil {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(a, b int64) int { return cmp.Compare(b, a) })
	return ids, nil
}

// elements reads the manifest of a data backup and of all on which it builds, down
// to the complete one, and compares the objects in the store with them.
func (a archive) elements(ctx context.Context, database string, id int64) (elements []*backup.Manifest, err error) {
	for next := id; next != 0; {
		m, err := readManifest(ctx, a.store, backup.ManifestKey(a.sid, database, next))
		if err != nil {
			return nil, err
		}
		if m.Kind != backup.KindComplete && (m.BaseID == 0 || m.BaseID >= m.BackupID) {
			return nil, damagedError{fmt.Errorf("backup %d builds on backup %d", m.BackupID, m.BaseID)}
		}
		if err := a.compare(ctx, m); err != nil {
			return nil, err
		}
		elements, next = append(elements, m), m.BaseID
	}
	return elements, nil
}

// compare looks for the objects of a backup by one list.
func (a archive) compare(ctx context.Context, m *backup.Manifest) error {
	prefix := backup.DataPrefix(m.SID, m.Database) + m.Prefix + "/"
	objects, err := a.store.List(ctx, prefix)
	if err != nil {
		return fmt.Errorf("list %s: %w", prefix, err)
	}
	sizes := make(map[string]int64, len(objects))
	for i := range objects {
		sizes[objects[i].Key] = objects[i].Size
	}
	for i := range m.Streams {
		for k := range m.Streams[i].Objects {
			o := &m.Streams[i].Objects[k]
			if size, there := sizes[o.Key]; !there || size != o.Size {
				return damagedError{fmt.Errorf("backup %d: object %s is missing or not of %d bytes", m.BackupID, o.Key, o.Size)}
			}
		}
	}
	return nil
}

// damagedError says that what the store has cannot be used, unlike one of a store
// that does not answer.
type damagedError struct{ error }

// Unwrap gives the reason.
func (e damagedError) Unwrap() error { return e.error }

func unusable(err error) bool {
	_, damaged := errors.AsType[damagedError](err)
	return damaged || errors.Is(err, backup.ErrNotFound)
}
