package job

import (
	"sync"
	"time"
)

// Side is who does something, or who is waited for.
type Side string

// The sides of a job.
const (
	SideHANA     Side = "hana"
	SideStore    Side = "store"
	SideDaemon   Side = "pipestreamer"
	SideOperator Side = "operator"
)

// Waits says what the time of a stream went into, from the moment that the
// stream is waited for to its end.
type Waits struct {
	// HANASeconds were spent waiting for HANA to write (backup) or to read
	// (restore).
	HANASeconds float64 `json:"hana_seconds"`
	// StoreSeconds were spent waiting for the store, its outages included.
	StoreSeconds float64 `json:"store_seconds"`
	// OwnSeconds were spent by the daemon itself, on hashing for example.
	OwnSeconds float64 `json:"own_seconds"`
}

// plus adds two accounts.
func (w Waits) plus(v Waits) Waits {
	return Waits{w.HANASeconds + v.HANASeconds, w.StoreSeconds + v.StoreSeconds, w.OwnSeconds + v.OwnSeconds}
}

// stopwatch keeps the account of one stream. The zero value stands still.
type stopwatch struct {
	mu    sync.Mutex
	side  Side // empty while it stands still
	since time.Time
	spent Waits
}

// turn says who is waited for from now on; an empty side stops the watch.
func (w *stopwatch) turn(side Side) {
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.spent = w.spent.plus(w.running(now))
	w.side, w.since = side, now
}

// running is the account since the last turn.
func (w *stopwatch) running(now time.Time) Waits {
	seconds := now.Sub(w.since).Seconds()
	switch w.side {
	case SideHANA:
		return Waits{HANASeconds: seconds}
	case SideStore:
		return Waits{StoreSeconds: seconds}
	case SideDaemon:
		return Waits{OwnSeconds: seconds}
	default:
		return Waits{}
	}
}

// read gives the account so far, and who is waited for now.
func (w *stopwatch) read() (Waits, Side) {
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.spent.plus(w.running(now)), w.side
}

// waitsFor says whether side is waited for now.
func (w *stopwatch) waitsFor(side Side) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.side == side
}
