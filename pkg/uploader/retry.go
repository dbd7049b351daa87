package uploader

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"syscall"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/rclone/rclone/fs/fserrors"
	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// shortPatience bounds the retries of what somebody waits for and may ask again.
const shortPatience = 20 * time.Second

// errSilent ends an attempt that the store does not answer. It passes.
var errSilent = errors.New("the store was silent")

// task is something that the store is asked for, more than once if need be.
type task struct {
	// operation is a metric label.
	operation string
	// patience bounds the time from the first attempt to the last failure that
	// is followed by another; there are always two.
	patience time.Duration
	// grace is how long other credentials are waited for when the store refuses
	// those in use. With 0 the secrets are read again and that is all.
	grace time.Duration
	// trouble, when set, is told each error that is followed by another attempt,
	// and nil when one of these has succeeded.
	trouble func(error)
}

// retry runs a task of which no stream depends.
func (s *Store) retry(ctx context.Context, operation string, patience time.Duration, try func(context.Context) error) error {
	return s.persist(ctx, task{operation: operation, patience: patience}, try)
}

// persist calls try until it succeeds, fails with an error that cannot pass, or
// the patience of t is over. When ctx ends it returns its cause, joined to the
// last error.
func (s *Store) persist(ctx context.Context, t task, try func(context.Context) error) error {
	if retriesInside(s.kind) {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, t.patience, fmt.Errorf("no success within %s", t.patience))
		defer cancel()
	}
	a := &attempts{store: s, task: t, try: try, begun: time.Now()}
	policy := backoff.NewExponentialBackOff()
	policy.InitialInterval = 200 * time.Millisecond
	policy.MaxInterval = 15 * time.Second
	_, err := backoff.Retry(ctx, func() (struct{}, error) { return struct{}{}, a.next(ctx) },
		backoff.WithBackOff(policy), backoff.WithMaxElapsedTime(0), backoff.WithNotify(a.failed))
	switch {
	case err == nil:
		if a.failures > 0 && t.trouble != nil {
			t.trouble(nil)
		}
		return nil
	case ctx.Err() != nil:
		if told, cause := a.told(), context.Cause(ctx); told == nil || !errors.Is(told, cause) {
			return joinCause(cause, told)
		}
		return err
	case a.final:
		return err
	case errors.Is(a.last, errSilent) && a.said != nil && !errors.Is(a.said, errSilent):
		return fmt.Errorf("no success within %s: %w; before that: %w", t.patience, err, a.said)
	default:
		return fmt.Errorf("no success within %s: %w", t.patience, err)
	}
}

// attempts are those of one task.
type attempts struct {
	task

	store *Store
	try   func(context.Context) error
	begun time.Time
	// last is the error of the last attempt; failures counts those that were
	// followed by another.
	last     error
	failures int
	// said is the last error that is more than silence, if there was any. rclone
	// may keep a request back after others have failed, which looks like silence.
	said error
	// refusedAt is when the store began to refuse the credentials in use.
	refusedAt time.Time
	// final is set when last cannot pass.
	final bool
}

// next makes one attempt, and another at once whenever the credentials are new.
func (a *attempts) next(ctx context.Context) error {
	for ctx.Err() == nil {
		used := a.store.secrets.generation.Load()
		a.last = a.try(ctx)
		if a.last == nil {
			return nil
		}
		if ctx.Err() != nil {
			return backoff.Permanent(a.last)
		}
		a.store.metrics.failed(a.last)
		switch {
		case refused(a.last):
			if a.store.renew(ctx, used) {
				a.refusedAt = time.Time{}
				a.failed(a.last, 0)
				continue
			}
			return a.wait()
		case !mayPass(a.last):
			a.final = true
			return backoff.Permanent(a.last)
		default:
			return a.pass()
		}
	}
	return backoff.Permanent(context.Cause(ctx))
}

// pass lets another attempt follow while there is patience. The second one is
// always made: the first may have lasted so long because this process was
// stopped, which says nothing about the store.
func (a *attempts) pass() error {
	if a.said == nil || !errors.Is(a.last, errSilent) {
		a.said = a.last
	}
	if a.failures > 0 && time.Since(a.begun) >= a.patience {
		return backoff.Permanent(a.last)
	}
	return a.last
}

// told is the last error that says something.
func (a *attempts) told() error {
	silent := errors.Is(a.last, errSilent) || errors.Is(a.last, context.Canceled) || errors.Is(a.last, context.DeadlineExceeded)
	if silent && a.said != nil {
		return a.said
	}
	return a.last
}

