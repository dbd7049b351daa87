package uploader

import (
	"context"
	"io"
	"sync/atomic"
	"time"

	"github.com/rclone/rclone/lib/pool"
	"golang.org/x/sync/semaphore"
)

// Bandwidth tells how many bytes a second may pass at a time, in both directions
// together; 0 means as many as can. It is asked often, from any goroutine.
type Bandwidth func(at time.Time) int64

const (
	// largestGrant and smallestGrant bound what a stream may take in one turn.
	// Between them it is what passes in 10 ms: then even 128 parts on their way
	// each move every 1.3 s, and no store takes them for dead.
	largestGrant, smallestGrant = 64 << 10, 1 << 10
	// saved is how long a rate that was not used may be made up for: longer than
	// a timer is late.
	saved = 100 * time.Millisecond
	// lookAgain is how late a change of the hour is noticed by a stream that
	// waits.
	lookAgain = time.Second
)

// grantOf is what may pass in one turn at rate bytes a second.
func grantOf(rate int64) int64 { return min(max(rate/100, smallestGrant), largestGrant) }

// limiter holds back what passes between a Store and its streams. Streams take
// turns, one grant at a time, in the order in which they came.
type limiter struct {
	plan    atomic.Pointer[plan]
	metrics *Metrics

	turn *semaphore.Weighted
	// due is what may pass now, in bytes, as of counted. It is below 0 by what
	// has passed already. Both belong to whoever holds turn.
	due     float64
	counted time.Time
}

// plan is a limit until another replaces it.
type plan struct {
	rate     Bandwidth
	replaced chan struct{}
}

func newLimiter(rate Bandwidth, metrics *Metrics) *limiter {
	l := &limiter{turn: semaphore.NewWeighted(1), metrics: metrics}
	l.set(rate)
	return l
}

// set replaces the limit, for those who wait now as well; nil means none.
func (l *limiter) set(rate Bandwidth) {
	var next *plan
	if rate != nil {
		next = &plan{rate: rate, replaced: make(chan struct{})}
	}
	if last := l.plan.Swap(next); last != nil {
		close(last.replaced)
	}
}

// rate is the limit of now in bytes a second, 0 without one.
func (l *limiter) rate() int64 {
	p := l.plan.Load()
	if p == nil {
		return 0
	}
	return max(p.rate(time.Now()), 0)
}

// grant waits until more may pass and returns how much, or 0 when no limit holds
// any more.
func (l *limiter) grant(ctx context.Context) (int64, error) {
	if err := l.turn.Acquire(ctx, 1); err != nil {
		return 0, context.Cause(ctx)
	}
	defer l.turn.Release(1)
	for {
		p := l.plan.Load()
		if p == nil {
			return 0, nil
		}
		now := time.Now()
		rate := p.rate(now)
		if rate <= 0 {
			return 0, nil
		}
		l.count(now, float64(rate))
		if l.due >= 0 {
			grant := grantOf(rate)
			l.due -= float64(grant)
			return grant, nil
		}
		pause := time.Duration(-l.due / float64(rate) * float64(time.Second))
		// One more nanosecond for what the division has dropped.
		if err := p.sleep(ctx, min(pause+1, lookAgain)); err != nil {
			return 0, err
		}
	}
}

// count adds what has become due since it was called last.
func (l *limiter) count(now time.Time, rate float64) {
	if !l.counted.IsZero() {
		l.due += now.Sub(l.counted).Seconds() * rate
	}
	l.due = min(l.due, saved.Seconds()*rate)
	l.counted = now
}

// sleep returns after d, when p is replaced, or with the cause of ctx.
func (p *plan) sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-p.replaced:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// share is one stream's part in a limit. All that moves for the stream, at once
// or not, pays from it: so streams get the same, whatever number of parts each
// has on its way and whatever the size of their reads. A nil share is that of
// something that no limit holds back.
type share struct {
	limiter *limiter
	turn    *semaphore.Weighted
	// credit is what was granted and has not passed. It belongs to whoever
	// holds turn.
	credit int64
}

