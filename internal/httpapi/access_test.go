package httpapi_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/internal/access"
	"github.com/pipestreamer/pipestreamer/internal/access/accesstest"
	"github.com/pipestreamer/pipestreamer/internal/httpapi"
	"github.com/pipestreamer/pipestreamer/internal/httpapi/apitest"
	"github.com/pipestreamer/pipestreamer/internal/job"
)

const (
	operatorToken     = "operator-token-0123"
	triggerToken      = "trigger-token-01234"
	otherTriggerToken = "trigger-token-56789"
	readerToken       = "reader-token-012345"
	nobodyToken       = "nobody-token-012345"
)

func fixed(token string) access.Token { return func() (string, error) { return token, nil } }

// tokenGuard knows these tokens, by identity; "token" is an operator.
func tokenGuard(byIdentity map[string]string) *access.Guard {
	cfg := access.Config{Tokens: map[string]access.Token{}, Roles: access.NewRoles([]string{"token"}, nil, nil), RateLimit: 1000}
	for identity, token := range byIdentity {
		cfg.Tokens[identity] = fixed(token)
	}
	return access.NewGuard(cfg, zap.NewNop())
}

// everyone knows one caller of each role, and asks an API server.
func everyone(t *testing.T) access.Identify {
	t.Helper()
	authority := accesstest.NewAuthority(t)
	k := accesstest.NewKubernetes(t, authority)
	review, err := access.NewReviewer(access.ReviewConfig{URL: k.URL, CAFile: authority.File, Audience: "pipestreamer", Token: fixed(k.OwnToken)}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	identify := access.NewGuard(access.Config{
		Tokens:   map[string]access.Token{"token": fixed(operatorToken), "token:t": fixed(triggerToken), "token:r": fixed(readerToken), "token:n": fixed(nobodyToken)},
		Reviewer: review, RateLimit: 1 << 20,
		Roles: access.NewRoles([]string{"token"}, []string{"token:t", "serviceaccount:backup/nightly"}, []string{"token:r"}),
	}, zap.NewNop()).Network()
	sent := 0
	return func(r *http.Request) (access.Caller, error) {
		sent++
		r.RemoteAddr = fmt.Sprintf("10.%d.%d.1:1", sent/250, sent%250) // each may fail by itself
		return identify(r)
	}
}

func basic(password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte("browser:"+password))
}

func TestChallenges(t *testing.T) {
	a := newAPI(t)
	identify := tokenGuard(nil).Network()
	for method, want := range map[string][]string{
		"GET":  {`Bearer realm="pipestreamer"`, `Basic realm="pipestreamer", charset="UTF-8"`},
		"POST": {`Bearer realm="pipestreamer"`},
	} {
		got := a.do(t, a.server.Handler(identify), newRequest(t, method, "/v1/backups", "{}"))
		if diff := cmp.Diff(want, got.Header.Values("WWW-Authenticate")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", method, diff)
		}
	}
}

func TestForbiddenNamesWhoAndWhat(t *testing.T) {
	a := newAPI(t)
	got := a.do(t, a.server.Handler(everyone(t)), newRequest(t, "POST", "/v1/restores", "{}", "Authorization", "Bearer "+triggerToken))
	p := decode[httpapi.Problem](t, got)
	want := httpapi.Problem{
		Type: "urn:pipestreamer:problem:forbidden", Title: "Not allowed", Status: 403, Detail: "token:t has the role trigger; this needs the role operator",
		Hint: "http.operators, http.triggers and http.readers give roles to identities",
	}
	if diff := cmp.Diff(want, p); diff != "" {
		t.Errorf("problem (-want +got):\n%s", diff)
	}
}

