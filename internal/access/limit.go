package access

import (
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/time/rate"
)

// maxBuckets bounds how many callers a limiter remembers. Who was not seen for
// longest is forgotten first, and begins with a full bucket again.
const maxBuckets = 4096

// limiter has a token bucket for each caller. It is safe for concurrent use.
type limiter struct {
	limit rate.Limit
	burst int

	mu      sync.Mutex
	buckets *simplelru.LRU[string, *rate.Limiter]
}

// newLimiter refills each bucket with limit tokens a second, up to burst.
func newLimiter(limit rate.Limit, burst int) *limiter {
	// The only error is a size below 1.
	buckets, _ := simplelru.NewLRU[string, *rate.Limiter](maxBuckets, nil)
	return &limiter{limit: limit, burst: burst, buckets: buckets}
}

// take takes a token of a caller. When there is none, it says how long the next
// one takes to come. Who gets none owes none: a reservation that is given back
// would, when others reserve meanwhile (x/time/rate, Reservation.CancelAt).
func (l *limiter) take(caller string) (wait time.Duration, ok bool) {
	bucket := l.bucket(caller)
	if bucket.Allow() {
		return 0, true
	}
	return max(l.missing(bucket), time.Millisecond), false
}

// empty reports whether take would find no token, and how long one takes.
func (l *limiter) empty(caller string) (wait time.Duration, empty bool) {
	wait = l.missing(l.bucket(caller))
	return max(wait, 0), wait > 0
}

// missing is how long a token takes to come; it is there unless that is more than 0.
func (l *limiter) missing(bucket *rate.Limiter) time.Duration {
	return time.Duration((1 - bucket.Tokens()) / float64(l.limit) * float64(time.Second))
}

func (l *limiter) bucket(caller string) *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	bucket, known := l.buckets.Get(caller)
	if !known {
		bucket = rate.NewLimiter(l.limit, l.burst)
		l.buckets.Add(caller, bucket)
	}
	return bucket
}

// addressOf is what stands for the sender of a request in the limiter of
// failures: its IPv4 address, or the /64 that an IPv6 host has to itself.
func addressOf(remote string) string {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		return remote
	}
	address, err := netip.ParseAddr(host)
	if err != nil {
		return host
	}
	address = address.Unmap().WithZone("")
	if address.Is4() {
		return address.String()
	}
	prefix, err := address.Prefix(64)
	if err != nil {
		return address.String()
	}
	return prefix.String()
}
