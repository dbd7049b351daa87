package access

import "time"

// Reason says why somebody was refused; it is a label of metrics, so there are
// few.
type Reason string

// The reasons.
const (
	// NoCredentials came with the request.
	NoCredentials Reason = "no_credentials"
	// WrongCredentials came: unknown, expired, or for somebody else.
	WrongCredentials Reason = "wrong_credentials"
	// TooManyFailures came from this address.
	TooManyFailures Reason = "too_many_failures"
	// TooManyRequests came from this identity.
	TooManyRequests Reason = "too_many_requests"
	// ReviewUnavailable means that Kubernetes could not be asked.
	ReviewUnavailable Reason = "review_unavailable"
)

// Refusal is why a request was not let in.
type Refusal struct { //nolint:errname // it is a decision and names its reason
	Reason Reason
	// Identity is set where the caller proved one.
	Identity string
	// Cause is for the log: it may tell a guesser more than they should know. It
	// never has a token in it.
	Cause string
	// RetryAfter says when to come back, 0 when that would not help.
	RetryAfter time.Duration
}

// Error gives the reason and the cause.
func (r *Refusal) Error() string {
	if r.Cause == "" {
		return string(r.Reason)
	}
	return string(r.Reason) + ": " + r.Cause
}

func wrong(cause string) *Refusal { return &Refusal{Reason: WrongCredentials, Cause: cause} }