// wait gives refused credentials their grace, or ends the task.
func (a *attempts) wait() error {
	if a.refusedAt.IsZero() {
		a.refusedAt = time.Now()
	}
	grace := a.grace
	if a.store.cfg.Refresh == nil {
		grace = 0 // there will be no others
	}
	if grace > 0 && time.Since(a.refusedAt) < grace {
		return a.last
	}
	a.final = true
	if grace == 0 {
		return backoff.Permanent(a.last)
	}
	return backoff.Permanent(fmt.Errorf("the credentials are refused and no others came within %s: %w", grace, a.last))
}

// failed notes that another attempt follows after pause.
func (a *attempts) failed(err error, pause time.Duration) {
	a.failures++
	if a.trouble != nil {
		a.trouble(err)
	}
	a.store.metrics.retries.WithLabelValues(a.operation).Inc()
	a.store.log.Warn("the store failed, will try again",
		zap.String("operation", a.operation), zap.Duration("wait", pause), zap.Error(err))
}

// within bounds one attempt by the store's silence, for requests that are
// answered by a few bytes. Without it rclone, which sends a request that was not
// answered twice (backend/s3/s3.go, SetRetries), would take twice the time.
func (s *Store) within(ctx context.Context, request func(context.Context) error) error {
	if retriesInside(s.kind) {
		return request(ctx)
	}
	attempt, cancel := context.WithTimeoutCause(ctx, s.cfg.StallTimeout, errSilent)
	defer cancel()
	return s.because(ctx, attempt, request(attempt))
}

// because names the reason of err when attempt was ended before ctx.
func (s *Store) because(ctx, attempt context.Context, err error) error {
	if err == nil || ctx.Err() != nil || attempt.Err() == nil {
		return err
	}
	if cause := context.Cause(attempt); !errors.Is(cause, errSilent) {
		return cause
	}
	return fmt.Errorf("%w for %s", errSilent, s.cfg.StallTimeout)
}

// joinCause puts the reason of the end first and keeps what was going wrong
// before, unless that only says that the context ended.
func joinCause(cause, last error) error {
	if last == nil || errors.Is(last, context.Canceled) || errors.Is(last, context.DeadlineExceeded) {
		return cause
	}
	return errors.Join(cause, last)
}

// mayPass tells whether the same request may succeed later. What is not known
// to pass fails at once: a wrong "permanent" costs one backup, a wrong
// "transient" makes HANA wait for the whole outage tolerance.
func mayPass(err error) bool {
	switch {
	case errors.Is(err, backup.ErrExists), errors.Is(err, backup.ErrCorrupt):
		return false // whatever came before
	case errors.Is(err, errNotShown):
		return true
	}
	if pass, known := answerMayPass(err); known {
		return pass
	}
	if _, unknown := errors.AsType[*net.DNSError](err); unknown {
		// A name may be unknown while a cluster's name server restarts.
		return true
	}
	for _, passing := range []error{
		errSilent, errMakeRoom, errNoETag, io.ErrUnexpectedEOF, syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.EPIPE, syscall.ETIMEDOUT,
		syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.ENETDOWN, syscall.ECONNABORTED,
	} {
		if errors.Is(err, passing) {
			return true
		}
	}
	return fserrors.IsRetryError(err) || fserrors.ShouldRetry(err)
}

// answerMayPass judges what the store has answered, if it has.
func answerMayPass(err error) (pass, known bool) {
	if _, cut := errors.AsType[*xml.SyntaxError](err); cut {
		return true, true // half of an answer
	}
	// Implemented by the errors of the AWS SDK.
	var status interface{ HTTPStatusCode() int }
	var code interface{ ErrorCode() string }
	if errors.As(err, &code) && slices.Contains([]string{
		"RequestTimeout", "RequestTimeoutException", "BadDigest", "XAmzContentSHA256Mismatch", "IncompleteBody", "InternalError",
		"SlowDown", "SlowDownRead", "SlowDownWrite", "Throttling", "ThrottlingException", "ServiceUnavailable",
	}, code.ErrorCode()) {
		return true, true
	}
	if errors.As(err, &status) && status.HTTPStatusCode() >= http.StatusBadRequest {
		n := status.HTTPStatusCode()
		return n == http.StatusRequestTimeout || n == http.StatusTooManyRequests ||
			n >= http.StatusInternalServerError && n != http.StatusNotImplemented, true
	}
	return false, false
}
