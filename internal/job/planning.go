package job

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/pipestreamer/pipestreamer/internal/chain"
	"github.com/pipestreamer/pipestreamer/internal/logship"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// manifestReaders is how many manifests are read at a time.
const manifestReaders = 8

// planChain decides from the store alone what a restore uses: nothing but the
// bucket may be left of the system that made the backups.
func (r *restoreRun) planChain(ctx context.Context, target chain.Target) *Error {
	if target == (chain.Target{}) { // the newest data backup
		newest, err := ReadManifest(ctx, r.parts.Store, r.config.SID, r.source, Latest)
		if err != nil {
			return newError(StagePlan, CodeManifest, causeOf(ctx, err))
		}
		target.BackupID = newest.BackupID
	}
	if target.BackupID != 0 {
		m, err := readManifest(ctx, r.parts.Store, backup.ManifestKey(r.config.SID, r.source, target.BackupID))
		if err != nil {
			return newError(StagePlan, CodeManifest, causeOf(ctx, err))
		}
		if m.Kind == backup.KindComplete { // needs nothing else
			r.chain = chain.Chain{Complete: m, Reaches: m.Catalog.StartedAt}
			return presence(ctx, r.parts.Store, m)
		}
	}
	history, notes, err := r.history(ctx, r.source)
	if err != nil {
		return newError(StagePlan, CodeStoreUnusable, causeOf(ctx, err))
	}
	if r.chain, err = chain.Plan(history, target); err != nil {
		if len(notes) > 0 {
			err = fmt.Errorf("%w; besides, %w", err, errors.Join(notes...))
		}
		return newError(StagePlan, CodePointUnreachable, err)
	}
	for _, note := range notes {
		r.chain.Notes = append(r.chain.Notes, note.Error())
	}
	return r.readChosen(ctx)
}

// readChosen reads the chosen manifests once more, with all of their parts.
func (r *restoreRun) readChosen(ctx context.Context) *Error {
	again := func(m *backup.Manifest) (*backup.Manifest, *Error) {
		whole, err := readManifest(ctx, r.parts.Store, backup.ManifestKey(m.SID, m.Database, m.BackupID))
		if err != nil {
			return nil, newError(StagePlan, CodeManifest, causeOf(ctx, err))
		}
		return whole, presence(ctx, r.parts.Store, whole)
	}
	var problem *Error
	if r.chain.Complete, problem = again(r.chain.Complete); problem != nil {
		return problem
	}
	for i := range r.chain.Deltas {
		if r.chain.Deltas[i], problem = again(r.chain.Deltas[i]); problem != nil {
			return problem
		}
	}
	return nil
}

// history reads what the store knows of a database. A manifest that cannot be
// read is left out and told: others may do.
func (c *Conductor) history(ctx context.Context, database string) (h chain.History, notes []error, err error) {
	if h.Backups, notes, err = c.manifests(ctx, database); err != nil {
		return h, nil, err
	}
	if h.Logs, err = logship.ReadIndexes(ctx, c.parts.Store, c.config.SID, database, time.Time{}); err != nil {
		return h, nil, err
	}
	h.Missing, err = c.missing(ctx, database, &h)
	return h, notes, err
}

// manifests reads all manifests of a database without the parts of their objects,
// which are most of them.
func (c *Conductor) manifests(ctx context.Context, database string) (found []*backup.Manifest, notes []error, err error) {
	objects, err := c.parts.Store.List(ctx, backup.ManifestPrefix(c.config.SID, database))
	if err != nil {
		return nil, nil, fmt.Errorf("list manifests of %s: %w", database, err)
	}
	var mu sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(manifestReaders)
	for _, object := range objects {
		if _, _, _, err := backup.ParseManifestKey(object.Key); err != nil {
			continue
		}
		group.Go(func() error {
			m, err := readManifest(ctx, c.parts.Store, object.Key)
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				notes = append(notes, err)
				c.log.Error("a manifest is left out of a plan", zap.String("key", object.Key), zap.Error(err))
				return nil
			}
			for i := range m.Streams {
				for k := range m.Streams[i].Objects {
					m.Streams[i].Objects[k].Parts = nil
				}
			}
			found = append(found, m)
			return nil
		})
	}
	return found, notes, group.Wait()
}

// missing lists the objects of a history that are not in the store, or not with
// their size: two lists instead of a question for each.
func (c *Conductor) missing(ctx context.Context, database string, h *chain.History) (map[string]bool, error) {
	sizes := make(map[string]int64)
	for _, prefix := range []string{backup.DataPrefix(c.config.SID, database), backup.LogPrefix(c.config.SID, database)} {
		objects, err := c.parts.Store.List(ctx, prefix)
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", prefix, err)
		}
		for i := range objects {
			sizes[objects[i].Key] = objects[i].Size
		}
	}
	missing := make(map[string]bool)
	check := func(objects []backup.Object) {
		for i := range objects {
			if size, there := sizes[objects[i].Key]; !there || size != objects[i].Size {
				missing[objects[i].Key] = true
			}
		}
	}
	for _, m := range h.Backups {
		for i := range m.Streams {
			check(m.Streams[i].Objects)
		}
	}
	for i := range h.Logs {
		check(h.Logs[i].Objects)
	}
	return missing, nil
}
