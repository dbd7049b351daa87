package httpapi_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap/zaptest"

	"github.com/pipestreamer/pipestreamer/internal/httpapi"
	"github.com/pipestreamer/pipestreamer/internal/httpapi/apitest"
)

func TestDebug(t *testing.T) {
	a := newAPI(t)
	want := []httpapi.Setting{{Key: "hana.passwordFile", Value: "/run/secrets/hana", Source: "c.yaml line 2"}, {Key: "door", Value: "auto", Source: "default"}}
	server := httpapi.New(a.jobs, httpapi.Options{Settings: want}, zaptest.NewLogger(t), httpapi.NewMetrics(prometheus.NewRegistry()))
	for _, test := range []struct {
		name, path string
		status     int
		want       string
	}{
		{"profiles", "/debug/pprof/", 200, `{"profiles":["allocs",`},
		{"stacks", "/debug/pprof/goroutine?debug=2", 200, "TestDebug"},
		{"heap", "/debug/pprof/heap?gc=1", 200, ""},
		{"mutex", "/debug/pprof/mutex?debug=1", 200, "--- mutex:"},
		{"trace", "/debug/pprof/trace?seconds=1", 200, "go 1."},
		{"too long", "/debug/pprof/profile?seconds=61", 400, `"field":"seconds"`},
		{"no time", "/debug/pprof/profile?seconds=x", 400, `"field":"seconds"`},
		{"of the default mux", "/debug/pprof/cmdline", 404, "known are allocs"},
		{"unknown", "/debug/pprof/secrets", 404, "known are allocs"},
		{"below a profile", "/debug/pprof/heap/x", 404, "unknown_path"},
	} {
		t.Run(test.name, func(t *testing.T) {
			response := a.do(t, server.Handler(apitest.Operator), newRequest(t, "GET", test.path, ""))
			if response.StatusCode != test.status || !strings.Contains(response.Text, test.want) {
				t.Errorf("%d %.200s\nexpected %d with %s", response.StatusCode, response.Text, test.status, test.want)
			}
		})
	}
	got := decode[struct{ Settings []httpapi.Setting }](t, a.do(t, server.Handler(apitest.Operator), newRequest(t, "GET", "/debug/config", ""))).Settings
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
}
