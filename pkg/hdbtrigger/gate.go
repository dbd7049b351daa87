package hdbtrigger

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"time"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

const (
	firstBackoff = time.Minute
	lastBackoff  = time.Hour
)

// gate keeps a wrong password from locking the user. HANA locks a user after a
// few failed logins (error 416, "lock time is 1440 minutes"), and a readiness
// probe every ten seconds would get there within a minute. So logins happen
// one at a time, and a password that HANA refused is not sent again until the
// password file says something else or a back-off is over: 1 minute, doubled
// at each refusal up to 1 hour.
type gate struct {
	turn chan struct{} // holds one token; the fields below belong to its owner
	now  func() time.Time

	seed    maphash.Seed
	refused uint64 // fingerprint of the password that was refused
	reason  error  // why; nil when the last login was not refused
	backoff time.Duration
	until   time.Time
}

func newGate() *gate {
	g := &gate{turn: make(chan struct{}, 1), now: time.Now, seed: maphash.MakeSeed()}
	g.turn <- struct{}{}
	return g
}

// enter waits for the turn to log in. Without an error, leave is due.
func (g *gate) enter(ctx context.Context) error {
	select {
	case <-g.turn:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (g *gate) leave() { g.turn <- struct{}{} }

// check refuses a password that HANA would refuse again.
func (g *gate) check(p password) error {
	if g.reason == nil || g.fingerprint(p) != g.refused || !g.now().Before(g.until) {
		return nil
	}
	return fmt.Errorf("the password was refused and is not tried again before %s: %w",
		g.until.UTC().Format(time.RFC3339), g.reason)
}

// note remembers how a login with p ended.
func (g *gate) note(p password, err error) {
	if err == nil {
		g.reason = nil
		return
	}
	if !isRefusal(err) {
		return
	}
	again := g.reason != nil && g.fingerprint(p) == g.refused
	if again {
		g.backoff = min(2*g.backoff, lastBackoff)
	} else {
		g.backoff = firstBackoff
	}
	g.refused, g.reason, g.until = g.fingerprint(p), err, g.now().Add(g.backoff)
}

func (g *gate) fingerprint(p password) uint64 { return maphash.String(g.seed, string(p)) }

// isRefusal reports whether HANA refused the user: wrong password (10),
// password must be changed (414), user locked (416).
func isRefusal(err error) bool {
	hana, found := errors.AsType[*backup.HANAError](err)
	if !found {
		return false
	}
	return hana.Code == codeAuthentication || hana.Code == codeForcedChange || hana.Code == codeLocked
}
