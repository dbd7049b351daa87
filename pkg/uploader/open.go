package uploader

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rclone/rclone/fs"
)

// openTimeout bounds an attempt to open a store, and the question why it failed.
const openTimeout = 30 * time.Second

// ErrNotInTime is that a store was not open in time. It passes.
var ErrNotInTime = errors.New("not open within")

// opening opens a remote.
type opening func(context.Context) (fs.Fs, error)

// openInTime gives open up after limit. The context of a remote that it has opened
// does not end then: some backends go on to use it.
func openInTime(ctx context.Context, limit time.Duration, open opening) (fs.Fs, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(limit, func() { cancel(fmt.Errorf("%w %s", ErrNotInTime, limit)) })
	f, err := open(ctx)
	if !timer.Stop() {
		<-ctx.Done()
	}
	switch {
	case ctx.Err() != nil:
		// Also without an error: azureblob goes on without an answer that it needs
		// (backend/azureblob/azureblob.go, readHNS).
		return nil, joinCause(context.Cause(ctx), err)
	case err != nil:
		cancel(err)
	}
	return f, err
}

// whyNotOpen asks a store that was not open in time once more, for the error that
// rclone keeps to itself while it repeats what has failed. It is nil when the store
// says nothing, or nothing that explains it.
func whyNotOpen(ctx context.Context, open opening) error {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	ctx, settings := fs.AddConfig(ctx)
	settings.LowLevelRetries = 1
	f, err := open(ctx)
	if err == nil {
		_, err = f.NewObject(ctx, privatePrefix+"open")
	}
	if ctx.Err() != nil || errors.Is(err, fs.ErrorObjectNotFound) {
		return nil
	}
	return err
}
