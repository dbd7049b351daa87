package codec

import (
	"context"
	"fmt"
	"sync"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// blockSize is how many bytes of a stream become one frame.
const blockSize = 1 << 20

// block is a piece of a stream on its way.
type block struct {
	plain []byte // what was read of the stream
	frame []byte // its memory is used again
	// pieces are what is stored of it, in order. They point into plain and frame.
	pieces [][]byte
	raw    rawHeads
	// try says that it is to be compressed, shrunk that this was of use.
	try, shrunk bool
	// ready has a token when pieces are there.
	ready chan struct{}
}

// budget is all blocks of the process. Those that uploads reserve are apart from
// the others, so that a stream that waits for the store never keeps another one
// from beginning.
type budget struct {
	reserved, more chan struct{}
	pool           sync.Pool
}

func newBudget(reserved, more int) *budget {
	b := &budget{reserved: make(chan struct{}, reserved), more: make(chan struct{}, more)}
	b.pool.New = func() any {
		return &block{plain: make([]byte, blockSize), ready: make(chan struct{}, 1)}
	}
	return b
}

// share is one stream's part of the budget: a block that it always has, and more
// while there are any.
type share struct {
	budget *budget
	own    chan struct{} // where its own block is from
	most   int
	freed  chan struct{}

	mu     sync.Mutex
	inUse  int
	closed bool
}

// reserve waits until ctx ends for the block that a stream always has.
func (b *budget) reserve(ctx context.Context, most int) (*share, error) {
	s := &share{budget: b, most: most, freed: make(chan struct{}, 1)}
	select {
	case b.reserved <- struct{}{}:
		s.own = b.reserved
		return s, nil
	default:
	}
	select {
	case b.reserved <- struct{}{}:
		s.own = b.reserved
	case b.more <- struct{}{}:
		s.own = b.more
	case <-ctx.Done():
		return nil, fmt.Errorf("%w for a block of the codec: %w", backup.ErrMemory, context.Cause(ctx))
	}
	return s, nil
}

// tryGet returns a block, or nil when one has to be put down first.
func (s *share) tryGet() *block {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.inUse >= s.most {
		return nil
	}
	if s.inUse > 0 {
		select {
		case s.budget.more <- struct{}{}:
		default:
			return nil
		}
	}
	s.inUse++
	taken, _ := s.budget.pool.Get().(*block) // nothing else is in it
	return taken
}

// put gives a block back, which nobody works on any more.
func (s *share) put(b *block) {
	select {
	case <-b.ready: // of one that nobody has waited for
	default:
	}
	b.plain, b.pieces = b.plain[:cap(b.plain)], b.pieces[:0]
	s.budget.pool.Put(b)
	s.mu.Lock()
	s.inUse--
	if s.inUse > 0 {
		<-s.budget.more
	}
	s.mu.Unlock()
	select {
	case s.freed <- struct{}{}:
	default:
	}
}

// close gives the reserved block back, once. No block is in use any more.
func (s *share) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.closed = true
		<-s.own
	}
}
