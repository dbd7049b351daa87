package access_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/pipestreamer/pipestreamer/internal/access"
	"github.com/pipestreamer/pipestreamer/internal/access/accesstest"
)

const audience = "pipestreamer"

// reviewer asks a server of the test.
func reviewer(t *testing.T) (*access.Reviewer, *accesstest.Kubernetes, *observer.ObservedLogs) {
	t.Helper()
	authority := accesstest.NewAuthority(t)
	k := accesstest.NewKubernetes(t, authority)
	core, logs := observer.New(zap.InfoLevel)
	v, err := access.NewReviewer(access.ReviewConfig{
		URL: k.URL + "/", CAFile: authority.File, Audience: audience, Token: func() (string, error) { return k.OwnToken, nil },
	}, zap.New(core))
	if err != nil {
		t.Fatal(err)
	}
	return v, k, logs
}

func reasonOf(err error) access.Reason {
	if refusal, is := errors.AsType[*access.Refusal](err); is {
		return refusal.Reason
	}
	return ""
}

// TestReview shows what is made of each answer of an API server.
func TestReview(t *testing.T) {
	good := accesstest.ServiceAccountToken("backup", "nightly", audience, time.Hour)
	confirmed := func(change func(*accesstest.ReviewStatus)) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			review := accesstest.Review{Kind: "TokenReview", Status: accesstest.ReviewStatus{
				Authenticated: true, Audiences: []string{audience}, User: map[string]string{"username": "system:serviceaccount:backup:nightly"},
			}}
			change(&review.Status)
			accesstest.Answer(w, &review)
		}
	}
	user := func(name string) http.HandlerFunc {
		return confirmed(func(s *accesstest.ReviewStatus) { s.User["username"] = name })
	}
	text := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		}
	}
	tests := []struct {
		name   string
		token  string // good unless set
		answer http.HandlerFunc
		want   string
		reason access.Reason
		cause  string
	}{
		{name: "right", want: "serviceaccount:backup/nightly"},
		{name: "for another audience", token: accesstest.ServiceAccountToken("backup", "nightly", "https://kubernetes.default.svc", time.Hour), reason: access.WrongCredentials, cause: "is invalid for the target audiences"},
		{name: "expired", token: accesstest.ServiceAccountToken("backup", "nightly", audience, -time.Minute), reason: access.WrongCredentials, cause: "has expired"},
		{name: "of a person", token: accesstest.UserToken("alice@example.com", audience, time.Hour), reason: access.WrongCredentials, cause: `"alice@example.com", expected a service account`},
		{name: "of a node", token: accesstest.UserToken("system:node:n1", audience, time.Hour), reason: access.WrongCredentials, cause: "expected a service account"},
		{name: "without a name", answer: user("system:serviceaccount:backup"), reason: access.WrongCredentials, cause: "expected a service account"},
		{name: "with an empty namespace", answer: user("system:serviceaccount::nightly"), reason: access.WrongCredentials, cause: "expected a service account"},
		{name: "no token of Kubernetes", token: "a-secret-of-something-else", reason: access.WrongCredentials, cause: "does not look like one of Kubernetes"},
		{name: "a server that knows no audiences", answer: confirmed(func(s *accesstest.ReviewStatus) { s.Audiences = nil }), reason: access.WrongCredentials, cause: "expected \"pipestreamer\""},
		{name: "a server that confirms another audience", answer: confirmed(func(s *accesstest.ReviewStatus) { s.Audiences = []string{"vault"} }), reason: access.WrongCredentials, cause: `the audiences ["vault"]`},
		{name: "audiences without a confirmation", answer: confirmed(func(s *accesstest.ReviewStatus) { s.Authenticated = false }), reason: access.WrongCredentials, cause: "not confirmed by Kubernetes"},
		{name: "the daemon may not ask", answer: text(403, "{}"), reason: access.ReviewUnavailable, cause: "system:auth-delegator"},
		{name: "the daemon's token is old", answer: text(401, "{}"), reason: access.ReviewUnavailable, cause: "401 Unauthorized"},
		{name: "an overloaded server", answer: text(429, "{}"), reason: access.ReviewUnavailable, cause: "429"},
		{name: "a broken server", answer: text(500, "oops"), reason: access.ReviewUnavailable, cause: "500 Internal Server Error, expected 201"},
		{name: "200 is not 201", answer: text(200, `{"kind":"TokenReview","status":{"authenticated":true}}`), reason: access.ReviewUnavailable, cause: "expected 201"},
		{name: "no JSON", answer: text(201, "<html>"), reason: access.ReviewUnavailable, cause: "read the API server's answer"},
		{name: "something else", answer: text(201, `{"kind":"Status"}`), reason: access.ReviewUnavailable, cause: `expected a TokenReview, got "Status"`},
		{name: "no end", answer: text(201, `{"kind":"TokenReview","x":"`+strings.Repeat("x", 300<<10)+`"}`), reason: access.ReviewUnavailable, cause: "expected at most"},
		{name: "cut off", answer: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			w.WriteHeader(http.StatusCreated)
			_, _ = w.Write([]byte(`{"kind"`))
		}, reason: access.ReviewUnavailable, cause: "unexpected EOF"},
		{name: "hangs up", answer: func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, reason: access.ReviewUnavailable, cause: "EOF"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			v, k, logs := reviewer(t)
			k.Break(test.answer)
			token := test.token
			if token == "" {
				token = good
			}
			got, err := v.Identify(t.Context(), token)
			if got != test.want || reasonOf(err) != test.reason || (err != nil && !strings.Contains(err.Error(), test.cause)) {
				t.Errorf("%q, %v\nexpected %q, %s with %q", got, err, test.want, test.reason, test.cause)
			}
			if unavailable := test.reason == access.ReviewUnavailable; unavailable != (logs.FilterMessageSnippet("could not be asked").Len() == 1) {
				t.Errorf("the log has %v", logs.All())
			}
			for _, line := range logs.All() {
				if strings.Contains(line.Message, token) || strings.Contains(errorText(line.ContextMap()["error"]), token) {
					t.Errorf("the log shows the token: %v", line)
				}
			}
			if test.token == "a-secret-of-something-else" && k.Reviews() != 0 {
				t.Error("something that is no token of Kubernetes was sent there")
			}
		})
	}
}

