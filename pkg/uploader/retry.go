package uploader

import (
	"context"
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
)

// shortPatience bounds the retries of what somebody waits for and may ask again.
const shortPatience = 20 * time.Second

// retry calls try until it succeeds, fails with an error that cannot pass, or
// patience is over. operation is a metric label. When ctx ends it returns its
// cause, joined to the last error.
func (s *Store) retry(ctx context.Context, operation string, patience time.Duration, try func(context.Context) error) error {
	if retriesInside(s.remote.kind) {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, patience, fmt.Errorf("no success within %s", patience))
		defer cancel()
	}
	var last error
	policy := backoff.NewExponentialBackOff()
	policy.InitialInterval = 200 * time.Millisecond
	policy.MaxInterval = 15 * time.Second
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		if ctx.Err() != nil {
			return struct{}{}, backoff.Permanent(context.Cause(ctx))
		}
		last = try(ctx)
		if last != nil && (ctx.Err() != nil || !mayPass(last)) {
			return struct{}{}, backoff.Permanent(last)
		}
		return struct{}{}, last
	}, backoff.WithBackOff(policy), backoff.WithMaxElapsedTime(patience),
		backoff.WithNotify(func(err error, wait time.Duration) {
			s.metrics.retries.WithLabelValues(operation).Inc()
			s.log.Warn("the store failed, will try again",
				zap.String("operation", operation), zap.Duration("wait", wait), zap.Error(err))
		}))
	if err == nil || ctx.Err() == nil {
		return err
	}
	if cause := context.Cause(ctx); last == nil || !errors.Is(last, cause) {
		return joinCause(cause, last)
	}
	return err
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
	// Implemented by the errors of the AWS SDK.
	var status interface{ HTTPStatusCode() int }
	var code interface{ ErrorCode() string }
	if errors.As(err, &code) && slices.Contains([]string{
		"RequestTimeout", "RequestTimeoutException", "BadDigest", "IncompleteBody", "InternalError",
		"SlowDown", "SlowDownRead", "SlowDownWrite", "Throttling", "ThrottlingException", "ServiceUnavailable",
	}, code.ErrorCode()) {
		return true
	}
	if errors.As(err, &status) && status.HTTPStatusCode() >= http.StatusBadRequest {
		n := status.HTTPStatusCode()
		return n == http.StatusRequestTimeout || n == http.StatusTooManyRequests ||
			n >= http.StatusInternalServerError && n != http.StatusNotImplemented
	}
	if _, unknown := errors.AsType[*net.DNSError](err); unknown {
		// A name may be unknown while a cluster's name server restarts.
		return true
	}
	for _, passing := range []error{
		errNotShown, io.ErrUnexpectedEOF, syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.EPIPE, syscall.ETIMEDOUT,
		syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.ENETDOWN, syscall.ECONNABORTED,
	} {
		if errors.Is(err, passing) {
			return true
		}
	}
	return fserrors.IsRetryError(err) || fserrors.ShouldRetry(err)
}