func (l *limiter) share() *share { return &share{limiter: l, turn: semaphore.NewWeighted(1)} }

// rate is the limit of now in bytes a second, 0 without one.
func (s *share) rate() int64 {
	if s == nil {
		return 0
	}
	return s.limiter.rate()
}

// most is how much of n bytes to move before paying for them.
func (s *share) most(n int) int {
	if rate := s.rate(); rate > 0 {
		return int(min(int64(n), grantOf(rate)))
	}
	return n
}

// pay waits until n bytes that are about to pass, or have just come, are within
// the limit. waits, unless nil, is told before and after a wait. When ctx ends
// pay returns its cause at once. Without a limit it costs one atomic load.
func (s *share) pay(ctx context.Context, n int, waits func(bool)) error {
	if n <= 0 || s.rate() == 0 {
		return nil
	}
	if waits != nil {
		waits(true)
		defer waits(false)
	}
	started := time.Now()
	defer func() { s.limiter.metrics.limitWait.Add(time.Since(started).Seconds()) }()
	if err := s.turn.Acquire(ctx, 1); err != nil {
		return context.Cause(ctx)
	}
	defer s.turn.Release(1)
	for s.credit < int64(n) {
		grant, err := s.limiter.grant(ctx)
		if err != nil {
			return err
		}
		if grant == 0 {
			s.credit = 0
			return nil
		}
		s.credit += grant
	}
	s.credit -= int64(n)
	return nil
}

// reader pays for what is read from r. It is not for use by two goroutines at
// once.
func (s *share) reader(ctx context.Context, r io.Reader) io.Reader {
	return &paidReader{ctx: ctx, share: s, reader: r}
}

type paidReader struct {
	ctx    context.Context //nolint:containedctx // the reader belongs to one call, whose context this is
	share  *share
	reader io.Reader
}

// Read implements io.Reader.
func (r *paidReader) Read(p []byte) (int, error) {
	n, err := r.reader.Read(p[:r.share.most(len(p))])
	if errPay := r.share.pay(r.ctx, n, nil); errPay != nil {
		return 0, errPay
	}
	return n, err
}

// paidBody is the body of a part, paid for as it is sent.
type paidBody struct {
	*partBody

	ctx   context.Context //nolint:containedctx // the body belongs to one attempt, whose context this is
	share *share
	// waits, when set, is told before and after each wait.
	waits func(bool)
	// first is the pass over the body, counted from 1, that goes to the network,
	// and pass the one that is being made.
	first, pass atomic.Int64
	begun       atomic.Bool
}

var _ pool.DelayAccountinger = (*paidBody)(nil)

func (s *share) body(ctx context.Context, body *partBody) *paidBody {
	return &paidBody{partBody: body, ctx: ctx, share: s}
}

// DelayAccounting implements [pool.DelayAccountinger]: rclone tells which pass
// over the part is the one that it sends. Those before are for checksums.
func (b *paidBody) DelayAccounting(pass int) { b.first.Store(int64(pass)) }

// Read implements io.Reader.
func (b *paidBody) Read(p []byte) (int, error) {
	if !b.begun.Swap(true) {
		b.pass.Add(1)
	}
	if b.pass.Load() < b.first.Load() {
		return b.partBody.Read(p)
	}
	n, err := b.partBody.Read(p[:b.share.most(len(p))])
	if errPay := b.share.pay(b.ctx, n, b.waits); errPay != nil {
		return 0, errPay
	}
	return n, err
}

// Seek implements io.Seeker. A read after it begins another pass.
func (b *paidBody) Seek(offset int64, whence int) (int64, error) {
	at, err := b.partBody.Seek(offset, whence)
	if err == nil && at == 0 {
		b.begun.Store(false)
	}
	return at, err
}
