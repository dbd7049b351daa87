package access

import (
	"sync"
	"testing"
)

// TestRefusedCallersTakeNothing: who is turned away, however many at once, does
// not push back the time at which the next one is let in.
func TestRefusedCallersTakeNothing(t *testing.T) {
	l := newLimiter(1.0/3600, 1) // nothing comes back within this test
	if _, ok := l.take("x"); !ok {
		t.Fatal("the first one was refused")
	}
	var all sync.WaitGroup
	for range 64 {
		all.Go(func() {
			for range 200 {
				if wait, ok := l.take("x"); ok || wait <= 0 {
					t.Errorf("let in, or nothing to wait for: %v %s", ok, wait)
				}
			}
		})
	}
	all.Wait()
	if left := l.bucket("x").Tokens(); left < -0.01 {
		t.Errorf("%.2f tokens, expected none owed: the next caller waits for %.0f who were refused", left, -left)
	}
}
