package storetest

import (
	"errors"
	"sync/atomic"
	"testing"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// testWaiting looks at what Consume says that it waits for: never for the store
// while it reads the stream, for the store after the end of the stream, and for
// nothing when it has returned.
func testWaiting(t *testing.T, subject Subject) {
	store := subject.Open(t, Limits{MaxParts: 2})
	errOwn := errors.New("the source broke")
	for _, test := range []struct {
		name string
		size int
		end  error
	}{
		{"one part", 1000, nil},
		{"five parts in three segments", 5 * subject.PartSize, nil},
		{"a source that breaks", subject.PartSize + 1, errOwn},
		{"nothing", 0, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			var waits, calls atomic.Int32
			var ended atomic.Bool
			var after atomic.Int32
			upload, err := store.Begin(t.Context(), "HDB/S/data/p/1_1", backup.UploadOptions{
				Waiting: func(forStore bool) {
					calls.Add(1)
					change := int32(-1)
					if forStore {
						change = 1
					}
					if now := waits.Add(change); now < 0 || now > 1 {
						t.Errorf("Waiting(%v) for the second time", forStore)
					}
					if ended.Load() && forStore {
						after.Add(1)
					}
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			_, err = upload.Consume(t.Context(), &source{data: pattern(12, test.size), err: test.end, before: func(offset int) {
				if waits.Load() != 0 {
					t.Error("a read of the stream while the store is waited for")
				}
				ended.Store(offset == test.size)
			}})
			if good := test.end == nil && test.size > 0; good != (err == nil) {
				t.Fatalf("Consume: %v", err)
			} else if good && after.Load() == 0 {
				t.Error("the store was not waited for after the end of the stream")
			}
			if waits.Load() != 0 {
				t.Error("Consume has returned and still waits for the store")
			}
			told := calls.Load()
			abort(t, upload)
			if calls.Load() != told {
				t.Error("Waiting was called after Consume")
			}
		})
	}
}
