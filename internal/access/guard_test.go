package access_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
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

func contextWithTimeout(t *testing.T, d time.Duration) (context.Context, context.CancelFunc) {
	t.Helper()
	return context.WithTimeout(t.Context(), d)
}

func fixed(token string) access.Token { return func() (string, error) { return token, nil } }

func request(method, authorization string) *http.Request {
	r := httptest.NewRequest(method, "/v1/jobs", http.NoBody)
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	return r
}

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

func TestTokens(t *testing.T) {
	const one, two = "token-number-one", "token-number-two"
	guard := access.NewGuard(access.Config{
		Tokens: map[string]access.Token{"token": fixed(one), "token:nightly": fixed(two), "token:broken": func() (string, error) { return "", os.ErrNotExist }, "token:short": fixed("short")},
		Roles:  access.NewRoles([]string{"token"}, []string{"token:nightly"}, nil), RateLimit: 1000,
	}, zap.NewNop())
	operator, trigger := access.Caller{Identity: "token", Role: access.Operator}, access.Caller{Identity: "token:nightly", Role: access.Trigger}
	tests := []struct {
		name, method, authorization string
		want                        access.Caller
		reason                      access.Reason
	}{
		{name: "none", reason: access.NoCredentials},
		{name: "right", authorization: "Bearer " + one, want: operator},
		{name: "another's", authorization: "Bearer " + two, want: trigger},
		{name: "scheme in lower case", authorization: "bearer " + one, want: operator},
		{name: "wrong", authorization: "Bearer token-number-six", reason: access.WrongCredentials},
		{name: "empty", authorization: "Bearer ", reason: access.WrongCredentials},
		{name: "no token", authorization: "Bearer", reason: access.WrongCredentials},
		{name: "beginning", authorization: "Bearer " + one[:15], reason: access.WrongCredentials},
		{name: "more", authorization: "Bearer " + one + "x", reason: access.WrongCredentials},
		{name: "space before", authorization: "Bearer  " + one, reason: access.WrongCredentials},
		{name: "of a file with a short one", authorization: "Bearer short", reason: access.WrongCredentials},
		{name: "huge", authorization: "Bearer " + strings.Repeat("x", 17<<10), reason: access.WrongCredentials},
		{name: "unknown scheme", authorization: "Digest " + one, reason: access.WrongCredentials},
		{name: "scheme only", authorization: one, reason: access.WrongCredentials},
		{name: "Basic", authorization: basic("any", one), want: operator},
		{name: "Basic for HEAD", method: "HEAD", authorization: basic("", two), want: trigger},
		{name: "Basic with the token as user", authorization: basic(one, ""), reason: access.WrongCredentials},
		{name: "Basic, not base64", authorization: "Basic " + one, reason: access.WrongCredentials},
		{name: "Basic for POST", method: "POST", authorization: basic("any", one), reason: access.WrongCredentials},
		{name: "Basic for DELETE", method: "DELETE", authorization: basic("any", one), reason: access.WrongCredentials},
		{name: "Basic for a method that is none", method: "GETX", authorization: basic("any", one), reason: access.WrongCredentials},
		{name: "Bearer for POST", method: "POST", authorization: "Bearer " + one, want: operator},
	}
	for i, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := request(test.method, test.authorization)
			r.RemoteAddr = fmt.Sprintf("192.0.2.%d:1", i) // each may fail by itself
			got, err := guard.Network()(r)
			if got != test.want || reasonOf(err) != test.reason {
				t.Errorf("%+v, %v; expected %+v, %s", got, err, test.want, test.reason)
			}
			if err != nil && (strings.Contains(err.Error(), one) || strings.Contains(err.Error(), two)) {
				t.Errorf("the error shows a token: %v", err)
			}
		})
	}
	twice := request("GET", "Bearer "+one)
	twice.Header.Add("Authorization", "Bearer "+one)
	if _, err := guard.Network()(twice); reasonOf(err) != access.WrongCredentials {
		t.Errorf("two headers: %v", err)
	}
}

