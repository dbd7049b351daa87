package storetest

import (
	"errors"
	"sync/atomic"
	"testing"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// waits is what an upload said that it waits for.
type waits struct {
	t *testing.T
	// forStore is 1 while it is the store; calls counts what was said.
	forStore, calls atomic.Int32
	// ended is set when the stream has ended; after counts the waits for the
	// store that began then.
	ended atomic.Bool
	after atomic.Int32
}

func (w *waits) note(forStore bool) {
	w.calls.Add(1)
	change := int32(-1)
	if forStore {
		change = 1
		if w.ended.Load() {
			w.after.Add(1)
		}
	}
	if now := w.forStore.Add(change); now < 0 || now > 1 {
		w.t.Errorf("Waiting(%v) for the second time", forStore)
	}
}

func (w *waits) want(forStore int32, when string) {
	w.t.Helper()
	if got := w.forStore.Load(); got != forStore {
		w.t.Errorf("%s: waiting for the store %d, want %d", when, got, forStore)
	}
}

// testWaiting looks at what Consume says that it waits for: never for the store
// while it reads the stream, for the store after the end of the stream, and for
// nothing when it has returned.
func testWaiting(t *testing.T, subject Subject) {
	store := subject.Open(t, Limits{MaxParts: 2})
	for _, test := range []struct {
		name string
		size int
		end  error
		good bool
	}{
		{"one part", 1000, nil, true},
		{"five parts in three segments", 5 * subject.PartSize, nil, true},
		{"a source that breaks", subject.PartSize + 1, errors.New("the source broke"), false},
		{"nothing", 0, nil, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			said := &waits{t: t}
			upload, err := store.Begin(t.Context(), "HDB/S/data/p/1_1", backup.UploadOptions{Waiting: said.note})
			if err != nil {
				t.Fatal(err)
			}
			_, err = upload.Consume(t.Context(), &source{data: pattern(12, test.size), err: test.end, before: func(offset int) {
				said.want(0, "a read of the stream")
				said.ended.Store(offset == test.size)
			}})
			if test.good != (err == nil) {
				t.Fatalf("Consume: %v", err)
			}
			if test.good && said.after.Load() == 0 {
				t.Error("the store was not waited for after the end of the stream")
			}
			said.want(0, "Consume has returned")
			told := said.calls.Load()
			abort(t, upload)
			if said.calls.Load() != told {
				t.Error("Waiting was called after Consume")
			}
		})
	}
}
