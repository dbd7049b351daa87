package httpapi_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/internal/access"
	"github.com/pipestreamer/pipestreamer/internal/access/accesstest"
	"github.com/pipestreamer/pipestreamer/internal/httpapi"
)

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
