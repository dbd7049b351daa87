package job

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// DrainedError refuses a job because the daemon was drained and still serves. It
// is ErrDraining.
type DrainedError struct{ At time.Time }

// Error says since when, and what ends it.
func (e *DrainedError) Error() string {
	return "the daemon was drained at " + e.At.Format(time.RFC3339) + "; it takes no jobs until it is restarted"
}

// Is makes it one way of draining.
func (e *DrainedError) Is(target error) bool { return target == ErrDraining }

// Refuse refuses new jobs from now on and returns the records of those that run,
// newest first: no other will. Those that are left to the next process are not
// among them. Log backups are shipped on. It may be called again.
func (c *Conductor) Refuse() []Record {
	c.mu.Lock()
	if !c.draining {
		c.draining, c.drainedAt = true, time.Now().UTC()
		c.metrics.draining.Set(1)
	}
	c.mu.Unlock()
	return slices.DeleteFunc(c.Jobs(), func(r Record) bool { return r.State.Terminal() || r.Suspended })
}

// refusal is why no job is taken, or nil.
func (c *Conductor) refusal() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.refusalLocked()
}

func (c *Conductor) refusalLocked() error {
	switch {
	case !c.draining:
		return nil
	case c.ending:
		return ErrDraining
	default:
		return &DrainedError{At: c.drainedAt}
	}
}

// Drain is Refuse, and waits for the running jobs until ctx ends; then it cancels
// them and waits for their clean-up. It is the beginning of the daemon's end.
func (c *Conductor) Drain(ctx context.Context) {
	c.mu.Lock()
	c.ending = true
	c.mu.Unlock()
	c.Refuse()
	ended := make(chan struct{})
	go func() {
		c.running.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-ctx.Done():
		c.end(ErrDraining)
		<-ended
	}
}

// Close is Drain without patience.
func (c *Conductor) Close() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	c.Drain(ctx)
	c.end(ErrDraining)
	c.tidying.Wait()
}

// Refusing says why no job is taken whatever HANA and the store say, or nil.
func (c *Conductor) Refusing() error {
	if err := c.refusal(); err != nil {
		return fmt.Errorf("draining, no new jobs are taken: %w", err)
	}
	return nil
}

// Ready reports whether a job could be taken now: the daemon is not draining
// and HANA answers.
func (c *Conductor) Ready(ctx context.Context) error {
	if err := c.Refusing(); err != nil {
		return err
	}
	if pinger, can := c.parts.Trigger.(interface{ Ping(context.Context) error }); can {
		if err := pinger.Ping(ctx); err != nil {
			return fmt.Errorf("HANA: %w", err)
		}
	}
	return nil
}
