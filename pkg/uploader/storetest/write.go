package storetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/minio/crc64nvme"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// diff compares what Consume said; the SHA-256 of a part may be missing.
func diff(want, got backup.Stored) string {
	return cmp.Diff(want, got, cmp.Comparer(func(a, b backup.Part) bool {
		return a.Size == b.Size && a.CRC64NVME == b.CRC64NVME && (a.SHA256 == b.SHA256 || a.SHA256 == "" || b.SHA256 == "")
	}))
}

// wantStored is what Consume has to say about data in parts and segments.
func wantStored(key string, data []byte, partSize, maxParts int) backup.Stored {
	sum := func(b []byte) string {
		s := sha256.Sum256(b)
		return hex.EncodeToString(s[:])
	}
	stored := backup.Stored{Bytes: int64(len(data)), SHA256: sum(data)}
	for n := 1; len(data) > 0; n++ {
		segment := data[:min(len(data), partSize*maxParts)]
		data = data[len(segment):]
		o := backup.Object{Key: backup.SegmentKey(key, n), Size: int64(len(segment)), SHA256: sum(segment)}
		for len(segment) > 0 {
			part := segment[:min(len(segment), partSize)]
			segment = segment[len(part):]
			o.Parts = append(o.Parts, backup.Part{Size: int64(len(part)), SHA256: sum(part), CRC64NVME: fmt.Sprintf("%016x", crc64nvme.Checksum(part))})
		}
		stored.Objects = append(stored.Objects, o)
	}
	return stored
}

func testRoundTrip(t *testing.T, subject Subject) {
	store := subject.Open(t, Limits{})
	part := subject.PartSize
	for _, size := range []int{1, 100, 50 << 10, part - 1, part, part + 1, 2*part - 1, 2 * part, 3*part + 17} {
		t.Run(fmt.Sprintf("%d bytes", size), func(t *testing.T) {
			key := fmt.Sprintf("HDB/TENANT/data/p1/%d_1", size)
			data := pattern(uint64(size), size)
			var progress atomic.Int64
			upload, err := store.Begin(t.Context(), key, backup.UploadOptions{
				EstimatedSize: int64(size), Progress: func(n int64) { progress.Add(n) },
			})
			if err != nil {
				t.Fatal(err)
			}
			stored := consume(t, upload, data)
			if diff := diff(wantStored(key, data, part, 1000), stored); diff != "" {
				t.Errorf("stored (-want +got):\n%s", diff)
			}
			if progress.Load() != int64(size) {
				t.Errorf("progress %d, want %d", progress.Load(), size)
			}
			_, err = store.Stat(t.Context(), key)
			wantError(t, "Stat before Commit", err, backup.ErrNotFound)
			if err := upload.Commit(t.Context()); err != nil {
				t.Fatal(err)
			}
			o, err := store.Stat(t.Context(), key)
			if err != nil || o.Key != key || o.Size != int64(size) {
				t.Fatalf("Stat: %+v, %v", o, err)
			}
			wantContent(t, store, key, data)
			got, err := readStream(t, store, stored.Objects)
			if err != nil || !bytes.Equal(got, data) {
				t.Fatalf("OpenStream: %d bytes, %v; want the %d bytes that were stored", len(got), err, size)
			}
		})
	}
}

func testSegments(t *testing.T, subject Subject) {
	const key, maxParts = "HDB/TENANT/data/p1/3_1", 2
	part := subject.PartSize
	for _, size := range []int{2 * part, 2*part + 1, 4 * part, 4*part + 5} {
		t.Run(fmt.Sprintf("%d bytes", size), func(t *testing.T) {
			store := subject.Open(t, Limits{MaxParts: maxParts})
			data := pattern(7, size)
			upload := begin(t, store, key, 0)
			stored := consume(t, upload, data)
			want := wantStored(key, data, part, maxParts)
			if diff := diff(want, stored); diff != "" {
				t.Errorf("stored (-want +got):\n%s", diff)
			}
			wantInvisible(t, store)
			if err := upload.Commit(t.Context()); err != nil {
				t.Fatal(err)
			}
			got, err := readStream(t, store, stored.Objects)
			if err != nil || !bytes.Equal(got, data) {
				t.Fatalf("OpenStream: %d bytes, %v; want the %d bytes that were stored", len(got), err, size)
			}
			objects, err := store.List(t.Context(), "HDB/TENANT/data/p1/")
			if err != nil || len(objects) != len(want.Objects) {
				t.Fatalf("List: %v, %v; want %d objects", objects, err, len(want.Objects))
			}
			abort(t, upload)
			wantNothing(t, store)
		})
	}
}

func testEmptyStream(t *testing.T, subject Subject) {
	store := subject.Open(t, Limits{})
	upload := begin(t, store, "HDB/S/data/p/1_1", 0)
	_, err := upload.Consume(t.Context(), &source{})
	wantError(t, "Consume", err, backup.ErrEmptyStream)
	wantError(t, "Commit", upload.Commit(t.Context()), backup.ErrAborted)
	abort(t, upload)
	wantNothing(t, store)
}

