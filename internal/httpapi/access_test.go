package httpapi_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

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

// brief ends what has no end by itself.
func brief(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/events" {
			ctx, cancel := context.WithTimeout(r.Context(), 10*time.Millisecond)
			defer cancel()
			r = r.WithContext(ctx)
		}
		handler.ServeHTTP(w, r)
	})
}

// TestEveryRoute walks the router: what each route answers to each kind of
// credentials. The roles come from the document, which says who may do what.
func TestEveryRoute(t *testing.T) {
	a := newAPI(t)
	identify := everyone(t)
	documented := map[string]string{}
	for path, item := range a.document.Paths.Map() {
		for method, operation := range item.Operations() {
			if role, is := operation.Extensions["x-role"].(string); is {
				documented[method+" "+path] = role
			}
		}
	}
	if diff := cmp.Diff(documented, httpapi.RouteRoles()); diff != "" {
		t.Errorf("roles of routes (-documented +checked):\n%s", diff)
	}
	if got := httpapi.RoleOf("POST /v1/never-heard-of"); got != access.Operator {
		t.Errorf("a route without an entry needs the role %s", got)
	}
	const lifetime = time.Hour
	rank := map[string]int{"none": 0, "reader": 1, "trigger": 2, "operator": 3}
	credentials := []struct {
		name, authorization string
		role                string // "" is nobody
		safeOnly            bool
	}{
		{name: "nothing"},
		{name: "a wrong token", authorization: "Bearer wrong"},
		{name: "a wrong password", authorization: basic("wrong")},
		{name: "an expired token", authorization: "Bearer " + accesstest.ServiceAccountToken("backup", "nightly", "pipestreamer", -lifetime)},
		{name: "a token for another audience", authorization: "Bearer " + accesstest.ServiceAccountToken("backup", "nightly", "vault", lifetime)},
		{name: "a token of a person", authorization: "Bearer " + accesstest.UserToken("alice", "pipestreamer", lifetime)},
		{name: "an account without a role", authorization: "Bearer " + accesstest.ServiceAccountToken("other", "nightly", "pipestreamer", lifetime), role: "none"},
		{name: "a token without a role", authorization: "Bearer " + nobodyToken, role: "none"},
		{name: "a reader", authorization: "Bearer " + readerToken, role: "reader"},
		{name: "a trigger", authorization: "Bearer " + triggerToken, role: "trigger"},
		{name: "an account", authorization: "Bearer " + accesstest.ServiceAccountToken("backup", "nightly", "pipestreamer", lifetime), role: "trigger"},
		{name: "an operator", authorization: "Bearer " + operatorToken, role: "operator"},
		{name: "an operator in a browser", authorization: basic(operatorToken), role: "operator", safeOnly: true},
	}
	patterns := append(httpapi.JobPatterns(a.server), "GET /", "GET /unknown", "POST /metrics", "OPTIONS /v1/jobs", "TRACE /v1/jobs")
	for _, pattern := range patterns {
		method, path, _ := strings.Cut(pattern, " ")
		needed, known := documented[pattern]
		if !known {
			needed = "reader" // to be told that there is nothing
		}
		for _, c := range credentials {
			t.Run(pattern+" with "+c.name, func(t *testing.T) {
				request := newRequest(t, method, strings.NewReplacer("{id}", "x", "{profile}", "goroutine", "{file}", "style.css").Replace(path), "{}", "Authorization", c.authorization)
				got := a.do(t, brief(a.server.Handler(identify)), request)
				want := 0 // whatever the route says
				switch safe := method == "GET" || method == "HEAD"; {
				case c.role == "" || c.safeOnly && !safe:
					want = http.StatusUnauthorized
				case rank[c.role] < rank[needed]:
					want = http.StatusForbidden
				}
				if want == 0 && slices.Contains([]int{http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests}, got.StatusCode) || want != 0 && got.StatusCode != want {
					t.Errorf("%d %s, expected %d", got.StatusCode, got.Text, want)
				}
				if want == 0 {
					return
				}
				if got.Header.Get("Content-Type") != "application/problem+json" || got.Header.Get("Cache-Control") != "no-store" {
					t.Errorf("header: %v", got.Header)
				}
				if challenge := len(got.Header.Values("WWW-Authenticate")) > 0; challenge != (want == http.StatusUnauthorized) {
					t.Errorf("WWW-Authenticate: %q", got.Header.Values("WWW-Authenticate"))
				}
				for _, secret := range []string{operatorToken, triggerToken, readerToken} {
					if strings.Contains(got.Text, secret) {
						t.Errorf("the answer shows a token: %s", got.Text)
					}
				}
			})
		}
	}
	if jobs := a.jobs.Jobs(); len(jobs) != 0 {
		t.Errorf("jobs were started: %v", jobs)
	}
}

