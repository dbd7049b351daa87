package job

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/pkg/hdbtrigger"
)

const (
	// databasesInterval is the time between two looks at which databases HANA has.
	databasesInterval = 10 * time.Minute
	// databasesRetry is that after one that failed: HANA starts after the daemon, and
	// alerts on databases that are gone are held back only when that is known.
	databasesRetry = 30 * time.Second
)

// hanaStart is for how long after the daemon's own start a database that takes no
// connections counts as one that starts: HANA's container starts after the sidecar,
// and its tenants after SYSTEMDB. A job would fail at once, and the key, with which a
// scheduler asks again, be spent.
const hanaStart = 20 * time.Minute

// existsTimeout bounds what a request waits for before its job is admitted.
const existsTimeout = 5 * time.Second

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
		c.mu.Lock()
		c.there = names
		c.mu.Unlock()
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

// checkDatabase refuses a request for a database that HANA does not have, before it
// becomes a job: the failure of that would stay in metrics and alerts, and no backup
// of it would ever end it. A HANA that does not answer at once proves nothing, and
// nor does a request that has started a job before.
func (c *Conductor) checkDatabase(ctx context.Context, field, name, key string) error {
	if c.hasJob(key) {
		return nil
	}
	c.mu.Lock()
	known := slices.Contains(c.there, name)
	c.mu.Unlock()
	if known {
		return nil
	}
	if err := c.absent(ctx, name); err != nil {
		return &FieldError{Field: field, Err: err}
	}
	return nil
}

// checkStarted is ErrHANAStarting for a backup with a key, by which it may come again,
// of a database that may still be starting. One that a restore has stopped is not.
func (c *Conductor) checkStarted(ctx context.Context, name, key string) error {
	starter, can := c.parts.Trigger.(interface {
		CheckOnline(ctx context.Context, database string) error
	})
	if !can || key == "" || c.hasJob(key) || time.Since(c.begun) >= hanaStart || stoppedBy(name, c.Jobs()) != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, existsTimeout)
	defer cancel()
	err := starter.CheckOnline(ctx, name)
	if disconnected(err) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, hdbtrigger.ErrOffline) {
		return fmt.Errorf("%w: %w", ErrHANAStarting, err)
	}
	return nil // it is online, or the job says what is wrong
}

// hasJob says whether a request with this key has started a job before.
func (c *Conductor) hasJob(key string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, repeated := c.keys[key]
	return repeated && key != ""
}

// absent says which databases HANA has when it does not have one, nil when it does
// or when it does not say.
func (c *Conductor) absent(ctx context.Context, name string) error {
	lister, can := c.parts.Trigger.(databaseLister)
	if !can {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, existsTimeout)
	defer cancel()
	names, err := lister.Databases(ctx)
	if err != nil || slices.Contains(names, name) {
		return nil // without an answer the job asks again, and says what is wrong
	}
	slices.Sort(names)
	return fmt.Errorf("HANA has no database %s: it has %s", name, strings.Join(names, ", "))
}