func errorText(v any) string {
	text, _ := v.(string)
	return text
}

// TestReviewDoesNotFollow: a redirect would take both tokens elsewhere.
func TestReviewDoesNotFollow(t *testing.T) {
	v, k, _ := reviewer(t)
	asked := 0
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked++ }))
	defer elsewhere.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		k.Break(func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere.URL, status) })
		_, err := v.Identify(t.Context(), accesstest.ServiceAccountToken("a", "b", audience, time.Hour))
		if reasonOf(err) != access.ReviewUnavailable {
			t.Errorf("%d: %v", status, err)
		}
	}
	if asked != 0 {
		t.Errorf("%d redirects were followed", asked)
	}
}

// TestReviewTrustsItsAuthorityOnly has a server with a certificate of somebody
// else.
func TestReviewTrustsItsAuthorityOnly(t *testing.T) {
	k := accesstest.NewKubernetes(t, accesstest.NewAuthority(t))
	v, err := access.NewReviewer(access.ReviewConfig{
		URL: k.URL, CAFile: accesstest.NewAuthority(t).File, Audience: audience, Token: func() (string, error) { return k.OwnToken, nil },
	}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Identify(t.Context(), accesstest.ServiceAccountToken("a", "b", audience, time.Hour)); reasonOf(err) != access.ReviewUnavailable || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("Identify: %v", err)
	}
	if k.Reviews() != 0 {
		t.Error("a token was sent to a server that is not trusted")
	}
}

func TestReviewOfASlowServer(t *testing.T) {
	v, k, _ := reviewer(t)
	release := make(chan struct{})
	k.Break(func(http.ResponseWriter, *http.Request) { <-release })
	ctx, cancel := contextWithTimeout(t, 100*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err := v.Identify(ctx, accesstest.ServiceAccountToken("a", "b", audience, time.Hour))
	if reasonOf(err) != access.ReviewUnavailable || time.Since(start) > 4*time.Second {
		t.Errorf("Identify: %v after %s", err, time.Since(start))
	}
	close(release)
}

// TestFewReviewsAtOnce: however many callers come, Kubernetes is not flooded.
func TestFewReviewsAtOnce(t *testing.T) {
	v, k, _ := reviewer(t)
	var mu sync.Mutex
	now, most := 0, 0
	full, release := make(chan struct{}), make(chan struct{})
	k.Break(func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		now++
		if now > most && now == access.MaxReviews {
			close(full)
		}
		most = max(most, now)
		mu.Unlock()
		<-release
		mu.Lock()
		now--
		mu.Unlock()
		w.WriteHeader(http.StatusInternalServerError)
	})
	var callers sync.WaitGroup
	for range 3 * access.MaxReviews {
		callers.Go(func() {
			if _, err := v.Identify(t.Context(), accesstest.ServiceAccountToken("a", "b", audience, time.Hour)); reasonOf(err) != access.ReviewUnavailable {
				t.Errorf("Identify: %v", err)
			}
		})
	}
	<-full
	<-time.After(100 * time.Millisecond) // for one too many
	close(release)
	callers.Wait()
	if most != access.MaxReviews {
		t.Errorf("%d reviews at once, expected %d", most, access.MaxReviews)
	}
}

func TestReviewWithoutAnOwnToken(t *testing.T) {
	authority := accesstest.NewAuthority(t)
	k := accesstest.NewKubernetes(t, authority)
	v, err := access.NewReviewer(access.ReviewConfig{
		URL: k.URL, CAFile: authority.File, Audience: audience, Token: func() (string, error) { return "", errors.New("gone") },
	}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Identify(t.Context(), accesstest.ServiceAccountToken("a", "b", audience, time.Hour)); reasonOf(err) != access.ReviewUnavailable || !strings.Contains(err.Error(), "own token: gone") {
		t.Errorf("Identify: %v", err)
	}
	if _, err := access.NewReviewer(access.ReviewConfig{CAFile: filepath.Join(t.TempDir(), "none")}, zap.NewNop()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("NewReviewer without authorities: %v", err)
	}
}

// TestAnswersAreForgotten goes by the clock of a test.
func TestAnswersAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		remember := access.NewAnswers(time.Minute)
		remember.Add("a", "one")
		time.Sleep(time.Minute - time.Nanosecond)
		got := []any{remember.Get("a"), remember.Get("b")}
		time.Sleep(time.Nanosecond)
		got = append(got, remember.Get("a"))
		for i := range 2 * access.MaxAnswers {
			remember.Add(string(rune('0'+i%10))+time.Duration(i).String(), "x")
		}
		got = append(got, remember.Len())
		if diff := cmp.Diff([]any{"one", "", "", access.MaxAnswers}, got); diff != "" {
			t.Errorf("answers (-want +got):\n%s", diff)
		}
	})
}
