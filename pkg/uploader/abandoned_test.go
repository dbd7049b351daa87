package uploader

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap/zaptest"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// TestAbandonedReadersLeaveRoom opens as many streams as the budget promises,
// reads a byte of each and leaves them alone, as HANA may: the next one still
// opens and can be read to its end.
func TestAbandonedReadersLeaveRoom(t *testing.T) {
	const streams, part = 8, 64 << 10
	metrics, err := NewMetrics(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{Type: "local", Root: t.TempDir(), PartSize: part, Streams: streams, MemoryBudget: 2 * streams * part}
	store, err := New(t.Context(), cfg, zaptest.NewLogger(t), metrics)
	if err != nil {
		t.Fatal(err)
	}
	content := bytes.Repeat([]byte("pipe"), 10*part/4)
	upload, err := store.Begin(t.Context(), "a/b", backup.UploadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	stored, err := upload.Consume(t.Context(), bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	if err := upload.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	objects := stored.Objects
	for i := range streams {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		t.Cleanup(cancel)
		r, err := store.OpenStream(ctx, objects)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		})
		if i == streams-1 {
			finish(t, r, content)
			continue
		}
		if _, err := io.ReadFull(r, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		// Let it fetch ahead as far as it may.
		time.Sleep(20 * time.Millisecond)
	}
}

func finish(t *testing.T, r io.Reader, want []byte) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		got, err := io.ReadAll(r)
		if err == nil && !bytes.Equal(got, want) {
			err = fmt.Errorf("%d bytes came, expected %d", len(got), len(want))
		}
		done <- err
	}()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Error("no progress beside readers that were left alone")
	}
}

// TestManifestBesideStreams takes the whole budget for streams: an object whose
// bytes are there already is written all the same.
func TestManifestBesideStreams(t *testing.T) {
	const streams, part = 4, 5 << 20
	cfg := startS3(t).config()
	cfg.PartSize, cfg.Streams, cfg.MemoryBudget = part, streams, 2*streams*part
	store, err := New(t.Context(), cfg, zaptest.NewLogger(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range streams {
		u, err := store.Begin(t.Context(), fmt.Sprintf("stream/%d", i), backup.UploadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := u.Abort(context.WithoutCancel(t.Context())); err != nil {
				t.Error(err)
			}
		})
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	content := bytes.Repeat([]byte("manifest"), 3*part/16)
	for i := range 2 {
		u, err := store.Begin(ctx, fmt.Sprintf("manifest/%d", i), backup.UploadOptions{EstimatedSize: int64(len(content)), AtHand: true})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := u.Consume(ctx, bytes.NewReader(content)); err != nil {
			t.Fatal(err)
		}
		if err := u.Commit(ctx); err != nil {
			t.Fatal(err)
		}
	}
}
