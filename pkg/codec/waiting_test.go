package codec_test

import (
	"bytes"
	"context"
	"io"
	"sync/atomic"
	"testing"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
	"github.com/pipestreamer/pipestreamer/pkg/codec"
)

// stuck is a store that takes nothing until it is released, and then all.
type stuck struct {
	codec.Inner

	release chan struct{}
}

func (s stuck) Begin(_ context.Context, _ string, options backup.UploadOptions) (backup.Upload, error) {
	return &stuckUpload{stuck: s, waiting: options.Waiting}, nil
}

type stuckUpload struct {
	backup.Upload
	stuck

	waiting func(bool)
}

func (u *stuckUpload) Consume(ctx context.Context, r io.Reader) (backup.Stored, error) {
	u.waiting(true)
	<-u.release
	u.waiting(false)
	_, err := (&dropped{}).Consume(ctx, r)
	u.waiting(true) // for the last parts
	u.waiting(false)
	return backup.Stored{}, err
}

// TestWaiting: the store is waited for when it takes nothing and the codec cannot
// take more, not while the stream is read, and not when Consume has returned.
func TestWaiting(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	store, err := codec.New(stuck{release: release}, codec.Config{Compression: "fastest"})
	if err != nil {
		t.Fatal(err)
	}
	var waits atomic.Int32
	began := make(chan struct{}, 100)
	upload, err := store.Begin(t.Context(), key, backup.UploadOptions{Encode: true, Waiting: func(forStore bool) {
		change := int32(-1)
		if forStore {
			change = 1
			began <- struct{}{}
		}
		if now := waits.Add(change); now < 0 || now > 1 {
			t.Errorf("Waiting(%v) for the second time", forStore)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := upload.Consume(t.Context(), readerFunc{bytes.NewReader(random(30 << 20)), func() {
			if waits.Load() != 0 {
				t.Error("the stream is read while the store is said to be waited for")
			}
		}})
		done <- err
	}()
	<-began // or the test hangs
	close(release)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if waits.Load() != 0 {
		t.Error("the store is waited for after Consume has returned")
	}
}

// readerFunc calls before ahead of each read.
type readerFunc struct {
	io.Reader

	before func()
}

func (r readerFunc) Read(p []byte) (int, error) {
	r.before()
	return r.Reader.Read(p)
}
