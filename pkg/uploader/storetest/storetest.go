// Package storetest is what every store has to keep, as a suite of tests: the
// contracts of backup.Store, backup.Upload and backup.StreamOpener. A backend
// that has not passed it is not used.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// Store is what the suite needs of a store beyond the contracts.
type Store interface {
	backup.Store
	backup.StreamOpener
	Maintainer
	Inspector
}

// Maintainer proves that a store works and cleans it.
type Maintainer interface {
	// Check writes, reads back and removes a small object.
	Check(ctx context.Context) error
	// Sweep removes the leftovers of uploads below prefix.
	Sweep(ctx context.Context, prefix string, olderThan time.Duration) error
	// Folders returns the names directly below prefix below which there are
	// objects, sorted.
	Folders(ctx context.Context, prefix string) ([]string, error)
}

// Inspector looks behind the store's back.
type Inspector interface {
	// Overwrite puts content at key, as a fault of the store would.
	Overwrite(ctx context.Context, key string, content []byte) error
	// Leftovers counts what uploads have left that is not at a key.
	Leftovers(ctx context.Context) (int, error)
	// Peak is the most memory in bytes that part buffers have taken.
	Peak() int64
}

// Limits are the settings that the suite varies; 0 is the subject's default.
type Limits struct {
	MaxParts int
	// Streams × 2 × part size is the memory budget.
	Streams int
}

// Subject is a kind of store.
type Subject struct {
	// PartSize is the size of the parts of the stores that Open returns.
	PartSize int
	// Open opens a store at a place that is empty for each t and the same for
	// each call with the same t.
	Open func(t *testing.T, limits Limits) Store
	// Except maps names of tests that do not apply, or a part of them
	// ("Crash/prefix": Sweep cannot tell prefixes apart), to the reason.
	Except map[string]string
}

// Run runs the suite.
func Run(t *testing.T, subject Subject) {
	t.Helper()
	for _, test := range []struct {
		name string
		run  func(*testing.T, Subject)
	}{
		{"RoundTrip", testRoundTrip},
		{"Segments", testSegments},
		{"EmptyStream", testEmptyStream},
		{"Waiting", testWaiting},
		{"SourceFails", testSourceFails},
		{"CancelledConsume", testCancelledConsume},
		{"CancelledCommit", testCancelledCommit},
		{"CancelledBegin", testCancelledBegin},
		{"Life", testLife},
		{"AbortEndsConsume", testAbortEndsConsume},
		{"ExistingKey", testExistingKey},
		{"ExistingSegment", testExistingSegment},
		{"Ranges", testRanges},
		{"List", testList},
		{"Folders", testFolders},
		{"Keys", testKeys},
		{"Crash", testCrash},
		{"Concurrency", testConcurrency},
		{"Corrupt", testCorrupt},
		{"OpenStream", testOpenStream},
		{"OpenStreamRefuses", testOpenStreamRefuses},
		{"Check", testCheck},
	} {
		t.Run(test.name, func(t *testing.T) {
			if reason, found := subject.Except[test.name]; found {
				t.Skip(reason)
			}
			test.run(t, subject)
		})
	}
}

// pattern returns size bytes that differ for each seed and do not repeat.
func pattern(seed uint64, size int) []byte {
	data := make([]byte, size)
	random := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	if _, err := random.Read(data); err != nil {
		panic(err) // documented never to happen
	}
	return data
}

// source yields data in pieces of odd sizes and then ends with err, io.EOF if
// that is nil. before, when set, is called ahead of each read.
type source struct {
	data   []byte
	err    error
	before func(offset int)
	offset int
}

func (s *source) Read(p []byte) (int, error) {
	if s.before != nil {
		s.before(s.offset)
	}
	if s.offset == len(s.data) {
		if s.err == nil {
			return 0, io.EOF
		}
		return 0, s.err
	}
	n := copy(p[:min(len(p), 65_521)], s.data[s.offset:])
	s.offset += n
	return n, nil
}

func begin(t *testing.T, store Store, key string, estimate int) backup.Upload {
	t.Helper()
	upload, err := store.Begin(t.Context(), key, backup.UploadOptions{EstimatedSize: int64(estimate)})
	if err != nil {
		t.Fatalf("Begin(%q): %v", key, err)
	}
	return upload
}

func consume(t *testing.T, upload backup.Upload, data []byte) backup.Stored {
	t.Helper()
	stored, err := upload.Consume(t.Context(), &source{data: data})
	if err != nil {
		t.Fatalf("Consume: %v", err)
	}
	return stored
}

// put stores data at key by the whole way.
func put(t *testing.T, store Store, key string, data []byte) backup.Stored {
	t.Helper()
	upload := begin(t, store, key, len(data))
	stored := consume(t, upload, data)
	if err := upload.Commit(t.Context()); err != nil {
		t.Fatalf("Commit(%q): %v", key, err)
	}
	return stored
}

func abort(t *testing.T, upload backup.Upload) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
	defer cancel()
	if err := upload.Abort(ctx); err != nil {
		t.Fatalf("Abort: %v", err)
	}
}

func read(t *testing.T, store Store, key string, offset, length int64) ([]byte, error) {
	t.Helper()
	body, err := store.Open(t.Context(), key, offset, length)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(body)
	return data, errors.Join(err, body.Close())
}

func wantContent(t *testing.T, store Store, key string, want []byte) {
	t.Helper()
	got, err := read(t, store, key, 0, -1)
	if err != nil {
		t.Fatalf("read %q: %v", key, err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("read %q: %d bytes differ from the %d that were stored", key, len(got), len(want))
	}
}

func readStream(t *testing.T, store Store, objects []backup.Object) ([]byte, error) {
	t.Helper()
	body, err := store.OpenStream(t.Context(), objects)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(body)
	if err := errors.Join(err, body.Close()); err != nil {
		return data, err
	}
	if body, err = store.OpenStream(t.Context(), objects); err != nil {
		return nil, err
	}
	var written bytes.Buffer
	n, err := io.Copy(&written, body) // by WriteTo, where there is one
	if n != int64(written.Len()) || !bytes.Equal(written.Bytes(), data) {
		t.Errorf("%d bytes were read, %d written by Copy, which says %d", len(data), written.Len(), n)
	}
	return data, errors.Join(err, body.Close())
}

// wantNothing fails if anything is visible or left in store.
func wantNothing(t *testing.T, store Store) {
	t.Helper()
	wantInvisible(t, store)
	left, err := store.Leftovers(t.Context())
	if err != nil {
		t.Fatalf("Leftovers: %v", err)
	}
	if left != 0 {
		t.Fatalf("%d leftovers, want none", left)
	}
}

func wantInvisible(t *testing.T, store Store) {
	t.Helper()
	objects, err := store.List(t.Context(), "")
	if err != nil {
		t.Fatalf("List: %v", err)
	}
	if len(objects) != 0 {
		t.Fatalf("visible: %v, want nothing", objects)
	}
}

func wantError(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("%s: error %v, want %v", what, err, want)
	}
}
