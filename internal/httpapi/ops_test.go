package httpapi_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"github.com/pipestreamer/pipestreamer/internal/httpapi"
	"github.com/pipestreamer/pipestreamer/internal/httpapi/apitest"
)

func TestOps(t *testing.T) {
	a := newAPI(t)
	var notStarted error
	ops := httpapi.Ops(a.registry, httpapi.Probes{Started: func() error { return notStarted }, Ready: a.jobs.Ready}, zaptest.NewLogger(t))
	a.do(t, a.server.Handler(apitest.Operator), newRequest(t, "GET", "/v1/jobs/a-job-id", ""))
	a.do(t, a.server.Handler(apitest.Operator), newRequest(t, "GET", "/made/up", ""))
	if got := a.do(t, ops, newRequest(t, "GET", "/healthz", "")).StatusCode; got != 200 {
		t.Errorf("/healthz: %d", got)
	}
	if got := a.do(t, ops, newRequest(t, "GET", "/readyz", "")).StatusCode; got != 200 {
		t.Errorf("/readyz: %d", got)
	}
	a.jobs.SetReady(errors.New("HANA: connection refused"))
	response := a.do(t, ops, newRequest(t, "GET", "/readyz", ""))
	if health := decode[httpapi.Health](t, response); response.StatusCode != http.StatusServiceUnavailable || health.Reason != "HANA: connection refused" {
		t.Errorf("/readyz: %d %+v", response.StatusCode, health)
	}
	if got := a.do(t, ops, newRequest(t, "GET", "/healthz", "")).StatusCode; got != 200 {
		t.Errorf("/healthz while not ready: %d", got)
	}
	if got := a.do(t, ops, newRequest(t, "GET", "/startupz", "")).StatusCode; got != 200 {
		t.Errorf("/startupz while not ready: %d", got)
	}
	notStarted = errors.New("starting: locks the state directory")
	response = a.do(t, ops, newRequest(t, "GET", "/startupz", ""))
	if health := decode[httpapi.Health](t, response); response.StatusCode != http.StatusServiceUnavailable || health.Reason != notStarted.Error() {
		t.Errorf("/startupz: %d %+v", response.StatusCode, health)
	}
	for _, path := range []string{"/debug/config", "/debug/pprof/", "/debug/pprof/heap", "/v1/drain"} {
		response := httptest.NewRecorder()
		ops.ServeHTTP(response, newRequest(t, "GET", path, ""))
		if response.Code != http.StatusNotFound {
			t.Errorf("%s on the listener for metrics: %d", path, response.Code)
		}
	}
	text := a.do(t, ops, newRequest(t, "GET", "/metrics", "")).Text
	for _, want := range []string{
		`pipestreamer_http_requests_total{code="404",method="GET",route="/v1/jobs/{id}"} 1`,
		`pipestreamer_http_requests_total{code="404",method="other",route="none"} 1`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("/metrics has no line %s", want)
		}
	}
	if strings.Contains(text, "a-job-id") {
		t.Error("/metrics has a job id")
	}
	problems, err := testutil.GatherAndLint(a.registry)
	if err != nil || len(problems) > 0 {
		t.Errorf("metrics: %v %v", problems, err)
	}
}

// TestReadyIsShared: whoever asks, and nobody is asked who it is, HANA and the
// store are asked once in two seconds.
func TestReadyIsShared(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var looks atomic.Int32
		ops := httpapi.Ops(prometheus.NewRegistry(), httpapi.Probes{Ready: httpapi.ShareLook(func(ctx context.Context) error {
			n := looks.Add(1)
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(time.Second):
				return fmt.Errorf("look %d", n)
			}
		}, zap.NewNop(), httpapi.NewMetrics(prometheus.NewRegistry()))}, zap.NewNop())
		ask := func(ctx context.Context) string {
			recorder := httptest.NewRecorder()
			ops.ServeHTTP(recorder, httptest.NewRequestWithContext(ctx, http.MethodGet, "/readyz", http.NoBody))
			return recorder.Body.String()
		}
		askers := func(want string) {
			var group sync.WaitGroup
			for range 20 {
				group.Go(func() {
					if got := ask(t.Context()); !strings.Contains(got, want) {
						t.Errorf("got %s, expected %s", got, want)
					}
				})
			}
			group.Wait()
		}
		askers("look 1")
		time.Sleep(1900 * time.Millisecond)
		askers("look 1")
		time.Sleep(200 * time.Millisecond)
		askers("look 2")
		time.Sleep(2100 * time.Millisecond)

		// Who looks for the others goes away: another one looks.
		impatient, leave := context.WithCancel(t.Context())
		var first sync.WaitGroup
		first.Go(func() { ask(impatient) })
		synctest.Wait()
		time.AfterFunc(100*time.Millisecond, leave)
		askers("look 4")
		first.Wait()
	})
}

func TestMetricsRegisterOnce(t *testing.T) {
	registry := prometheus.NewRegistry()
	httpapi.NewMetrics(registry)
	defer func() {
		if recover() == nil {
			t.Error("registering twice went unnoticed")
		}
	}()
	httpapi.NewMetrics(registry)
}
