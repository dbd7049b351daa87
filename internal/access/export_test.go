package access

import (
	"crypto/sha256"
	"time"

	"golang.org/x/time/rate"
)

// AddressOf is addressOf.
func AddressOf(remote string) string { return addressOf(remote) }

// Take makes a limiter and returns its take and empty.
func Take(perSecond float64, burst int) (take, empty func(caller string) (time.Duration, bool)) {
	l := newLimiter(rate.Limit(perSecond), burst)
	return l.take, l.empty
}

// MaxBuckets is maxBuckets.
const MaxBuckets = maxBuckets

// MaxReviews is maxReviews.
const MaxReviews = maxReviews

// Answers is answers with texts as keys.
type Answers struct{ a *answers }

// MaxAnswers is maxAnswers.
const MaxAnswers = maxAnswers

// NewAnswers remembers for a time.
func NewAnswers(lifetime time.Duration) Answers { return Answers{newAnswers(lifetime)} }

// Add remembers.
func (a Answers) Add(key, text string) { a.a.add(sha256.Sum256([]byte(key)), text) }

// Get gives what is remembered, or nothing.
func (a Answers) Get(key string) string { text, _ := a.a.get(sha256.Sum256([]byte(key))); return text }

// Len counts.
func (a Answers) Len() int { return a.a.byKey.Len() }
