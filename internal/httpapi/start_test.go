package httpapi_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/internal/httpapi"
	"github.com/pipestreamer/pipestreamer/internal/httpapi/apitest"
	"github.com/pipestreamer/pipestreamer/internal/job"
)

// starting is a daemon that has no jobs yet.
func starting() http.Handler {
	server := httpapi.NewStarting(func() error { return errors.New("store: away") }, httpapi.Options{}, zap.NewNop(), httpapi.NewMetrics(prometheus.NewRegistry()))
	return server.Handler(apitest.Operator)
}

// TestStartTriesAgain: a request with a key outlives a daemon that is moved, and
// starts one job however often it is sent.
func TestStartTriesAgain(t *testing.T) {
	a := newAPI(t)
	draining := new(apitest.Jobs)
	draining.Drain()
	var requests atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch n := requests.Add(1); n {
		case 1:
			newServer(t, draining, zap.NewNop()).Handler(apitest.Operator).ServeHTTP(w, r)
		case 2:
			starting().ServeHTTP(w, r)
		case 3:
			http.Error(w, "slower", http.StatusTooManyRequests)
		case 4:
			http.Error(w, "no backend", http.StatusBadGateway)
		case 5: // it is accepted, and the answer is lost
			a.server.Handler(apitest.Operator).ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		default:
			a.server.Handler(apitest.Operator).ServeHTTP(w, r)
		}
	}))
	defer server.Close()
	client := newClient(t, httpapi.ClientOptions{URL: server.URL})
	var told []string
	client.OnLost(func(err error, until time.Time) {
		told = append(told, err.Error())
		if left := time.Until(until); left < 19*time.Minute || left > 20*time.Minute {
			t.Errorf("tries again for %s, expected 20 min", left)
		}
	})
	record, err := client.StartBackup(t.Context(), job.BackupRequest{Database: "HXE"}, "key")
	if err != nil || record.ID != "job-1" || len(a.jobs.Jobs()) != 1 {
		t.Errorf("StartBackup: job %q of %d, %v; expected job-1 of 1", record.ID, len(a.jobs.Jobs()), err)
	}
	if len(told) != 1 || told[0] != job.ErrDraining.Error() {
		t.Errorf("told %q, expected the first cause once", told)
	}
}

// TestStartEndsAtOnce has the answers that stay the same, and a request without a
// key, which could start a second job.
func TestStartEndsAtOnce(t *testing.T) {
	for _, test := range []struct {
		key    string
		status int
	}{{"", 503}, {"", 429}, {"key", 400}, {"key", 401}, {"key", 403}, {"key", 404}, {"key", 409}, {"key", 422}, {"key", 500}} {
		t.Run(fmt.Sprintf("%q %d", test.key, test.status), func(t *testing.T) {
			var requests atomic.Int32
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				requests.Add(1)
				http.Error(w, "no", test.status)
			}))
			defer server.Close()
			expectOneTry(t, httpapi.ClientOptions{URL: server.URL}, test.key)
			if requests.Load() != 1 {
				t.Errorf("%d requests, expected 1", requests.Load())
			}
		})
	}
	t.Run("no daemon and no key", func(t *testing.T) {
		expectOneTry(t, httpapi.ClientOptions{Socket: filepath.Join(t.TempDir(), "none.sock")}, "")
	})
	t.Run("no token", func(t *testing.T) {
		expectOneTry(t, httpapi.ClientOptions{Socket: "none.sock", Token: func() (string, error) { return "", os.ErrNotExist }}, "key")
	})
	secured := httptest.NewUnstartedServer(http.NotFoundHandler())
	secured.Config.ErrorLog = log.New(io.Discard, "", 0) // of the handshakes that fail
	secured.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	secured.StartTLS()
	defer secured.Close()
	t.Run("an authority that is not known", func(t *testing.T) {
		expectOneTry(t, httpapi.ClientOptions{URL: secured.URL}, "key")
	})
	t.Run("a client without a certificate", func(t *testing.T) {
		expectOneTry(t, httpapi.ClientOptions{URL: secured.URL, TLS: secured.Client().Transport.(*http.Transport).TLSClientConfig}, "key")
	})
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	t.Run("https to http", func(t *testing.T) {
		expectOneTry(t, httpapi.ClientOptions{URL: strings.Replace(plain.URL, "http:", "https:", 1)}, "key")
	})
}

func expectOneTry(t *testing.T, options httpapi.ClientOptions, key string) {
	t.Helper()
	client := newClient(t, options)
	client.OnLost(func(err error, _ time.Time) { t.Errorf("it is tried again after: %v", err) })
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := client.StartBackup(ctx, job.BackupRequest{Database: "HXE"}, key); err == nil || strings.Contains(err.Error(), "tried for") {
		t.Errorf("StartBackup: %v, expected the first error", err)
	}
}

// TestStartGivesUp: the error has the last cause, not the first.
func TestStartGivesUp(t *testing.T) {
	var requests atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if requests.Add(1) == 1 {
			http.Error(w, "no backend", http.StatusBadGateway)
			return
		}
		starting().ServeHTTP(w, r)
	}))
	defer server.Close()
	client := newClient(t, httpapi.ClientOptions{URL: server.URL, StartPatience: 100 * time.Millisecond})
	_, err := client.StartBackup(t.Context(), job.BackupRequest{Database: "HXE"}, "key")
	p, is := errors.AsType[*httpapi.Problem](err)
	if !is || p.Type != httpapi.ProblemStarting || err.Error() != "tried for 100ms: store: away" {
		t.Errorf("StartBackup: %v, expected the last cause", err)
	}

	client = newClient(t, httpapi.ClientOptions{Socket: filepath.Join(t.TempDir(), "none.sock")})
	ctx, interrupt := context.WithCancel(t.Context())
	client.OnLost(func(error, time.Time) { interrupt() })
	_, err = client.StartBackup(ctx, job.BackupRequest{Database: "HXE"}, "key")
	if _, is := errors.AsType[*net.OpError](err); !is {
		t.Errorf("StartBackup, interrupted: %v, expected the last cause", err)
	}
}
