package job

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// answer is what a question about the catalog gives, asked so long after the first one.
type answer func(ctx context.Context, since time.Duration) (backup.CatalogEntry, error)

// catalogOf answers questions about the catalog.
type catalogOf struct {
	backup.Trigger

	begin  time.Time
	answer answer
}

func (c catalogOf) Entry(ctx context.Context, _ backup.Plan) (backup.CatalogEntry, error) {
	return c.answer(ctx, time.Since(c.begin))
}

func says(state string) answer {
	return func(context.Context, time.Duration) (backup.CatalogEntry, error) {
		return backup.CatalogEntry{State: state}, nil
	}
}

func fails(err error) answer {
	return func(context.Context, time.Duration) (backup.CatalogEntry, error) { return backup.CatalogEntry{}, err }
}

// nobody is what who connects to a HANA gets that does not run.
func nobody() answer {
	return fails(fmt.Errorf("connect to HANA: %w", &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}))
}

// slow takes its time.
func slow(takes time.Duration, then answer) answer {
	return func(ctx context.Context, since time.Duration) (backup.CatalogEntry, error) {
		select {
		case <-time.After(takes):
			return then(ctx, since)
		case <-ctx.Done():
			return backup.CatalogEntry{}, ctx.Err()
		}
	}
}

// until changes the answer at a time.
func (a answer) until(end time.Duration, then answer) answer {
	return func(ctx context.Context, since time.Duration) (backup.CatalogEntry, error) {
		if since < end {
			return a(ctx, since)
		}
		return then(ctx, since)
	}
}

// once fails once with err, at a time.
func (a answer) once(at time.Duration, err error) answer {
	failed := false
	return func(ctx context.Context, since time.Duration) (backup.CatalogEntry, error) {
		if since >= at && !failed {
			failed = true
			return backup.CatalogEntry{}, err
		}
		return a(ctx, since)
	}
}

// TestPatienceWithTheCatalog: only a HANA to which no connection can be made,
// while the daemon drains, is given up early.
func TestPatienceWithTheCatalog(t *testing.T) {
	t.Parallel()
	const patience, never = 5 * time.Minute, -1
	good, running := says(backup.CatalogSuccessful), says(backup.CatalogRunning)
	reset := fmt.Errorf("SELECT: no answer from HANA: %w", syscall.ECONNRESET)
	for name, test := range map[string]struct {
		hana   answer
		drains time.Duration // since the first question
		// until is when it is given up; 0 when it is not.
		until time.Duration
	}{
		"cannot be reached":                  {nobody(), never, patience},
		"cannot be reached while draining":   {nobody(), 0, goneAfter},
		"goes while draining":                {running.until(time.Minute, nobody()), 0, time.Minute + goneAfter},
		"has gone long before the drain":     {nobody(), 2 * time.Minute, 2*time.Minute + goneAfter},
		"comes back when the drain begins":   {nobody().until(2*time.Minute+5*time.Second, good), 2 * time.Minute, 0},
		"still writes":                       {running, never, patience},
		"still writes while it is drained":   {running, 0, patience},
		"has no row while it is drained":     {fails(backup.ErrNotFound), 0, patience},
		"refuses the question":               {fails(&backup.HANAError{Code: 258}), 0, patience},
		"is silent":                          {slow(5*time.Second, fails(context.DeadlineExceeded)), 0, patience},
		"is slow":                            {slow(40*time.Second, good), 0, 0},
		"closes one connection":              {running.until(time.Minute+time.Second, good).once(time.Minute, reset), 0, 0},
		"closes one connection, then writes": {running.until(2*time.Minute, good).once(time.Minute, io.EOF), 0, 0},
		"hangs, then closes the connection": {
			slow(30*time.Second, fails(context.DeadlineExceeded)).until(time.Minute, good).once(50*time.Second, reset), 0, 0,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				begin := time.Now()
				c := &Conductor{parts: Parts{Trigger: catalogOf{begin: begin, answer: test.hana}}, metrics: NewMetrics(nil)}
				if test.drains != never {
					time.AfterFunc(test.drains, func() { c.Refuse() })
				}
				synctest.Wait()
				_, err := c.pollCatalog(t.Context(), backup.Plan{}, patience, nil)
				if test.until == 0 {
					if err != nil {
						t.Errorf("given up after %s: %v", time.Since(begin), err)
					}
					return
				}
				if err == nil || errors.Is(err, context.Canceled) {
					t.Errorf("got %v", err)
				}
				// Between two questions are up to 5 s, and half as much more.
				if took := time.Since(begin); took < test.until || took > test.until+20*time.Second {
					t.Errorf("given up after %s, expected %s", took, test.until)
				}
			})
		})
	}
}
