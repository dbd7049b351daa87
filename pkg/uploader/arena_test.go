package uploader

import (
	"os"
	"sync"
	"testing"
	"unsafe"
)

func TestArena(t *testing.T) {
	const small, large = 64 << 10, 3<<20 + 1
	a := newArena(large + small)
	first := a.take(large)
	if len(first) != large || uintptr(unsafe.Pointer(&first[0]))%uintptr(os.Getpagesize()) != 0 {
		t.Errorf("%d bytes at %p, want %d at the beginning of a page", len(first), &first[0], large)
	}
	first[0], first[large-1] = 1, 1
	at := &first[0]
	a.put(first[:17]) // as the last part of a stream leaves it
	again := a.take(large)
	if &again[0] != at || len(again) != large {
		t.Error("a buffer that was put down is not taken again, whole")
	}
	a.put(again)

	// What nobody uses makes room for buffers of another size.
	var held [][]byte
	for range 4 {
		held = append(held, a.take(small))
	}
	if a.mapped > a.limit {
		t.Errorf("%d bytes of %d are mapped", a.mapped, a.limit)
	}
	for _, buffer := range held {
		a.put(buffer)
	}
	a.trim()
	if a.mapped != 0 || len(a.free) != 0 {
		t.Errorf("%d bytes in %d sizes stay mapped", a.mapped, len(a.free))
	}
}

// Nobody gets a buffer that somebody else has.
func TestArenaGivesEachBufferOnce(t *testing.T) {
	a := newArena(1 << 20)
	var group sync.WaitGroup
	for n := range byte(8) {
		group.Go(func() {
			for range 1000 {
				buffer := a.take(4096)
				buffer[0], buffer[4095] = n, n
				if buffer[0] != n || buffer[4095] != n {
					t.Error("two have the same buffer")
				}
				a.put(buffer)
				if n == 0 {
					a.trim()
				}
			}
		})
	}
	group.Wait()
	a.trim()
	if a.mapped != 0 {
		t.Errorf("%d bytes stay mapped", a.mapped)
	}
}
