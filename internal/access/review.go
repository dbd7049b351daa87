package access

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"go.uber.org/zap"
)

const (
	// reviewPath creates a TokenReview (Kubernetes API reference,
	// authentication.k8s.io/v1).
	reviewPath = "/apis/authentication.k8s.io/v1/tokenreviews"
	// reviewTimeout bounds one review, waiting for its turn included.
	reviewTimeout = 5 * time.Second
	// maxReviews bounds how many are asked for at once.
	maxReviews = 8
	// maxReview bounds an answer in bytes.
	maxReview = 256 << 10
	// confirmedFor and deniedFor are how long answers are remembered: so long a
	// token that was revoked is still let in, and one that was not yet known is not.
	confirmedFor = 60 * time.Second
	deniedFor    = 10 * time.Second
	// maxAnswers bounds how many of each are remembered.
	maxAnswers = 1024
	// reviewRetry is when to come back after a review that was not possible.
	reviewRetry = 5 * time.Second
)

// jwt is the shape of a service account's token. Nothing else is sent to
// Kubernetes: it may be somebody's password, or the token of a file that was
// rotated.
var jwt = regexp.MustCompile(`^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$`)

// ReviewConfig says how to ask Kubernetes.
type ReviewConfig struct {
	// URL is the API server's address, https://host:port.
	URL string
	// CAFile has its authorities, read again when they change.
	CAFile string
	// Token is the daemon's own token, which has to be allowed to create
	// tokenreviews (system:auth-delegator).
	Token Token
	// Audience is what tokens have to be issued for.
	Audience string
}

// Reviewer asks Kubernetes whose token it is. It is safe for concurrent use.
type Reviewer struct {
	cfg       ReviewConfig
	log       *zap.Logger
	clients   *reloaded[*http.Client]
	turns     chan struct{}
	confirmed *answers
	denied    *answers
}

// NewReviewer reads the file with the authorities; its error says why that cannot be
// used. The Reviewer beside it trusts no server until it can. Kubernetes is not asked
// yet.
func NewReviewer(cfg ReviewConfig, log *zap.Logger) (*Reviewer, error) {
	log = log.Named("access")
	clients, err := newReloaded("authorities of Kubernetes' API server", []string{cfg.CAFile}, newClient(x509.NewCertPool()), parseClient, log)
	return &Reviewer{
		cfg: cfg, log: log, clients: clients, turns: make(chan struct{}, maxReviews),
		confirmed: newAnswers(confirmedFor), denied: newAnswers(deniedFor),
	}, err
}

func parseClient(contents [][]byte) (*http.Client, error) {
	pool, err := parsePool(contents)
	if err != nil {
		return nil, err
	}
	return newClient(pool), nil
}

