package uploader

import (
	"sync"
	"syscall"
)

// arena holds part buffers in memory of its own, outside of Go's heap: with
// hundreds of MiB of live buffers Go's collector would let the heap grow to twice
// that before it runs, and the kernel would end the container. Buffers begin at a
// page. One that is put down is kept for the next part, and given back to the
// kernel when no stream needs it.
type arena struct {
	mu sync.Mutex
	// mapped is the sum of all buffers; what is in use is bounded by memory.
	mapped, limit int64
	free          map[int][][]byte // by size
}

func newArena(limit int64) *arena { return &arena{limit: limit, free: map[int][][]byte{}} }

// take returns a buffer of size bytes. Its content is not defined.
func (a *arena) take(size int) []byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	if kept := a.free[size]; len(kept) > 0 {
		buffer := kept[len(kept)-1]
		a.free[size] = kept[:len(kept)-1]
		return buffer
	}
	if a.mapped+int64(size) > a.limit {
		a.drop()
	}
	buffer, err := syscall.Mmap(-1, 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		// The address space is limited (ulimit -v) or the kernel has no more
		// maps: Go's heap still may have room, and fails as loudly as can be.
		return make([]byte, size)
	}
	a.mapped += int64(size)
	return buffer
}

// put keeps a buffer from take. Nobody may touch it any more.
func (a *arena) put(buffer []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	buffer = buffer[:cap(buffer)]
	a.free[len(buffer)] = append(a.free[len(buffer)], buffer)
}

// trim gives what nobody uses back to the kernel.
func (a *arena) trim() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.drop()
}

func (a *arena) drop() {
	for size, kept := range a.free {
		for _, buffer := range kept {
			if err := syscall.Munmap(buffer); err == nil {
				a.mapped -= int64(size)
			}
		}
		delete(a.free, size)
	}
}
