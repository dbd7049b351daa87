package httpapi

import (
	"context"
	"errors"
	"runtime/debug"

	"golang.org/x/sync/singleflight"

	"github.com/pipestreamer/pipestreamer/internal/job"
)

// looks are those at the store that cost something.
type looks struct {
	recoveries shared[job.Recovery]
	backups    shared[job.BackupList]
}

// shared makes requests for the same thing that come while it is being looked up
// share one look at the store. Nothing is kept: who asks later gets what is true
// later.
type shared[T any] struct{ group singleflight.Group }

// lookPanic is a panic that ended a look. It is an error until it is in the goroutine
// of a request.
type lookPanic struct { //nolint:errname // it is a panic
	cause any
	stack []byte
}

// Error is for those who may not see the stack.
func (p *lookPanic) Error() string {
	return "a panic, which is a defect of pipestreamer; its log has the stack"
}

// do looks up what key stands for. The look is made with the context of one who
// asks; when that one leaves or runs out of time, another looks. Nobody waits for
// longer than their own context. A panic of the look is a *lookPanic: out of the
// goroutine in which singleflight looks, it would end the process.
func (s *shared[T]) do(ctx context.Context, key string, look func(context.Context) (T, error)) (found T, err error) {
	for {
		own := false
		looking := s.group.DoChan(key, func() (_ any, err error) {
			own = true
			defer func() {
				if cause := recover(); cause != nil {
					err = &lookPanic{cause, debug.Stack()}
				}
			}()
			return look(ctx)
		})
		var result singleflight.Result
		select {
		case result = <-looking:
		case <-ctx.Done():
			return found, ctx.Err()
		}
		ended := errors.Is(result.Err, context.Canceled) || errors.Is(result.Err, context.DeadlineExceeded)
		if ended && !own && ctx.Err() == nil {
			continue
		}
		found, _ = result.Val.(T)
		return found, result.Err
	}
}
