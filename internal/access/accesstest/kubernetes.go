package accesstest

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Kubernetes is an API server that reviews tokens. Its answers have the shape
// of those of kube-apiserver 1.36: a token that is not confirmed is answered
// with 201 as well, and the reason is in the status.
type Kubernetes struct {
	// URL is where it listens, with TLS.
	URL string
	// OwnToken is what a daemon has to send to be allowed to ask.
	OwnToken string

	mu      sync.Mutex
	reviews int
	broken  http.HandlerFunc
}

// NewKubernetes starts a server with a certificate of the authority; it ends
// with the test.
func NewKubernetes(t *testing.T, authority *Authority) *Kubernetes {
	t.Helper()
	k := &Kubernetes{OwnToken: "the-daemon's-own-token"}
	server := httptest.NewUnstartedServer(k)
	server.TLS = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{authority.Issue(t, "kubernetes", nil).Pair}}
	server.StartTLS()
	t.Cleanup(server.Close)
	k.URL = server.URL
	return k
}

// Break answers with handler from now on; nil mends it.
func (k *Kubernetes) Break(handler http.HandlerFunc) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.broken = handler
}

// Reviews counts the requests for a review.
func (k *Kubernetes) Reviews() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.reviews
}

// claims are what a token of this server says.
type claims struct {
	Audiences []string `json:"aud"`
	Expires   int64    `json:"exp"`
	User      string   `json:"sub"`
}

// ServiceAccountToken is a token as the TokenRequest interface issues it.
func ServiceAccountToken(namespace, name, audience string, lifetime time.Duration) string {
	return UserToken("system:serviceaccount:"+namespace+":"+name, audience, lifetime)
}

// UserToken is a token of any user.
func UserToken(user, audience string, lifetime time.Duration) string {
	text, err := json.Marshal(claims{Audiences: []string{audience}, Expires: time.Now().Add(lifetime).Unix(), User: user})
	if err != nil {
		panic(err) // strings and a number
	}
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"alg":"RS256"}`)) + "." + encode(text) + "." + encode([]byte("signature"))
}

// Review is a TokenReview.
type Review struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Spec       struct {
		Token     string   `json:"token"`
		Audiences []string `json:"audiences"`
	} `json:"spec"`
	Status ReviewStatus `json:"status"`
}

// ReviewStatus is the answer.
type ReviewStatus struct {
	Authenticated bool              `json:"authenticated,omitempty"`
	User          map[string]string `json:"user,omitempty"`
	Audiences     []string          `json:"audiences,omitempty"`
	Error         string            `json:"error,omitempty"`
}

// ServeHTTP creates a TokenReview.
func (k *Kubernetes) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	k.mu.Lock()
	k.reviews++
	broken := k.broken
	k.mu.Unlock()
	if broken != nil {
		broken(w, r)
		return
	}
	if r.Method != http.MethodPost || r.URL.Path != "/apis/authentication.k8s.io/v1/tokenreviews" {
		http.Error(w, "404 page not found", http.StatusNotFound)
		return
	}
	if r.Header.Get("Authorization") != "Bearer "+k.OwnToken {
		http.Error(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Unauthorized","code":401}`, http.StatusUnauthorized)
		return
	}
	var review Review
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil || review.Kind != "TokenReview" || review.APIVersion != "authentication.k8s.io/v1" {
		http.Error(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"BadRequest","code":400}`, http.StatusBadRequest)
		return
	}
	review.Status = judge(review.Spec.Token, review.Spec.Audiences)
	Answer(w, &review)
}

// Answer sends a review as what was created.
func Answer(w http.ResponseWriter, review *Review) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	text, err := json.Marshal(review)
	if err != nil {
		panic(err) // texts
	}
	_, _ = w.Write(text) // a client that is gone is the test's matter
}

func judge(token string, audiences []string) ReviewStatus {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return ReviewStatus{Error: "invalid bearer token"}
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	var c claims
	if err != nil || json.Unmarshal(text, &c) != nil {
		return ReviewStatus{Error: "invalid bearer token"}
	}
	if time.Unix(c.Expires, 0).Before(time.Now()) {
		return ReviewStatus{Error: "[invalid bearer token, service account token has expired]"}
	}
	common := slices.DeleteFunc(slices.Clone(c.Audiences), func(a string) bool { return !slices.Contains(audiences, a) })
	if len(common) == 0 {
		return ReviewStatus{Error: fmt.Sprintf("[invalid bearer token, token audiences %q is invalid for the target audiences %q]", c.Audiences, audiences)}
	}
	return ReviewStatus{Authenticated: true, Audiences: common, User: map[string]string{"username": c.User}}
}