// TestTokensChange rotates a file, breaks it and mends it.
func TestTokensChange(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	core, logs := observer.New(zap.InfoLevel)
	guard := access.NewGuard(access.Config{
		Tokens: map[string]access.Token{"token": func() (string, error) {
			text, err := os.ReadFile(file)
			return string(text), err
		}},
		Roles: access.NewRoles([]string{"token"}, nil, nil), RateLimit: 1000,
	}, zap.New(core))
	for _, step := range []struct {
		name, text string
		let        []string
	}{
		{"first", "first-token-0123", []string{"first-token-0123"}},
		{"rotated", "second-token-012", []string{"second-token-012"}},
		{"emptied", "", nil},
		{"shortened", "second-token", nil},
		{"back", "first-token-0123", []string{"first-token-0123"}},
	} {
		if err := os.WriteFile(file, []byte(step.text), 0o600); err != nil {
			t.Fatal(err)
		}
		var let []string
		for _, token := range []string{"first-token-0123", "second-token-012", "second-token", ""} {
			if caller, err := guard.Network()(request("GET", "Bearer "+token)); err == nil && caller.Role == access.Operator {
				let = append(let, token)
			}
		}
		if diff := cmp.Diff(step.let, let); diff != "" {
			t.Errorf("%s: who is let in (-want +got):\n%s", step.name, diff)
		}
	}
	if bad, good := logs.FilterMessageSnippet("cannot be used").Len(), logs.FilterMessageSnippet("can be used again").Len(); bad != 1 || good != 1 {
		t.Errorf("the log says %d times that the token is broken and %d times that it is mended, expected once each: %v", bad, good, logs.All())
	}
}

// TestTheSameTokenTwice: whose it is cannot be told, so it is nobody's.
func TestTheSameTokenTwice(t *testing.T) {
	guard := access.NewGuard(access.Config{
		Tokens: map[string]access.Token{"token:a": fixed("0123456789abcdef"), "token:b": fixed("0123456789abcdef")},
		Roles:  access.NewRoles([]string{"token:a", "token:b"}, nil, nil), RateLimit: 1,
	}, zap.NewNop())
	if caller, err := guard.Network()(request("GET", "Bearer 0123456789abcdef")); reasonOf(err) != access.WrongCredentials {
		t.Errorf("%+v, %v", caller, err)
	}
}

// TestRateLimit goes by the clock of a test. However low the rate is, a page of some
// 25 files can be loaded several times at once.
func TestRateLimit(t *testing.T) {
	for rate, burst := range map[int]int{2: 100, 20: 100, 60: 120} {
		synctest.Test(t, func(t *testing.T) {
			guard := access.NewGuard(access.Config{
				Tokens: map[string]access.Token{"token:a": fixed("0123456789abcdef"), "token:b": fixed("fedcba9876543210")}, RateLimit: rate,
			}, zap.NewNop())
			ask := func(token string, times int) (passed int, last *access.Refusal) {
				for range times {
					if _, err := guard.Network()(request("GET", "Bearer "+token)); err == nil {
						passed++
					} else {
						last, _ = errors.AsType[*access.Refusal](err)
					}
				}
				return passed, last
			}
			passed, last := ask("0123456789abcdef", burst+2)
			if want := (&access.Refusal{Reason: access.TooManyRequests, Identity: "token:a", RetryAfter: time.Second / time.Duration(rate)}); passed != burst || cmp.Diff(want, last) != "" {
				t.Errorf("rate %d: at once %d passed, then %+v; expected %d, %+v", rate, passed, last, burst, want)
			}
			if passed, _ := ask("fedcba9876543210", 3); passed != 3 {
				t.Errorf("rate %d: of another identity %d passed, expected 3", rate, passed)
			}
			time.Sleep(time.Second)
			if passed, _ := ask("0123456789abcdef", burst); passed != rate {
				t.Errorf("rate %d: after a second %d passed", rate, passed)
			}
		})
	}
}

// TestFailuresAreLimited: who guesses is slowed down, and whoever has the right
// token is let in from the same address all the same.
func TestFailuresAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		guard := access.NewGuard(access.Config{Tokens: map[string]access.Token{"token": fixed("0123456789abcdef")}, RateLimit: 100}, zap.NewNop())
		ask := func(remote, method, authorization string) access.Reason {
			r := request(method, authorization)
			r.RemoteAddr = remote
			_, err := guard.Network()(r)
			return reasonOf(err)
		}
		for i := range 20 {
			if got := ask("192.0.2.1:1", "GET", ""); got != access.NoCredentials {
				t.Fatalf("GET %d without credentials: %s", i, got)
			}
		}
		for i := range 12 {
			want := access.WrongCredentials
			if i >= 10 {
				want = access.TooManyFailures
			}
			if got := ask("192.0.2.1:"+strconv.Itoa(i), "GET", "Bearer wrong"); got != want {
				t.Errorf("attempt %d: %s, expected %s", i, got, want)
			}
		}
		got := []access.Reason{
			ask("192.0.2.1:9", "GET", "Bearer 0123456789abcdef"), ask("192.0.2.1:9", "POST", ""), ask("192.0.2.2:9", "POST", ""),
		}
		if diff := cmp.Diff([]access.Reason{"", access.TooManyFailures, access.NoCredentials}, got); diff != "" {
			t.Errorf("the right token, nothing, nothing from elsewhere (-want +got):\n%s", diff)
		}
		time.Sleep(time.Second)
		if got := ask("192.0.2.1:9", "GET", "Bearer wrong"); got != access.WrongCredentials {
			t.Errorf("after a second: %s", got)
		}
	})
}