func testSourceFails(t *testing.T, subject Subject) {
	errOwn := errors.New("the source broke")
	store := subject.Open(t, Limits{MaxParts: 2})
	for fault, sizes := range map[error][]int{
		io.ErrUnexpectedEOF:               {0, 1, 50 << 10, subject.PartSize, 2 * subject.PartSize, 13 << 20},
		errOwn:                            {0, subject.PartSize + 1},
		fmt.Errorf("wrapped: %w", io.EOF): {0, subject.PartSize + 1},
	} {
		for _, size := range sizes {
			t.Run(fmt.Sprintf("%v after %d bytes", fault, size), func(t *testing.T) {
				upload := begin(t, store, "HDB/S/data/p/1_1", size)
				_, err := upload.Consume(t.Context(), &source{data: pattern(1, size), err: fault})
				wantError(t, "Consume", err, fault)
				err = upload.Commit(t.Context())
				wantError(t, "Commit", err, backup.ErrAborted)
				wantError(t, "Commit", err, fault)
				wantInvisible(t, store)
				abort(t, upload)
				wantNothing(t, store)
			})
		}
	}
}

func testCancelledConsume(t *testing.T, subject Subject) {
	store := subject.Open(t, Limits{})
	errStop := errors.New("stopped by the test")
	for _, after := range []int{0, 1, subject.PartSize, 2*subject.PartSize + 3} {
		t.Run(fmt.Sprintf("after %d bytes", after), func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			upload := begin(t, store, "HDB/S/data/p/1_1", 0)
			_, err := upload.Consume(ctx, &source{
				data: pattern(2, 3*subject.PartSize),
				before: func(offset int) {
					if offset >= after {
						cancel(errStop)
					}
				},
			})
			wantError(t, "Consume", err, errStop)
			wantError(t, "Commit", upload.Commit(t.Context()), backup.ErrAborted)
			abort(t, upload)
			wantNothing(t, store)
		})
	}
}

func testCancelledCommit(t *testing.T, subject Subject) {
	store := subject.Open(t, Limits{MaxParts: 2})
	const key = "HDB/S/data/p/1_1"
	data := pattern(3, 3*subject.PartSize)
	upload := begin(t, store, key, 0)
	stored := consume(t, upload, data)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := upload.Commit(ctx); err == nil {
		t.Fatal("Commit with a cancelled context succeeded")
	}
	if err := upload.Commit(t.Context()); err != nil {
		t.Fatalf("Commit again: %v", err)
	}
	if got, err := readStream(t, store, stored.Objects); err != nil || !bytes.Equal(got, data) {
		t.Fatalf("OpenStream: %d bytes, %v", len(got), err)
	}
}