// TestCancelOnesOwn: a trigger may end what it has asked for itself, an operator
// everything, and a reader nothing.
func TestCancelOnesOwn(t *testing.T) {
	const forbidden = http.StatusForbidden
	for _, test := range []struct {
		name, by, asks string // tokens of who asked for the job, and of who cancels it
		status         int
		detail         string
	}{
		{"its own", triggerToken, triggerToken, http.StatusAccepted, ""},
		{"an operator, that of a trigger", triggerToken, operatorToken, http.StatusAccepted, ""},
		{"that of an operator", operatorToken, triggerToken, forbidden, "token:t has the role trigger; to cancel a job that was asked for by token needs the role operator"},
		{"that of another trigger", otherTriggerToken, triggerToken, forbidden, "token:t has the role trigger; to cancel a job that was asked for by token:u needs the role operator"},
		{"one of before", "", triggerToken, forbidden, "token:t has the role trigger; to cancel a job that was asked for before it was noted by whom needs the role operator"},
		{"a reader", triggerToken, readerToken, forbidden, "token:r has the role reader; this needs the role trigger"},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := newAPI(t)
			handler := a.server.Handler(access.NewGuard(access.Config{
				Tokens:    map[string]access.Token{"token": fixed(operatorToken), "token:t": fixed(triggerToken), "token:u": fixed(otherTriggerToken), "token:r": fixed(readerToken)},
				RateLimit: 1000, Roles: access.NewRoles([]string{"token"}, []string{"token:t", "token:u"}, []string{"token:r"}),
			}, zap.NewNop()).Network())
			if test.by == "" {
				if _, err := a.jobs.StartBackup(t.Context(), job.BackupRequest{Database: "HXE"}, ""); err != nil {
					t.Fatal(err)
				}
			} else {
				// Who asks is nothing that a request says of itself.
				claim := newRequest(t, "POST", "/v1/backups", `{"database":"HXE","requested_by":"token:t"}`, "Authorization", "Bearer "+test.by)
				if got := a.do(t, handler, claim); got.StatusCode != http.StatusBadRequest {
					t.Errorf("a request that names its caller: %d %s", got.StatusCode, got.Text)
				}
				if got := a.do(t, handler, newRequest(t, "POST", "/v1/backups", `{"database":"HXE"}`, "Authorization", "Bearer "+test.by)); got.StatusCode != http.StatusAccepted {
					t.Fatalf("start: %d %s", got.StatusCode, got.Text)
				}
			}
			got := a.do(t, handler, newRequest(t, "DELETE", "/v1/jobs/job-1", "", "Authorization", "Bearer "+test.asks))
			state := job.StateRunning
			if test.status == http.StatusAccepted {
				state = job.StateCanceled
			} else if p := decode[httpapi.Problem](t, got); p.Type != "urn:pipestreamer:problem:forbidden" || p.Detail != test.detail {
				t.Errorf("%+v, expected %s", p, test.detail)
			}
			if r, err := a.jobs.Job("job-1"); got.StatusCode != test.status || err != nil || r.State != state {
				t.Errorf("%d %s, then the job is %s; expected %d, %s", got.StatusCode, got.Text, r.State, test.status, state)
			}
		})
	}
}

// TestOrigins: a certificate, unlike a token, is attached by a browser to
// requests that a foreign page makes.
func TestOrigins(t *testing.T) {
	a := newAPI(t)
	for _, test := range []struct {
		name, method string
		header       []string
		want         int
	}{
		{"a program", "POST", nil, 202},
		{"a page of another site", "POST", []string{"Sec-Fetch-Site", "cross-site"}, 403},
		{"a page of a sister site", "POST", []string{"Sec-Fetch-Site", "same-site"}, 403},
		{"an old browser", "POST", []string{"Origin", "https://evil.example.com"}, 403},
		{"a page without an origin", "POST", []string{"Origin", "null"}, 403},
		{"a page of another site cancels", "DELETE", []string{"Sec-Fetch-Site", "cross-site"}, 403},
		{"a page of another site looks", "GET", []string{"Sec-Fetch-Site", "cross-site"}, 200},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := map[string]string{"POST": "/v1/backups", "GET": "/v1/jobs", "DELETE": "/v1/jobs/job-1"}[test.method]
			got := a.do(t, a.server.Handler(apitest.Operator), newRequest(t, test.method, path, `{"database":"HXE"}`, test.header...))
			if got.StatusCode != test.want {
				t.Errorf("%d %s, expected %d", got.StatusCode, got.Text, test.want)
			}
		})
	}
	if jobs := a.jobs.Jobs(); len(jobs) != 1 || jobs[0].State != job.StateRunning {
		t.Errorf("jobs: %+v, expected the program's, running", jobs)
	}
}

