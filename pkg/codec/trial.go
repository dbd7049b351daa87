package codec

import "sync"

const (
	// patience is after how many blocks in a row that did not shrink no other is
	// tried for a while.
	patience = 4
	// firstRest and longestRest are how many blocks that while has.
	firstRest   = 16
	longestRest = 1024
	// gain is the part of its size, 1/gain, by which a block has to shrink.
	gain = 32
)

// trial decides which blocks of a stream are compressed: HANA may compress or
// encrypt by itself, and then it would be in vain.
type trial struct {
	mu     sync.Mutex
	misses int // in a row
	rest   int // blocks that are not tried
	length int // of the last rest
}

// next says whether to try the next block.
func (t *trial) next() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.rest == 0 {
		return true
	}
	t.rest--
	return false
}

// result takes in how a try has ended. Results come late: those of blocks that
// were tried before a rest began do not lengthen it.
func (t *trial) result(shrunk bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case shrunk:
		t.misses, t.rest, t.length = 0, 0, 0
	case t.rest > 0:
	case t.misses+1 < patience:
		t.misses++
	default:
		t.length = min(max(2*t.length, firstRest), longestRest)
		t.rest = t.length
		t.misses = patience - 1 // then one try decides
	}
}