func testCancelledBegin(t *testing.T, subject Subject) {
	store := subject.Open(t, Limits{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	upload, err := store.Begin(ctx, "HDB/S/data/p/1_1", backup.UploadOptions{})
	if err == nil {
		// A lane that needs nothing to begin may succeed.
		_, err = upload.Consume(ctx, &source{data: []byte("x")})
		abort(t, upload)
	}
	wantError(t, "Begin or Consume", err, context.Canceled)
	wantNothing(t, store)
}

func testLife(t *testing.T, subject Subject) {
	store := subject.Open(t, Limits{})
	const key = "HDB/S/data/p/1_1"
	data := pattern(4, 1000)

	upload := begin(t, store, key, 1000)
	if err := upload.Commit(t.Context()); err == nil {
		t.Fatal("Commit before Consume succeeded")
	}
	consume(t, upload, data)
	if _, err := upload.Consume(t.Context(), &source{data: data}); err == nil {
		t.Fatal("second Consume succeeded")
	}
	for range 2 {
		if err := upload.Commit(t.Context()); err != nil {
			t.Fatalf("Commit: %v", err)
		}
	}
	wantContent(t, store, key, data)
	for range 2 {
		abort(t, upload)
	}
	wantError(t, "Commit after Abort", upload.Commit(t.Context()), backup.ErrAborted)
	wantNothing(t, store)

	upload = begin(t, store, key, 1000)
	abort(t, upload)
	_, err := upload.Consume(t.Context(), &source{data: data})
	wantError(t, "Consume after Abort", err, backup.ErrAborted)

	upload = begin(t, store, key, 1000)
	consume(t, upload, data)
	abort(t, upload)
	wantError(t, "Commit after Abort", upload.Commit(t.Context()), backup.ErrAborted)
	wantNothing(t, store)
}

func testAbortEndsConsume(t *testing.T, subject Subject) {
	store := subject.Open(t, Limits{})
	upload := begin(t, store, "HDB/S/data/p/1_1", 0)
	reading := make(chan struct{})
	result := make(chan error, 1)
	r, w := io.Pipe()
	go func() {
		_, err := upload.Consume(t.Context(), &source{
			data: pattern(5, 1), err: errors.New("unreachable"),
			before: func(offset int) {
				if offset == 1 {
					close(reading)
					_, _ = r.Read(make([]byte, 1)) // blocked, as HANA blocks
				}
			},
		})
		result <- err
	}()
	<-reading
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	wantError(t, "Abort of a blocked source", upload.Abort(ctx), context.DeadlineExceeded)
	if err := w.Close(); err != nil { // the caller unblocks the source
		t.Fatal(err)
	}
	abort(t, upload)
	if err := <-result; err == nil {
		t.Fatal("Consume succeeded although it was aborted")
	}
	wantNothing(t, store)
}

func testExistingKey(t *testing.T, subject Subject) {
	store := subject.Open(t, Limits{})
	const key = "HDB/S/data/p/1_1"
	for _, theirs := range [][]byte{[]byte("theirs"), pattern(6, 1000)} {
		if err := store.Overwrite(t.Context(), key, theirs); err != nil {
			t.Fatal(err)
		}
		upload := begin(t, store, key, 1000)
		consume(t, upload, pattern(5, 1000))
		for range 2 {
			wantError(t, "Commit", upload.Commit(t.Context()), backup.ErrExists)
		}
		abort(t, upload)
		wantContent(t, store, key, theirs)
	}
}

func testExistingSegment(t *testing.T, subject Subject) {
	store := subject.Open(t, Limits{MaxParts: 1})
	const key = "HDB/S/data/p/1_1"
	theirs := []byte("theirs")
	if err := store.Overwrite(t.Context(), backup.SegmentKey(key, 2), theirs); err != nil {
		t.Fatal(err)
	}
	upload := begin(t, store, key, 0)
	consume(t, upload, pattern(5, 2*subject.PartSize))
	wantError(t, "Commit", upload.Commit(t.Context()), backup.ErrExists)
	_, err := store.Stat(t.Context(), key)
	wantError(t, "Stat of the first segment", err, backup.ErrNotFound)
	abort(t, upload)
	wantContent(t, store, backup.SegmentKey(key, 2), theirs)
}

func testCrash(t *testing.T, subject Subject) {
	crashed := subject.Open(t, Limits{})
	upload := begin(t, crashed, "HDB/S/data/p/1_1", 0)
	consume(t, upload, pattern(8, subject.PartSize+1))
	other := begin(t, crashed, "XYZ/S/data/p/1_1", 0)
	consume(t, other, pattern(8, 1000))

	// A new process knows nothing of them.
	store := subject.Open(t, Limits{})
	wantInvisible(t, store)
	leftovers := func(want int) {
		t.Helper()
		left, err := store.Leftovers(t.Context())
		if err != nil || left != want {
			t.Fatalf("%d leftovers, %v; want %d", left, err, want)
		}
	}
	leftovers(2)
	if err := store.Sweep(t.Context(), "", time.Hour); err != nil {
		t.Fatal(err)
	}
	leftovers(2)
	if _, separate := subject.Except["Crash/prefix"]; !separate {
		if err := store.Sweep(t.Context(), "HDB/", 0); err != nil {
			t.Fatal(err)
		}
		leftovers(1)
	}
	if err := store.Sweep(t.Context(), "", 0); err != nil {
		t.Fatal(err)
	}
	leftovers(0)
	// The dead upload's memory and connections end with its process; here it
	// has to be told.
	abort(t, upload)
	abort(t, other)
}

func testConcurrency(t *testing.T, subject Subject) {
	const streams, uploads = 2, 16
	store := subject.Open(t, Limits{Streams: streams})
	size := subject.PartSize + 100
	results := make(chan error, uploads)
	for i := range uploads {
		go func() {
			results <- thereAndBack(t.Context(), store, fmt.Sprintf("HDB/S/data/p/%d_1", i), pattern(uint64(i), size))
		}()
	}
	for range uploads {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	if budget := int64(streams * 2 * subject.PartSize); store.Peak() > budget || store.Peak() == 0 {
		t.Errorf("part buffers took %d bytes, want 1 to %d", store.Peak(), budget)
	}
	left, err := store.Leftovers(t.Context())
	if err != nil || left != 0 {
		t.Errorf("%d leftovers, %v; want none", left, err)
	}
}

// thereAndBack stores data at key and reads it back.
func thereAndBack(ctx context.Context, store Store, key string, data []byte) error {
	upload, err := store.Begin(ctx, key, backup.UploadOptions{})
	if err != nil {
		return err
	}
	stored, err := upload.Consume(ctx, &source{data: data})
	if err != nil {
		return err
	}
	if err := upload.Commit(ctx); err != nil {
		return err
	}
	body, err := store.OpenStream(ctx, stored.Objects)
	if err != nil {
		return err
	}
	got, err := io.ReadAll(body)
	if err := errors.Join(err, body.Close()); err != nil {
		return err
	}
	if !bytes.Equal(got, data) {
		return fmt.Errorf("%s: content differs", key)
	}
	return nil
}