// TestFailuresSpareKubernetes: an address that guesses makes few reviews, and
// a token that was confirmed is let in from there for its time.
func TestFailuresSpareKubernetes(t *testing.T) {
	v, k, _ := reviewer(t)
	guard := access.NewGuard(access.Config{Reviewer: v, Roles: access.NewRoles(nil, []string{"serviceaccount:backup/nightly"}, nil), RateLimit: 100}, zap.NewNop())
	good := accesstest.ServiceAccountToken("backup", "nightly", audience, time.Hour)
	want := access.Caller{Identity: "serviceaccount:backup/nightly", Role: access.Trigger}
	for range 3 {
		if got, err := guard.Network()(request("POST", "Bearer "+good)); err != nil || got != want {
			t.Fatalf("%+v, %v", got, err)
		}
	}
	if got := k.Reviews(); got != 1 {
		t.Errorf("%d reviews of one token, expected 1", got)
	}
	wrong := accesstest.ServiceAccountToken("backup", "nightly", "another", time.Hour)
	for range 3 {
		if _, err := guard.Network()(request("POST", "Bearer "+wrong)); reasonOf(err) != access.WrongCredentials {
			t.Errorf("another audience: %v", err)
		}
	}
	if got := k.Reviews(); got != 2 {
		t.Errorf("%d reviews of two tokens, expected 2", got)
	}
	for i := range 30 {
		if _, err := guard.Network()(request("POST", "Bearer a.b."+strconv.Itoa(i))); err == nil {
			t.Error("a guess was let in")
		}
	}
	if got := k.Reviews(); got > 2+10 {
		t.Errorf("%d reviews, expected at most 12", got)
	}
	if got, err := guard.Network()(request("POST", "Bearer "+good)); err != nil || got != want {
		t.Errorf("afterwards: %+v, %v", got, err)
	}
	other := request("POST", "Bearer "+accesstest.ServiceAccountToken("backup", "other", audience, time.Hour))
	other.RemoteAddr = "198.51.100.7:1"
	if got, err := guard.Network()(other); err != nil || got != (access.Caller{Identity: "serviceaccount:backup/other"}) {
		t.Errorf("an account without a role: %+v, %v", got, err)
	}
}

