package httpapi_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/internal/access"
	"github.com/pipestreamer/pipestreamer/internal/httpapi"
	"github.com/pipestreamer/pipestreamer/internal/httpapi/apitest"
)

func TestDaemon(t *testing.T) {
	a := newAPI(t)
	started := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var drained time.Time
	a.server = httpapi.New(a.jobs, httpapi.Options{
		Daemon: httpapi.Daemon{SID: "HXE", Version: "v1", StartedAt: started}, DrainingSince: func() time.Time { return drained },
	}, zap.NewNop(), httpapi.NewMetrics(prometheus.NewRegistry()))
	a.do(t, a.server.Handler(apitest.Operator), newRequest(t, "GET", "/v1/daemon", "")) // is as documented
	socket, _ := a.serve(t)
	before := time.Now()
	got, err := newClient(t, httpapi.ClientOptions{Socket: socket}).Daemon(t.Context())
	if err != nil || got.Time.Before(before.Add(-time.Second)) || got.Time.After(time.Now().Add(time.Second)) {
		t.Errorf("Daemon: %+v, %v", got, err)
	}
	got.Time = time.Time{}
	if diff := cmp.Diff(httpapi.Daemon{SID: "HXE", Version: "v1", StartedAt: started}, got); diff != "" {
		t.Errorf("Daemon (-want +got):\n%s", diff)
	}
	drained = started.Add(time.Hour)
	answered := a.do(t, a.server.Handler(apitest.Operator), newRequest(t, "GET", "/v1/daemon", "")) // is as documented
	if text := answered.Text; !strings.Contains(text, `"draining_since":"2026-01-02T04:04:05Z"`) {
		t.Errorf("a daemon that was drained: %s", text)
	}
}

func TestPageIsMounted(t *testing.T) {
	page := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "page:"+r.URL.Path) })
	a := newAPI(t)
	with := httpapi.New(a.jobs, httpapi.Options{Page: page}, zap.NewNop(), httpapi.NewMetrics(prometheus.NewRegistry()))
	without := a.server
	stranger := func(*http.Request) (access.Caller, error) {
		return access.Caller{}, &access.Refusal{Reason: access.NoCredentials}
	}
	tests := []struct {
		name    string
		handler http.Handler
		method  string
		path    string
		status  int
		text    string
	}{
		{"root", with.Handler(apitest.Operator), "GET", "/", 200, "page:/"},
		{"file", with.Handler(apitest.Operator), "GET", "/page/app.mjs", 200, "page:/page/app.mjs"},
		{"another path stays a problem", with.Handler(apitest.Operator), "GET", "/other", 404, "unknown_path"},
		{"nothing can be posted", with.Handler(apitest.Operator), "POST", "/", 405, "method_not_allowed"},
		{"without a token", with.Handler(stranger), "GET", "/", 401, "unauthorized"},
		{"a file without a token", with.Handler(stranger), "GET", "/page/app.mjs", 401, "unauthorized"},
		{"no page", without.Handler(apitest.Operator), "GET", "/", 404, "unknown_path"},
	}
	for _, test := range tests {
		// The document describes the interface and not the page.
		got := httptest.NewRecorder()
		test.handler.ServeHTTP(got, newRequest(t, test.method, test.path, ""))
		if got.Code != test.status || !strings.Contains(got.Body.String(), test.text) {
			t.Errorf("%s: %d %s, expected %d %s", test.name, got.Code, got.Body, test.status, test.text)
		}
	}
}
