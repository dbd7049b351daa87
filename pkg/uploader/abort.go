package uploader

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

const (
	// abortPatience is how long Abort waits for the store to do something more,
	// and awayPatience for the first of it at a store that has not done what it
	// was asked for before: a job that failed has its end told soon, and what
	// stays is nobody's hurry. After an outage rclone makes a request wait for
	// up to 2 s (lib/pacer, NewS3), which has to fit.
	abortPatience = 5 * time.Second
	awayPatience  = 2500 * time.Millisecond
	// lastWord is for what undo has to say when its time is over.
	lastWord = 100 * time.Millisecond
)

var errLeft = errors.New("the store does not answer; what was sent stays there until a later sweep")

// Abort implements [backup.Upload]. It ends a Consume that still runs and waits
// for it until ctx ends. A store that is away cannot be cleaned: then Abort
// returns an error within seconds, and AbortLeft and Sweep try again.
func (u *upload) Abort(ctx context.Context) error {
	if err := u.turn.Acquire(ctx, 1); err != nil {
		return fmt.Errorf("abort %s: %w", u.key, context.Cause(ctx))
	}
	if done := u.startAbort(); done != nil {
		select {
		case <-done:
		case <-ctx.Done():
			u.turn.Release(1)
			return fmt.Errorf("abort %s: waiting for its reader: %w", u.key, context.Cause(ctx))
		}
	}
	patience := abortPatience
	if u.away.Load() {
		patience = awayPatience
	}
	ctx, cancel := context.WithCancelCause(ctx)
	u.silence = time.AfterFunc(patience, func() { cancel(errLeft) })
	result := make(chan error, 1)
	// rclone's request to abort takes no context (backend/s3/s3.go, Abort).
	u.store.behind.Go(func() {
		defer u.turn.Release(1)
		defer cancel(nil)
		defer u.silence.Stop()
		result <- u.undo(ctx)
	})
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-result:
		return err
	case <-time.After(lastWord):
		return fmt.Errorf("abort %s: %w", u.key, context.Cause(ctx))
	}
}

// startAbort forbids everything else and returns what to wait for.
func (u *upload) startAbort() <-chan struct{} {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.stage != aborted {
		u.stage = aborting
		if _, there := u.store.left.Swap(u, struct{}{}); !there {
			u.store.metrics.left.Inc()
		}
	}
	if u.cancel != nil {
		u.cancel(backup.ErrAborted)
	}
	return u.done
}

// answered gives a store that does something time for more of it.
func (u *upload) answered() { u.silence.Reset(abortPatience) }

// undo removes what u has put into the store.
func (u *upload) undo(ctx context.Context) error {
	u.mu.Lock()
	was, segments := u.stage, u.segments
	u.free()
	u.mu.Unlock()
	if was == aborted {
		return nil
	}
	var faults []error
	for _, seg := range segments {
		if err := seg.undo(ctx); err != nil {
			faults = append(faults, fmt.Errorf("abort %s: %w", seg.object.Key, err))
			continue
		}
		u.answered()
	}
	if len(faults) > 0 {
		return errors.Join(faults...)
	}
	u.mu.Lock()
	u.stage = aborted
	u.mu.Unlock()
	u.away.Store(false)
	if _, there := u.store.left.LoadAndDelete(u); there {
		u.store.metrics.left.Dec()
	}
	u.store.live.Delete(u.id)
	u.store.metrics.uploads.WithLabelValues("aborted").Inc()
	return nil
}

// AbortLeft aborts again every upload of this Store whose Abort has failed. It
// ends when the store does not answer; one that cannot be aborted for a reason
// of its own keeps no other.
func (s *Store) AbortLeft(ctx context.Context) error { return s.abortLeft(ctx, "") }

func (s *Store) abortLeft(ctx context.Context, prefix string) error {
	var faults []error
	s.left.Range(func(key, _ any) bool {
		u := key.(*upload)
		if !u.ended() || !strings.HasPrefix(u.key, prefix) {
			return true
		}
		if err := u.Abort(ctx); err != nil {
			faults = append(faults, err)
			return !errors.Is(err, errLeft) && ctx.Err() == nil
		}
		s.log.Info("removed what an aborted upload had left", zap.String("key", u.key))
		return true
	})
	return errors.Join(faults...)
}

// ended tells whether no Consume runs.
func (u *upload) ended() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.done == nil {
		return true
	}
	select {
	case <-u.done:
		return true
	default:
		return false
	}
}
