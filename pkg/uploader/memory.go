package uploader

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/semaphore"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// memory is the budget of all part buffers of a Store.
type memory struct {
	size int64
	sum  *semaphore.Weighted
	// ahead bounds what downloads fetch ahead of their readers. A reader that
	// HANA has left alone holds it for ever, so it must leave room for others
	// to begin.
	ahead *semaphore.Weighted
	gauge prometheus.Gauge
	used  atomic.Int64
	peak  atomic.Int64
	// streams counts those that hold a share.
	streams atomic.Int64
	arena   *arena
}

func newMemory(size int64, gauge prometheus.Gauge) *memory {
	return &memory{size: size, sum: semaphore.NewWeighted(size), ahead: semaphore.NewWeighted(size / 2), gauge: gauge, arena: newArena(size)}
}

// acquire takes n bytes of the budget, or waits for them until ctx ends.
func (m *memory) acquire(ctx context.Context, n int64) error {
	if n > m.size {
		return fmt.Errorf("%w: %d bytes of part buffers are more than all of its %d", backup.ErrMemory, n, m.size)
	}
	if err := m.sum.Acquire(ctx, n); err != nil {
		return fmt.Errorf("%w for %d bytes: %w", backup.ErrMemory, n, context.Cause(ctx))
	}
	m.count(n)
	return nil
}

// tryAcquire takes n bytes if that leaves nobody waiting, for a download only
// up to its bound.
func (m *memory) tryAcquire(n int64, download bool) bool {
	if download && !m.ahead.TryAcquire(n) {
		return false
	}
	if !m.sum.TryAcquire(n) {
		if download {
			m.ahead.Release(n)
		}
		return false
	}
	m.count(n)
	return true
}

// releaseExtra gives back what tryAcquire took.
func (m *memory) releaseExtra(n int64, download bool) {
	if download {
		m.ahead.Release(n)
	}
	m.release(n)
}

func (m *memory) release(n int64) {
	m.used.Add(-n)
	m.gauge.Sub(float64(n))
	m.sum.Release(n)
}

func (m *memory) count(n int64) {
	m.gauge.Add(float64(n))
	used := m.used.Add(n)
	for {
		peak := m.peak.Load()
		if used <= peak || m.peak.CompareAndSwap(peak, used) {
			return
		}
	}
}

// buffers is one stream's share of the budget: reserved buffers that it always
// has, and more while the budget has room. A buffer beyond the reserved ones
// goes back to the budget as soon as it is put down, so a long stream never
// keeps another from beginning.
type buffers struct {
	memory   *memory
	size     int64
	reserved int
	most     int
	download bool

	mu    sync.Mutex
	inUse int
	freed chan struct{}
}

// reserve waits until ctx ends for reserved buffers of size bytes.
func (m *memory) reserve(ctx context.Context, size int64, reserved, most int) (*buffers, error) {
	if err := m.acquire(ctx, size*int64(reserved)); err != nil {
		return nil, err
	}
	m.streams.Add(1)
	return &buffers{
		memory: m, size: size, reserved: reserved, most: max(most, reserved),
		freed: make(chan struct{}, 1),
	}, nil
}

// get returns a buffer of full size, waiting for one of its own to be put down
// if there is no room for another. It fails only when ctx ends.
func (b *buffers) get(ctx context.Context) (*[]byte, error) {
	for {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if buffer := b.tryGet(); buffer != nil {
			return buffer, nil
		}
		select {
		case <-b.freed:
		case <-ctx.Done():
		}
	}
}

// tryGet is get without waiting; it returns nil instead.
func (b *buffers) tryGet() *[]byte {
	if !b.take() {
		return nil
	}
	buffer := b.memory.arena.take(int(b.size))
	return &buffer
}

func (b *buffers) take() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.inUse >= b.reserved && (b.inUse >= b.most || !b.memory.tryAcquire(b.size, b.download)) {
		return false
	}
	b.inUse++
	return true
}

// put gives a buffer from get back.
func (b *buffers) put(buffer *[]byte) {
	b.memory.arena.put(*buffer)
	b.mu.Lock()
	b.inUse--
	if b.inUse >= b.reserved {
		b.memory.releaseExtra(b.size, b.download)
	}
	b.mu.Unlock()
	select {
	case b.freed <- struct{}{}:
	default:
	}
}

// close gives the reserved buffers back. Every buffer was put down before.
func (b *buffers) close() {
	b.memory.release(b.size * int64(b.reserved))
	if b.memory.streams.Add(-1) == 0 {
		b.memory.arena.trim()
	}
}
