package httpapi_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/pipestreamer/pipestreamer/internal/access"
	"github.com/pipestreamer/pipestreamer/internal/httpapi/apitest"
	"github.com/pipestreamer/pipestreamer/internal/job"
)

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