// TestReviewsInVain: while Kubernetes is away that is what callers are told, however
// often they try; it is asked a few times only, and nobody counts as a guesser.
func TestReviewsInVain(t *testing.T) {
	v, k, _ := reviewer(t)
	k.Break(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	guard := access.NewGuard(access.Config{Reviewer: v, RateLimit: 100}, zap.NewNop())
	good := request("POST", "Bearer "+accesstest.ServiceAccountToken("backup", "nightly", audience, time.Hour))
	for i := range 30 {
		_, err := guard.Network()(good)
		refusal, is := errors.AsType[*access.Refusal](err)
		if !is || refusal.Reason != access.ReviewUnavailable || refusal.RetryAfter <= 0 {
			t.Fatalf("attempt %d: %v", i, err)
		}
	}
	if got := k.Reviews(); got < 10 || got > 12 {
		t.Errorf("%d reviews, expected about 10", got)
	}
	if _, err := guard.Network()(request("POST", "Bearer wrong")); reasonOf(err) != access.WrongCredentials {
		t.Errorf("a wrong token meanwhile: %v", err)
	}
	k.Break(nil)
	elsewhere := good.Clone(t.Context())
	elsewhere.RemoteAddr = "198.51.100.7:1"
	if got, err := guard.Network()(elsewhere); err != nil || got.Identity != "serviceaccount:backup/nightly" {
		t.Errorf("when it is back, from elsewhere: %+v, %v", got, err)
	}
	if got, err := guard.Network()(good); err != nil || got.Identity != "serviceaccount:backup/nightly" {
		t.Errorf("what was confirmed: %+v, %v", got, err)
	}
}

func TestAddresses(t *testing.T) {
	for remote, want := range map[string]string{
		"192.0.2.1:5": "192.0.2.1", "[::ffff:192.0.2.1]:5": "192.0.2.1", "[2001:db8:1:2:3::4]:5": "2001:db8:1:2::/64", "[fe80::1%eth0]:5": "fe80::/64",
		"unix:pid=4": "unix", "nonsense": "nonsense",
	} {
		if got := access.AddressOf(remote); got != want {
			t.Errorf("AddressOf(%q) = %q, expected %q", remote, got, want)
		}
	}
}

// TestLimiterForgets: memory is bounded, and whoever was seen last is remembered.
func TestLimiterForgets(t *testing.T) {
	take, empty := access.Take(0.001, 1)
	if _, ok := take("first"); !ok {
		t.Fatal("the first was refused")
	}
	for i := range access.MaxBuckets {
		take(strconv.Itoa(i))
	}
	_, first := empty("first")
	_, last := empty(strconv.Itoa(access.MaxBuckets - 1))
	if first || !last {
		t.Errorf("who came first is remembered: %v, who came last: %v", first, last)
	}
}

// TestPeers connects over a real socket.
func TestPeers(t *testing.T) {
	listener, err := new(net.ListenConfig).Listen(t.Context(), "unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	guard := access.NewGuard(access.Config{Tokens: map[string]access.Token{"token": fixed("0123456789abcdef")}, RateLimit: 1}, zap.NewNop())
	type seen struct {
		caller access.Caller
		remote string
		err    error
	}
	calls := make(chan seen, 1)
	server := &http.Server{
		ConnContext: access.WithConn,
		Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			caller, err := guard.Socket()(r)
			calls <- seen{caller, r.RemoteAddr, err}
		}),
	}
	var served sync.WaitGroup
	served.Go(func() { _ = server.Serve(access.Peers(listener)) })
	defer served.Wait()
	defer server.Close() //nolint:errcheck // the test has ended
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", listener.Addr().String())
	}}
	defer transport.CloseIdleConnections()
	want := access.Caller{Identity: fmt.Sprintf("uid:%d", os.Geteuid()), Role: access.Operator}
	for range 105 { // more than the rate limit allows others
		response, err := (&http.Client{Transport: transport}).Get("http://x/")
		if err != nil {
			t.Fatal(err)
		}
		if err := response.Body.Close(); err != nil {
			t.Error(err)
		}
		if got := <-calls; got.caller != want || got.err != nil || got.remote != fmt.Sprintf("unix:pid=%d", os.Getpid()) {
			t.Errorf("%+v, expected %+v", got, want)
		}
	}
	// Without the kernel's word nobody is let in, whatever they carry.
	if caller, err := guard.Socket()(request("GET", "Bearer 0123456789abcdef")); reasonOf(err) != access.WrongCredentials {
		t.Errorf("without a peer: %+v, %v", caller, err)
	}
}

// FuzzAuthorization looks for a header that lets somebody in without the token.
func FuzzAuthorization(f *testing.F) {
	const token = "0123456789abcdef"
	for _, seed := range []string{"", "Bearer " + token, basic("u", token), "Basic Og==", "Bearer\t" + token, "Basic " + strings.Repeat("=", 9), "bearer a, Bearer " + token} {
		f.Add("GET", seed)
		f.Add("POST", seed)
	}
	guard := access.NewGuard(access.Config{Tokens: map[string]access.Token{"token": fixed(token)}, RateLimit: 1 << 20}, zap.NewNop())
	f.Fuzz(func(t *testing.T, method, authorization string) {
		r := &http.Request{Method: method, Header: http.Header{"Authorization": {authorization}}, RemoteAddr: "192.0.2.1:1"}
		_, err := guard.Network()(r)
		if err != nil {
			return
		}
		scheme, rest, _ := strings.Cut(authorization, " ")
		_, password, _ := r.BasicAuth()
		asBearer := strings.EqualFold(scheme, "Bearer") && rest == token
		asBasic := (method == "GET" || method == "HEAD") && password == token
		if !asBearer && !asBasic {
			t.Fatalf("%s %q was let in", method, authorization)
		}
	})
}
