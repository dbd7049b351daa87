package access

import (
	"crypto/x509"
	"errors"
	"net/http"
	"os"

	"go.uber.org/zap"
	"golang.org/x/time/rate"
)

const (
	// failureRate and failureBurst bound wrong credentials by address, in attempts
	// a second and at once.
	failureRate  = 1
	failureBurst = 10
	// An identity may use burstFactor seconds of its rate at once, and at least
	// leastBurst requests: the status page is about 25, all at once, and who reloads
	// it twice must not get a page without some of its files.
	burstFactor = 2
	leastBurst  = 100
)

// Config says who is let in, and how often.
type Config struct {
	// Tokens are those in files, by the identity that they prove.
	Tokens map[string]Token
	// ClientCAs gives the authorities of client certificates as they are now; nil
	// accepts no certificate.
	ClientCAs func() *x509.CertPool
	// Reviewer asks Kubernetes about tokens; nil asks nobody.
	Reviewer *Reviewer
	// Roles says who may do what.
	Roles Roles
	// RateLimit is how many requests a second an identity may send for long.
	RateLimit int
}

// Guard lets callers in. It is safe for concurrent use.
type Guard struct {
	cfg      Config
	tokens   *tokens
	requests *limiter
	failures *limiter
	// unanswered bounds by address what Kubernetes is asked in vain.
	unanswered *limiter
	log        *zap.Logger
}

// NewGuard returns a guard. Nothing is read yet.
func NewGuard(cfg Config, log *zap.Logger) *Guard {
	log = log.Named("access")
	return &Guard{
		cfg: cfg, log: log, tokens: newTokens(cfg.Tokens, log),
		requests: newLimiter(rate.Limit(cfg.RateLimit), max(burstFactor*cfg.RateLimit, leastBurst)),
		failures: newLimiter(failureRate, failureBurst), unanswered: newLimiter(failureRate, failureBurst),
	}
}

// Network identifies callers of a TCP listener.
func (g *Guard) Network() Identify {
	return func(r *http.Request) (Caller, error) {
		identity, err := g.overNetwork(r)
		if err != nil {
			return Caller{}, g.failed(r, err)
		}
		return g.admit(identity, g.cfg.Roles.Of(identity))
	}
}

// Socket identifies callers of a Unix socket by their user id, and by nothing
// else. The daemon's own user and root are operators without a rate limit: they
// could change its files, or end it.
func (g *Guard) Socket() Identify {
	root, own := identityOfUID(0), identityOfUID(uint32(os.Geteuid()))
	return func(r *http.Request) (Caller, error) {
		identity, err := identityOfPeer(r.Context())
		if err != nil {
			return Caller{}, err
		}
		if identity == root || identity == own {
			return Caller{Identity: identity, Role: Operator}, nil
		}
		return g.admit(identity, g.cfg.Roles.Of(identity))
	}
}

// Identify says who sent a request, or returns *[Refusal].
type Identify func(r *http.Request) (Caller, error)

// overNetwork takes the token, if there is one, and only without looks at the
// certificate: a wrong token is never made good by something else.
func (g *Guard) overNetwork(r *http.Request) (string, error) {
	if len(r.Header.Values("Authorization")) > 0 {
		token, err := presented(r)
		if err != nil {
			return "", err
		}
		return g.ofToken(r, token)
	}
	if g.cfg.ClientCAs != nil && r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		return identityOfCertificate(r.TLS.PeerCertificates, g.cfg.ClientCAs())
	}
	return "", &Refusal{Reason: NoCredentials}
}

// ofToken looks for the token in the files first, so that those whose token is
// right are let in however many wrong ones came from their address. Kubernetes
// is asked last, and only as often as that address may fail.
func (g *Guard) ofToken(r *http.Request, token string) (string, error) {
	if identity := g.tokens.identify(token); identity != "" {
		return identity, nil
	}
	if g.cfg.Reviewer == nil {
		return "", wrong("no file has this token")
	}
	identity, denied := g.cfg.Reviewer.remembered(token)
	if denied != nil {
		return "", denied
	}
	if identity != "" {
		return identity, nil
	}
	if wait, empty := g.failures.empty(addressOf(r.RemoteAddr)); empty {
		return "", &Refusal{Reason: TooManyFailures, RetryAfter: wait}
	}
	if wait, empty := g.unanswered.empty(addressOf(r.RemoteAddr)); empty && jwt.MatchString(token) {
		return "", &Refusal{Reason: ReviewUnavailable, Cause: "Kubernetes did not answer for others from this address, and is not asked again yet", RetryAfter: max(wait, reviewRetry)}
	}
	return g.cfg.Reviewer.Identify(r.Context(), token)
}

// failed counts a failure against its address. Browsers ask without credentials
// first, which is none.
func (g *Guard) failed(r *http.Request, err error) error {
	refusal, is := errors.AsType[*Refusal](err)
	if !is {
		g.log.Error("a caller could not be identified", zap.Error(err))
		refusal = wrong(err.Error())
	}
	if refusal.Reason == ReviewUnavailable { // nothing is known of the credentials
		g.unanswered.take(addressOf(r.RemoteAddr))
		return refusal
	}
	if refusal.Reason == TooManyFailures || refusal.Reason == NoCredentials && Safe(r.Method) {
		return refusal
	}
	if wait, ok := g.failures.take(addressOf(r.RemoteAddr)); !ok {
		return &Refusal{Reason: TooManyFailures, Cause: refusal.Error(), RetryAfter: wait}
	}
	return refusal
}

// admit takes a token out of the bucket of an identity.
func (g *Guard) admit(identity string, role Role) (Caller, error) {
	if wait, ok := g.requests.take(identity); !ok {
		return Caller{}, &Refusal{Reason: TooManyRequests, Identity: identity, RetryAfter: wait}
	}
	return Caller{Identity: identity, Role: role}, nil
}
