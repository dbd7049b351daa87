package codec

import (
	"sync"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

const (
	// markDistance is how many stored bytes are between two marks, at first.
	markDistance = 64 << 10
	// mostMarks is when every other mark is dropped: a store that takes a stream
	// in one piece acknowledges none of it for long.
	mostMarks = 4096
)

// mark says that who has stored bytes of what is stored can restore plain bytes of
// the stream.
type mark struct{ plain, stored int64 }

// tally translates what the store acknowledges of what is stored into bytes of the
// stream. It never says more than is true; it may say less until the end.
type tally struct {
	options backup.UploadOptions

	mu    sync.Mutex
	marks []mark // that both have still to pass
	apart int64  // by how many stored bytes they are at least
	acked int64  // stored bytes, in whatever order
	told  int64  // plain bytes, to Progress
	safe  bool   // the inner store speaks of Safe
}

func newTally(options backup.UploadOptions) *tally {
	return &tally{options: options, apart: markDistance}
}

// add takes in a mark beyond those before.
func (t *tally) add(m mark) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := len(t.marks); n > 1 && m.stored-t.marks[n-2].stored < t.apart {
		t.marks[n-1] = m
		return
	}
	if len(t.marks) == mostMarks {
		for i := range mostMarks / 2 {
			t.marks[i] = t.marks[2*i+1]
		}
		t.marks = t.marks[:mostMarks/2]
		t.apart *= 2
	}
	t.marks = append(t.marks, m)
}

// before is the mark that stored bytes reach, and its place.
func (t *tally) before(stored int64) (plain int64, at int) {
	at = -1
	for i := range t.marks {
		if t.marks[i].stored > stored {
			break
		}
		plain, at = t.marks[i].plain, i
	}
	return plain, at
}

// acknowledge is the Progress of the inner upload.
func (t *tally) acknowledge(n int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.acked += n
	plain, at := t.before(t.acked)
	if t.options.Safe == nil && at > 0 {
		t.marks = append(t.marks[:0], t.marks[at:]...)
	}
	t.tell(plain)
}

// tell is called with the lock, so that what is told only grows.
func (t *tally) tell(plain int64) {
	if grown := plain - t.told; grown > 0 {
		t.told = plain
		if t.options.Progress != nil {
			t.options.Progress(grown)
		}
	}
}

// secure is the Safe of the inner upload. What is safe was acknowledged.
func (t *tally) secure(offset int64) {
	t.mu.Lock()
	t.safe = true
	plain, at := t.before(offset)
	if at > 0 {
		t.marks = append(t.marks[:0], t.marks[at:]...)
	}
	t.mu.Unlock()
	if plain > 0 {
		t.options.Safe(plain)
	}
}

// end says that the store has all of the stream.
func (t *tally) end(plain int64) {
	t.mu.Lock()
	t.tell(plain)
	safe := t.safe
	t.mu.Unlock()
	if safe {
		t.options.Safe(plain)
	}
}