func TestRateLimitIsTold(t *testing.T) {
	a := newAPI(t)
	guard := access.NewGuard(access.Config{Tokens: map[string]access.Token{"token": fixed(operatorToken)}, Roles: access.NewRoles([]string{"token"}, nil, nil), RateLimit: 1}, zap.NewNop())
	handler := a.server.Handler(guard.Network())
	var last answer
	for n := 1; last.StatusCode != http.StatusTooManyRequests; n++ {
		if last = a.do(t, handler, newRequest(t, "GET", "/v1/jobs", "", "Authorization", "Bearer "+operatorToken)); n <= 100 && last.StatusCode != http.StatusOK || n > 200 {
			t.Fatalf("request %d: %d; expected 200 for 100 of them, and 429 soon after", n, last.StatusCode)
		}
	}
	if p := decode[httpapi.Problem](t, last); last.Header.Get("Retry-After") != "1" || p.Detail != "token sends more than http.rateLimit allows" {
		t.Errorf("Retry-After %q, %+v", last.Header.Get("Retry-After"), p)
	}
	for range 12 {
		last = a.do(t, handler, newRequest(t, "POST", "/v1/backups", "{}", "Authorization", "Bearer wrong"))
	}
	if p := decode[httpapi.Problem](t, last); last.StatusCode != http.StatusTooManyRequests || last.Header.Get("Retry-After") != "1" || p.Type != "urn:pipestreamer:problem:too_many_failures" {
		t.Errorf("after many failures: %d, Retry-After %q, %+v", last.StatusCode, last.Header.Get("Retry-After"), p)
	}
	text := a.do(t, httpapi.Ops(a.registry, httpapi.Probes{Started: func() error { return nil }, Ready: a.jobs.Ready}, zap.NewNop()), newRequest(t, "GET", "/metrics", "")).Text
	for _, want := range []string{
		`pipestreamer_http_refused_total{reason="too_many_requests"} 1`, `pipestreamer_http_refused_total{reason="wrong_credentials"} 10`,
		`pipestreamer_http_refused_total{reason="too_many_failures"} 2`, `pipestreamer_http_refused_total{reason="role"} 0`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("/metrics has no line %s", want)
		}
	}
}

// TestReviewIsAway: nobody gets in while Kubernetes cannot be asked, and the
// answer says that it is not the caller's fault.
func TestReviewIsAway(t *testing.T) {
	a := newAPI(t)
	authority := accesstest.NewAuthority(t)
	k := accesstest.NewKubernetes(t, authority)
	review, err := access.NewReviewer(access.ReviewConfig{URL: k.URL, CAFile: authority.File, Audience: "pipestreamer", Token: fixed(k.OwnToken)}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	k.Break(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
	guard := access.NewGuard(access.Config{Reviewer: review, Roles: access.NewRoles([]string{"serviceaccount:a/b"}, nil, nil), RateLimit: 1}, zap.NewNop())
	request := func() *http.Request {
		return newRequest(t, "POST", "/v1/backups", `{"database":"HXE"}`, "Authorization", "Bearer "+accesstest.ServiceAccountToken("a", "b", "pipestreamer", time.Hour))
	}
	got := a.do(t, a.server.Handler(guard.Network()), request())
	if p := decode[httpapi.Problem](t, got); got.StatusCode != http.StatusServiceUnavailable || p.Type != "urn:pipestreamer:problem:review_unavailable" || got.Header.Get("Retry-After") != "5" {
		t.Errorf("%d %+v, Retry-After %q", got.StatusCode, p, got.Header.Get("Retry-After"))
	}
	k.Break(nil)
	if got := a.do(t, a.server.Handler(guard.Network()), request()); got.StatusCode != http.StatusAccepted {
		t.Errorf("when it is back: %d %s", got.StatusCode, got.Text)
	}
}
