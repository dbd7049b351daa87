package job

import (
	"context"
	"errors"
	"slices"
	"time"

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
	var left manifestsLeft
	pauses := backoff.NewExponentialBackOff()
	pauses.InitialInterval, pauses.Multiplier, pauses.MaxInterval = 2*time.Second, 3, 5*time.Minute
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		err := c.recall(ctx, &left)
		if err != nil && ctx.Err() == nil && !told {
			c.log.Warn("the last backups in the store are not known yet; trying again", zap.Error(err))
			told = true
		}
		return struct{}{}, err
	}, backoff.WithBackOff(pauses), backoff.WithMaxElapsedTime(0))
	if err == nil {
		c.metrics.recalled.Set(1)
	}
}

// manifestsLeft are the ids of the backups whose manifests are still to be read,
// newest first, by database. nil means that the store was not listed yet, which is
// done once.
type manifestsLeft map[string][]int64

// recall reads what is left.
func (c *Conductor) recall(ctx context.Context, left *manifestsLeft) error {
	if *left == nil {
		// The store is asked for the databases, too: who has lost the journal, or a
		// tenant, knows of none.
		databases, err := c.storedDatabases(ctx)
		if err != nil {
			return err
		}
		objects, err := c.archive().listManifests(ctx, databases...)
		if err != nil {
			return err
		}
		*left = manifestsIn(objects)
	}
	var faults []error
	for database, ids := range *left {
		n, err := c.recallDatabase(ctx, database, ids)
		if err == nil {
			delete(*left, database)
			continue
		}
		(*left)[database] = ids[n:]
		faults = append(faults, err)
	}
	return errors.Join(faults...)
}

func manifestsIn(objects []backup.Object) manifestsLeft {
	manifests := make(manifestsLeft)
	for i := range objects {
		if _, database, id, err := backup.ParseManifestKey(objects[i].Key); err == nil {
			manifests[database] = append(manifests[database], id)
		}
	}
	for database, ids := range manifests {
		slices.Sort(ids)
		slices.Reverse(ids)
		manifests[database] = slices.Clone(ids[:min(len(ids), recallLimit)])
	}
	return manifests
}

// recallDatabase reads manifests, newest first, down to a complete backup: what is
// older no alert asks for. With an error it returns how many need not be read again.
func (c *Conductor) recallDatabase(ctx context.Context, database string, ids []int64) (n int, err error) {
	c.know(database)
	for i, id := range ids {
		m, err := readManifest(ctx, c.parts.Store, backup.ManifestKey(c.config.SID, database, id))
		if unusable(err) {
			c.log.Warn("a manifest that cannot be used does not count as a backup", zap.Int64("backup_id", id), zap.Error(err))
			continue
		}
		if err != nil {
			return i, err
		}
		c.metrics.succeeded(ActionBackup, database, string(m.Kind), m.FinishedAt)
		if m.Kind == backup.KindComplete {
			return i + 1, nil
		}
	}
	return len(ids), nil
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