// TestOperationsChangeNothing: what is served without authentication only looks.
func TestOperationsChangeNothing(t *testing.T) {
	a := newAPI(t)
	var open []string
	for _, pattern := range httpapi.Patterns(a.server) {
		if !slices.Contains(httpapi.JobPatterns(a.server), pattern) {
			open = append(open, pattern)
		}
	}
	if diff := cmp.Diff([]string{"GET /healthz", "GET /metrics", "GET /readyz", "GET /startupz"}, open); diff != "" {
		t.Errorf("routes without authentication (-want +got):\n%s", diff)
	}
	ops := httpapi.Ops(a.registry, httpapi.Probes{Started: func() error { return nil }, Ready: a.jobs.Ready}, zap.NewNop())
	for _, pattern := range append(httpapi.JobPatterns(a.server), "GET /debug/pprof/", "POST /metrics", "DELETE /healthz") {
		method, path, _ := strings.Cut(pattern, " ")
		recorder := httptest.NewRecorder()
		ops.ServeHTTP(recorder, newRequest(t, method, strings.ReplaceAll(path, "{id}", "x"), "{}"))
		if recorder.Code != http.StatusNotFound && recorder.Code != http.StatusMethodNotAllowed {
			t.Errorf("%s: %d", pattern, recorder.Code)
		}
	}
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

// TestEveryRequestIsNoted: each way of starting a job says who asked.
func TestEveryRequestIsNoted(t *testing.T) {
	for path, body := range map[string]string{
		"/v1/backups": `{"database":"HXE"}`, "/v1/restores": `{"database":"HXE","backup":"latest"}`,
		"/v1/verifications": `{"database":"HXE","backup":"latest"}`, "/v1/probes": `{"database":"HXE"}`,
	} {
		a := newAPI(t)
		a.jobs.SetBackups(nil, testManifest("HXE", 1700000000000))
		got := a.do(t, a.server.Handler(everyone(t)), newRequest(t, "POST", path, body, "Authorization", "Bearer "+operatorToken))
		if r := decode[job.Record](t, got); r.RequestedBy != "token" {
			t.Errorf("%s: %d, requested by %q, expected token\n%s", path, got.StatusCode, r.RequestedBy, got.Text)
		}
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

// TestAudit shows the line of each mutating call, refused ones included.
func TestAudit(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	jobs := new(apitest.Jobs)
	server := newServer(t, jobs, zap.New(core))
	guard := access.NewGuard(access.Config{
		Tokens: map[string]access.Token{"token": fixed(operatorToken), "token:r": fixed(readerToken)},
		Roles:  access.NewRoles([]string{"token"}, nil, []string{"token:r"}), RateLimit: 1000,
	}, zap.NewNop())
	type fields = map[string]any
	tests := []struct {
		name, method, path, body string
		header                   []string
		want                     fields // nil is no line
	}{
		{
			name: "started", method: "POST", path: "/v1/backups", body: `{"database":"hxe"}`, header: []string{"Authorization", "Bearer " + operatorToken, "Idempotency-Key", "k1"},
			want: fields{"identity": "token", "role": "operator", "method": "POST", "route": "/v1/backups", "status": int64(202), "job_id": "job-1", "database": "HXE", "idempotency_key": "k1"},
		},
		{
			name: "busy", method: "POST", path: "/v1/backups", body: `{"database":"HXE"}`, header: []string{"Authorization", "Bearer " + operatorToken},
			want: fields{"identity": "token", "role": "operator", "method": "POST", "route": "/v1/backups", "status": int64(409), "job_id": "job-1", "database": "HXE", "problem": "busy"},
		},
		{
			name: "no role", method: "DELETE", path: "/v1/jobs/job-1", header: []string{"Authorization", "Bearer " + readerToken},
			want: fields{"identity": "token:r", "role": "reader", "method": "DELETE", "route": "/v1/jobs/{id}", "status": int64(403), "problem": "forbidden", "refused": "role"},
		},
		{
			name: "canceled", method: "DELETE", path: "/v1/jobs/job-1", header: []string{"Authorization", "Bearer " + operatorToken},
			want: fields{"identity": "token", "role": "operator", "method": "DELETE", "route": "/v1/jobs/{id}", "status": int64(202), "job_id": "job-1", "database": "HXE"},
		},
		{
			name: "a stranger", method: "POST", path: "/v1/backups", body: `{"database":"HXE"}`, header: []string{"Authorization", "Bearer wrong"},
			want: fields{"identity": "", "role": "none", "method": "POST", "route": "/v1/backups", "status": int64(401), "problem": "unauthorized", "refused": "wrong_credentials", "cause": "no file has this token"},
		},
		{
			name: "another site", method: "PUT", path: "/v1/bandwidth", body: `{}`, header: []string{"Authorization", "Bearer " + operatorToken, "Sec-Fetch-Site", "cross-site"},
			want: fields{"identity": "token", "role": "operator", "method": "PUT", "route": "/v1/bandwidth", "status": int64(403), "problem": "cross_origin", "refused": "cross_origin", "cause": "cross-origin request detected from Sec-Fetch-Site header"},
		},
		{
			name: "no route", method: "POST", path: "/v1/jobs/a\nb", header: []string{"Authorization", "Bearer " + operatorToken},
			want: fields{"identity": "token", "role": "operator", "method": "POST", "route": "", "status": int64(405), "problem": "method_not_allowed"},
		},
		{name: "only looks", method: "GET", path: "/v1/jobs", header: []string{"Authorization", "Bearer " + operatorToken}},
		{
			name: "an operator takes a profile", method: "GET", path: "/debug/pprof/goroutine", header: []string{"Authorization", "Bearer " + operatorToken},
			want: fields{"identity": "token", "role": "operator", "method": "GET", "route": "/debug/pprof/{profile}", "status": int64(200)},
		},
		{
			name: "an operator reads the settings", method: "GET", path: "/debug/config", header: []string{"Authorization", "Bearer " + operatorToken},
			want: fields{"identity": "token", "role": "operator", "method": "GET", "route": "/debug/config", "status": int64(200)},
		},
		{name: "a stranger looks", method: "GET", path: "/v1/jobs"},
		{
			name: "a guess looks", method: "GET", path: "/v1/jobs", header: []string{"Authorization", "Bearer wrong"},
			want: fields{"identity": "", "role": "none", "method": "GET", "route": "/v1/jobs", "status": int64(401), "problem": "unauthorized", "refused": "wrong_credentials", "cause": "no file has this token"},
		},
		{
			name: "a reader pries", method: "GET", path: "/debug/config", header: []string{"Authorization", "Bearer " + readerToken},
			want: fields{"identity": "token:r", "role": "reader", "method": "GET", "route": "/debug/config", "status": int64(403), "problem": "forbidden", "refused": "role"},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			before := logs.Len()
			request := newRequest(t, test.method, "/", test.body, test.header...)
			request.URL.Path = test.path
			send(t, server.Handler(guard.Network()), request)
			var got fields
			for _, line := range logs.All()[before:] {
				if line.LoggerName != "audit" {
					continue
				}
				if got != nil || line.Level != zap.InfoLevel || line.Message != "call" {
					t.Errorf("an unexpected line: %+v", line)
				}
				got = line.ContextMap()
			}
			if test.want != nil {
				if from, is := got["remote"].(string); !is || !strings.HasPrefix(from, "127.0.0.1:") {
					t.Errorf("remote %v, expected 127.0.0.1 and a port", got["remote"])
				}
				delete(got, "remote")
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("fields (-want +got):\n%s", diff)
			}
		})
	}
	for _, line := range logs.All() {
		if text := fmt.Sprint(line.Message, line.ContextMap()); strings.Contains(text, operatorToken) || strings.Contains(text, readerToken) {
			t.Errorf("the log shows a token: %s", text)
		}
	}
	// Guessing does not fill the log.
	before := logs.Len()
	handler := server.Handler(guard.Network())
	for range 60 {
		send(t, handler, newRequest(t, "POST", "/v1/backups", "{}", "Authorization", "Bearer guess"))
	}
	lines := map[any]int{}
	for _, line := range logs.All()[before:] {
		lines[line.ContextMap()["refused"]]++
	}
	// Two attempts were spent above, and the bucket fills while this runs.
	if wrong, many := lines["wrong_credentials"], lines["too_many_failures"]; wrong < 8 || wrong > 14 || many < 10 || many > 12 {
		t.Errorf("60 guesses left %v lines", lines)
	}
	before = logs.Len()
	for range 60 {
		send(t, handler, newRequest(t, "GET", "/v1/jobs", "", "Authorization", "Bearer guess"))
	}
	if told := logs.Len() - before; told < 8 || told > 12 {
		t.Errorf("60 guesses that look left %d lines", told)
	}
}

// send sends a request over a real connection.
func send(t *testing.T, handler http.Handler, request *http.Request) {
	t.Helper()
	server := httptest.NewServer(handler)
	defer server.Close()
	request.URL.Scheme, request.URL.Host, request.RequestURI = "http", server.Listener.Addr().String(), ""
	response, err := server.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	if err := response.Body.Close(); err != nil {
		t.Error(err)
	}
}

// TestPathTricks: no spelling of a path leads past the role that its route needs.
func TestPathTricks(t *testing.T) {
	a := newAPI(t)
	server := httptest.NewServer(a.server.Handler(everyone(t)))
	defer server.Close()
	targets := []string{
		"//v1/backups", "/v1//backups", "/v1/./backups", "/v1/x/../backups", "/v1%2fbackups", "/v1/%2e%2e/v1/backups", "/v1/backups/", "/%76%31/backups",
		"/V1/backups", "/v1/backups?x=/v1/jobs", "/v1/backups;x", "/v1/backups%00", "http://elsewhere/v1/backups", "/v1/jobs/../restores", "/v1/jobs/..%2frestores",
		"/v1/../metrics", "/v1/jobs/../../debug/pprof/", "/v1\\backups", "*", "/v1/jobs/job-1/../../restores",
	}
	for _, target := range targets {
		for name, token := range map[string]string{"nobody": "wrong", "reader": readerToken} {
			status := raw(t, server.Listener.Addr().String(), "POST "+target+" HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "+token+
				"\r\nContent-Type: application/json\r\nContent-Length: 18\r\nConnection: close\r\n\r\n{\"database\":\"HXE\"}")
			allowed := []string{"401", "400"}
			if name == "reader" {
				allowed = []string{"400", "403", "404", "405", "307"}
			}
			if !slices.Contains(allowed, status) {
				t.Errorf("POST %s by %s: %s, expected one of %v", target, name, status, allowed)
			}
		}
	}
	for _, header := range []string{"X-HTTP-Method-Override: POST", "X-Original-URL: /v1/backups", "X-Forwarded-User: token", "X-Remote-User: token"} {
		if status := raw(t, server.Listener.Addr().String(), "GET /v1/jobs HTTP/1.1\r\nHost: x\r\n"+header+"\r\nConnection: close\r\n\r\n"); status != "401" {
			t.Errorf("%s: %s", header, status)
		}
	}
	if jobs := a.jobs.Jobs(); len(jobs) != 0 {
		t.Errorf("jobs were started: %v", jobs)
	}
}
