package job

import (
	"context"
	"slices"
	"time"

	"go.uber.org/zap"
)

const (
	// databasesInterval is the time between two looks at which databases HANA has.
	databasesInterval = 10 * time.Minute
	// databasesRetry is that after one that failed: HANA starts after the daemon, and
	// alerts on databases that are gone are held back only when that is known.
	databasesRetry = 30 * time.Second
)

// databaseLister is a Trigger that can tell which databases there are.
type databaseLister interface {
	Databases(ctx context.Context) ([]string, error)
}

// WatchDatabases asks HANA at intervals, until ctx ends, which databases it has, so
// that the metrics know those that were never backed up, and those that are gone.
// What was known stays while HANA does not answer, and it is asked more often.
func (c *Conductor) WatchDatabases(ctx context.Context) {
	lister, can := c.parts.Trigger.(databaseLister)
	if !can {
		return
	}
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
		}
		names, err := lister.Databases(ctx)
		if err != nil {
			if ctx.Err() == nil {
				c.log.Debug("HANA does not say which databases it has", zap.Error(err))
			}
			pause.Reset(databasesRetry)
			continue
		}
		c.showDatabases(names)
		pause.Reset(databasesInterval)
	}
}

// showDatabases shows which of all databases that were ever known are there.
func (c *Conductor) showDatabases(names []string) {
	for _, name := range names {
		c.know(name)
	}
	for _, name := range c.metrics.databases() {
		value := 0.0
		if slices.Contains(names, name) {
			value = 1
		}
		c.metrics.present.WithLabelValues(name).Set(value)
	}
}
