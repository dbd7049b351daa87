package httpapi

import (
	"context"
	"errors"

	"golang.org/x/sync/singleflight"

	"github.com/pipestreamer/pipestreamer/internal/job"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// looks are those at the store that cost something.
type looks struct {
	recoveries shared[job.Recovery]
	backups    shared[[]*backup.Manifest]
}

// shared makes requests for the same thing that come while it is being looked up
// share one look at the store. Nothing is kept: who asks later gets what is true
// later.
type shared[T any] struct{ group singleflight.Group }

// do looks up what key stands for. The look is made with the context of one who
// asks; when that one leaves or runs out of time, another looks. Nobody waits for
// longer than their own context.
func (s *shared[T]) do(ctx context.Context, key string, look func(context.Context) (T, error)) (found T, err error) {
	for {
		own := false
		looking := s.group.DoChan(key, func() (any, error) {
			own = true
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