// newClient makes a client that trusts these authorities only. It follows no
// redirect, which would take the tokens elsewhere, and keeps no connection:
// there are few reviews, and the authorities may change.
func newClient(pool *x509.CertPool) *http.Client {
	return &http.Client{
		Transport:     &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// remembered returns the answer that a token got a short while ago: an identity,
// a refusal, or neither.
func (v *Reviewer) remembered(token string) (identity string, denied *Refusal) {
	key := sha256.Sum256([]byte(token))
	if identity, known := v.confirmed.get(key); known {
		return identity, nil
	}
	if cause, known := v.denied.get(key); known {
		return "", wrong(cause)
	}
	return "", nil
}

// Identify returns "serviceaccount:<namespace>/<name>" for a token that
// Kubernetes confirms for our audience, and *[Refusal] otherwise. A server that
// does not answer is never a yes.
func (v *Reviewer) Identify(ctx context.Context, token string) (string, error) {
	if !jwt.MatchString(token) {
		return "", wrong("no file has this token, and it does not look like one of Kubernetes")
	}
	ctx, cancel := context.WithTimeout(ctx, reviewTimeout)
	defer cancel()
	status, err := v.review(ctx, token)
	if err != nil {
		v.log.Error("Kubernetes could not be asked about a token, so its sender is refused", zap.String("url", v.cfg.URL), zap.Error(err))
		return "", &Refusal{Reason: ReviewUnavailable, Cause: err.Error(), RetryAfter: reviewRetry}
	}
	key := sha256.Sum256([]byte(token))
	identity, err := identityOfReview(status, v.cfg.Audience)
	if err != nil {
		v.denied.add(key, err.Error())
		return "", wrong(err.Error())
	}
	v.confirmed.add(key, identity)
	return identity, nil
}

// tokenReview is the part of a TokenReview that is needed (Kubernetes API
// reference, authentication.k8s.io/v1).
type tokenReview struct {
	APIVersion string       `json:"apiVersion"`
	Kind       string       `json:"kind"`
	Spec       reviewSpec   `json:"spec"`
	Status     reviewStatus `json:"status,omitzero"`
}

type reviewSpec struct {
	Token     string   `json:"token"`
	Audiences []string `json:"audiences"`
}

type reviewStatus struct {
	Authenticated bool `json:"authenticated"`
	User          struct {
		Username string `json:"username"`
	} `json:"user"`
	Audiences []string `json:"audiences"`
	Error     string   `json:"error"`
}

// review asks Kubernetes.
func (v *Reviewer) review(ctx context.Context, token string) (status reviewStatus, err error) {
	select {
	case v.turns <- struct{}{}:
		defer func() { <-v.turns }()
	case <-ctx.Done():
		return status, fmt.Errorf("wait for a turn (%d reviews at once): %w", maxReviews, context.Cause(ctx))
	}
	own, err := v.cfg.Token()
	if err != nil {
		return status, fmt.Errorf("read the daemon's own token: %w", err)
	}
	text, err := json.Marshal(tokenReview{
		APIVersion: "authentication.k8s.io/v1", Kind: "TokenReview", Spec: reviewSpec{Token: token, Audiences: []string{v.cfg.Audience}},
	})
	if err != nil {
		return status, fmt.Errorf("encode the review: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(v.cfg.URL, "/")+reviewPath, bytes.NewReader(text))
	if err != nil {
		return status, fmt.Errorf("build the request: %w", err)
	}
	request.Header.Set("Authorization", "Bearer "+own)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "application/json")
	response, err := v.clients.get().Do(request)
	if err != nil {
		return status, err
	}
	defer func() { err = errors.Join(err, response.Body.Close()) }()
	return readReview(response)
}

// readReview takes the answer of an API server: 201 for what was created (API
// conventions), and nothing else.
func readReview(response *http.Response) (reviewStatus, error) {
	if response.StatusCode == http.StatusForbidden || response.StatusCode == http.StatusUnauthorized {
		return reviewStatus{}, fmt.Errorf("the API server answers %s: the daemon's service account has to be allowed to create tokenreviews (ClusterRole system:auth-delegator)", response.Status)
	}
	if response.StatusCode != http.StatusCreated {
		return reviewStatus{}, fmt.Errorf("the API server answers %s, expected 201 Created", response.Status)
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, maxReview+1))
	if err == nil && len(text) > maxReview {
		err = fmt.Errorf("expected at most %d bytes", maxReview)
	}
	var answer tokenReview
	if err == nil {
		err = json.Unmarshal(text, &answer)
	}
	if err == nil && answer.Kind != "TokenReview" {
		err = fmt.Errorf("expected a TokenReview, got %q", answer.Kind)
	}
	if err != nil {
		return reviewStatus{}, fmt.Errorf("read the API server's answer: %w", err)
	}
	return answer.Status, nil
}

// identityOfReview names the service account that a review confirmed. An API
// server that knows no audiences names none, and does not count: such a token
// is for somebody else (Kubernetes API reference, TokenReviewStatus.audiences).
func identityOfReview(status reviewStatus, audience string) (string, error) {
	if !status.Authenticated {
		return "", fmt.Errorf("not confirmed by Kubernetes for audience %q: %s", audience, oneLine(status.Error))
	}
	if !slices.Contains(status.Audiences, audience) {
		return "", fmt.Errorf("the token is for the audiences %q, expected %q", status.Audiences, audience)
	}
	account, is := strings.CutPrefix(status.User.Username, "system:serviceaccount:")
	namespace, name, whole := strings.Cut(account, ":")
	if !is || !whole || namespace == "" || name == "" {
		return "", fmt.Errorf("the token is of user %q, expected a service account", status.User.Username)
	}
	return "serviceaccount:" + namespace + "/" + name, nil
}

// oneLine shortens the API server's words for the log.
func oneLine(text string) string {
	const most = 300
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > most {
		text = text[:most]
	}
	return text
}

// answers remembers what was said about tokens, by their hash, for a time. It
// is safe for concurrent use.
type answers struct {
	lifetime time.Duration

	mu    sync.Mutex
	byKey *simplelru.LRU[[sha256.Size]byte, answer]
}

type answer struct {
	text  string
	until time.Time
}

func newAnswers(lifetime time.Duration) *answers {
	// The only error is a size below 1.
	byKey, _ := simplelru.NewLRU[[sha256.Size]byte, answer](maxAnswers, nil)
	return &answers{lifetime: lifetime, byKey: byKey}
}

func (a *answers) get(key [sha256.Size]byte) (string, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	found, known := a.byKey.Get(key)
	if known && time.Now().Before(found.until) {
		return found.text, true
	}
	a.byKey.Remove(key)
	return "", false
}

func (a *answers) add(key [sha256.Size]byte, text string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.byKey.Add(key, answer{text: text, until: time.Now().Add(a.lifetime)})
}
