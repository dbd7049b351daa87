package httpapi_test

import (
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap/zaptest"

	"github.com/pipestreamer/pipestreamer/internal/httpapi"
	"github.com/pipestreamer/pipestreamer/internal/httpapi/apitest"
)

// valve is a throttle that takes every limit but "bad".
type valve struct {
	mu    sync.Mutex
	limit string
}

func (v *valve) Bandwidth() httpapi.Bandwidth {
	v.mu.Lock()
	defer v.mu.Unlock()
	return httpapi.Bandwidth{
		Limit: v.limit, Configured: "off", BytesPerSecond: int64(len(v.limit)),
		LocalTime: time.Date(2026, 1, 2, 3, 4, 5, 0, time.FixedZone("", 3600)),
	}
}

func (v *valve) SetBandwidth(limit string) error {
	if limit == "bad" {
		return errors.New("expected better")
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.limit = limit
	return nil
}

func TestBandwidth(t *testing.T) {
	a := newAPI(t)
	limited := httpapi.New(a.jobs, httpapi.Options{Throttle: &valve{limit: "1MiB/s"}}, zaptest.NewLogger(t), httpapi.NewMetrics(prometheus.NewRegistry()))
	for _, step := range []struct {
		name, method, body string
		server             *httpapi.Server
		status             int
		want               string
	}{
		{"show", "GET", "", limited, 200, `{"limit":"1MiB/s","configured":"off","bytes_per_second":6,"local_time":"2026-01-02T03:04:05+01:00"}`},
		{"change", "PUT", `{"limit":"20MiB"}`, limited, 200, `"limit":"20MiB"`},
		{"it stays", "GET", "", limited, 200, `"limit":"20MiB"`},
		{"refused", "PUT", `{"limit":"bad"}`, limited, 400, `"detail":"expected better","field":"limit"`},
		{"a number", "PUT", `{"limit":20}`, limited, 400, `"field":"limit"`},
		{"another field", "PUT", `{"rate":"20MiB"}`, limited, 400, `"field":"rate"`},
		{"and it stayed", "GET", "", limited, 200, `"limit":"20MiB"`},
		{"other methods", "POST", `{"limit":"off"}`, limited, 405, "GET, HEAD, PUT"},
		{"nothing to limit", "GET", "", a.server, 200, `{"limit":"off","configured":"off","bytes_per_second":0,`},
		{"nothing to change", "PUT", `{"limit":"off"}`, a.server, 400, `"field":"limit"`},
	} {
		t.Run(step.name, func(t *testing.T) {
			response := a.do(t, step.server.Handler(apitest.Operator), newRequest(t, step.method, "/v1/bandwidth", step.body))
			if response.StatusCode != step.status || !strings.Contains(response.Text, step.want) {
				t.Errorf("%d %s\nexpected %d with %s", response.StatusCode, response.Text, step.status, step.want)
			}
		})
	}
	form := newRequest(t, "PUT", "/v1/bandwidth", "limit=off", "Content-Type", "application/x-www-form-urlencoded")
	form.Header["Content-Type"] = form.Header["Content-Type"][1:]
	if got := a.do(t, limited.Handler(apitest.Operator), form); got.StatusCode != http.StatusUnsupportedMediaType {
		t.Errorf("a form: %d %s", got.StatusCode, got.Text)
	}
}
