package job

import "sync"

// flow counts the streams of a backup that are on their way. HANA may add some.
type flow struct {
	mu      sync.Mutex
	running int
	changed chan struct{}
}

func newFlow() *flow { return &flow{changed: make(chan struct{})} }

// add counts n more, or fewer.
func (f *flow) add(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.running += n
	close(f.changed)
	f.changed = make(chan struct{})
}

// look gives the number as of now, and what is closed when it changes.
func (f *flow) look() (running int, changed <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.running, f.changed
}

// moving says whether any is on its way.
func (f *flow) moving() bool {
	running, _ := f.look()
	return running > 0
}
