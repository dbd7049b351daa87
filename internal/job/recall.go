package job

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cenkalti/backoff/v5"
	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// recallLimit is how many manifests of a database are read at most to find its
// newest complete backup.
const recallLimit = 200

// Recall looks into the store for the last backups of every database, so that the
// metrics know of those that the journal does not. It asks again while the store
// fails, and returns when it knows, or when ctx ends.
func (c *Conductor) Recall(ctx context.Context) {
	told := false
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		err := c.recall(ctx)
		if err != nil && ctx.Err() == nil && !told {
			c.log.Warn("the last backups in the store are not known yet; trying again", zap.Error(err))
			told = true
		}
		return struct{}{}, err
	}, backoff.WithBackOff(backoff.NewExponentialBackOff()), backoff.WithMaxElapsedTime(0))
	if err == nil {
		c.metrics.recalled.Set(1)
	}
}

func (c *Conductor) recall(ctx context.Context) error {
	objects, err := c.parts.Store.List(ctx, c.config.SID+"/")
	if err != nil {
		return fmt.Errorf("list manifests: %w", err)
	}
	manifests := make(map[string][]int64)
	for i := range objects {
		if _, database, id, err := backup.ParseManifestKey(objects[i].Key); err == nil {
			manifests[database] = append(manifests[database], id)
		}
	}
	var faults []error
	for database, ids := range manifests {
		slices.Sort(ids)
		slices.Reverse(ids)
		faults = append(faults, c.recallDatabase(ctx, database, ids[:min(len(ids), recallLimit)]))
	}
	return errors.Join(faults...)
}

// recallDatabase reads manifests, newest first, down to a complete backup: what is
// older no alert asks for.
func (c *Conductor) recallDatabase(ctx context.Context, database string, ids []int64) error {
	c.know(database)
	for _, id := range ids {
		m, err := readManifest(ctx, c.parts.Store, backup.ManifestKey(c.config.SID, database, id))
		if unusable(err) {
			c.log.Warn("a manifest that cannot be used does not count as a backup", zap.Int64("backup_id", id), zap.Error(err))
			continue
		}
		if err != nil {
			return err
		}
		c.metrics.succeeded(ActionBackup, database, string(m.Kind), m.FinishedAt)
		if m.Kind == backup.KindComplete {
			return nil
		}
	}
	return nil
}

// know makes the series of a database visible that alerts are made of.
func (c *Conductor) know(database string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.knowLocked(database)
}

func (c *Conductor) knowLocked(database string) {
	c.metrics.begin(ActionBackup, database)
	value := 0.0
	if _, lost := c.lost[database]; lost {
		value = 1
	}
	c.metrics.lost.WithLabelValues(database).Set(value)
	c.metrics.losses.WithLabelValues(database)
	c.metrics.showFailing(activity{ActionBackup, database}, c.ends)
}
