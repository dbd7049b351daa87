package uploader

import (
	"math/rand/v2"
	"testing"
)

// Parts arrive in any order; what is told is always a prefix that has arrived.
func TestFront(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // not for secrets
	for range 100 {
		sizes := make([]int64, 1+random.IntN(20))
		offsets := make([]int64, len(sizes))
		var total int64
		for i := range sizes {
			sizes[i], offsets[i] = 1+random.Int64N(9), total
			total += sizes[i]
		}
		var f front
		arrived := make(map[int64]bool)
		for _, i := range random.Perm(len(sizes)) {
			told := f.add(offsets[i], sizes[i])
			for b := offsets[i]; b < offsets[i]+sizes[i]; b++ {
				arrived[b] = true
			}
			for b := range told {
				if !arrived[b] {
					t.Fatalf("offset %d was told before byte %d arrived", told, b)
				}
			}
		}
		if f.offset != total {
			t.Fatalf("at the end the front is at %d of %d", f.offset, total)
		}
	}
}
