package uploader

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/rclone/rclone/fs"
	"go.uber.org/zap"
)

func azureAt(address, root string) Config {
	return Config{
		Type: "azureblob", Root: root, Options: map[string]string{"account": azuriteAccount, "key": azuriteKey, "endpoint": "http://" + address + "/" + azuriteAccount},
		openTimeout: time.Second,
	}
}

// TestOpenSaysWhy: rclone repeats what azureblob asks at first for as long as it
// takes, and in a container without a directory takes no answer for one.
func TestOpenSaysWhy(t *testing.T) {
	t.Parallel()
	busy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }))
	t.Cleanup(busy.Close)
	const canary = "c2VjcmV0LWNhbmFyeQ"
	away, bare, signed := azureAt("127.0.0.1:1", "container/directory"), azureAt("127.0.0.1:1", "container"), azureAt("", "container/directory")
	away.Options["hns"] = "false" // so that less is asked
	signed.Options = map[string]string{"sas_url": busy.URL + "/container?sv=2022-11-02&sig=" + canary, "hns": "false"}
	for _, test := range []struct {
		name string
		cfg  Config
		want string
	}{
		{"nobody listens", away, "connection refused"},
		{"no directory", bare, "connection refused"},
		{"busy", signed, "503"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			metrics, err := NewMetrics(prometheus.NewRegistry())
			if err != nil {
				t.Fatal(err)
			}
			_, err = New(ctx, test.cfg, zap.NewNop(), metrics)
			if !errors.Is(err, ErrNotInTime) || !errors.Is(err, ErrBackend) || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), canary) {
				t.Errorf("error %v, expected %q", err, test.want)
			}
			counted := 0.0
			for _, name := range classes() {
				counted += testutil.ToFloat64(metrics.errors.WithLabelValues(name))
			}
			if counted != 1 {
				t.Errorf("%v errors of the store are counted, expected 1", counted)
			}
		})
	}
}

// TestOpenSilentStore: a store that says nothing is told, too, and one that is given
// up in between is not open.
func TestOpenSilentStore(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = silent.Close() })
	for _, test := range []struct {
		name     string
		patience time.Duration
		want     error
	}{
		{"for too long", 3 * time.Second, ErrNotInTime},
		{"until the end of the daemon", 200 * time.Millisecond, context.DeadlineExceeded},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), test.patience)
			defer cancel()
			if _, err := New(ctx, azureAt(silent.Addr().String(), "container"), zap.NewNop(), nil); !errors.Is(err, test.want) {
				t.Errorf("error %v, expected %v", err, test.want)
			}
		})
	}
}

func TestOpenInTime(t *testing.T) {
	t.Parallel()
	refused := errors.New("refused")
	for _, test := range []struct {
		name       string
		takes      time.Duration
		deaf       bool // it does not hear that it was given up
		fault      error
		want       error
		livesAfter bool
	}{
		{name: "in time", takes: 29 * time.Second, livesAfter: true},
		{name: "refused in time", takes: time.Second, fault: refused, want: refused},
		{name: "late", takes: time.Hour, want: ErrNotInTime},
		{name: "late, and open all the same", takes: time.Hour, deaf: true, want: ErrNotInTime},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ended := make(chan struct{})
				_, err := openInTime(t.Context(), 30*time.Second, func(ctx context.Context) (fs.Fs, error) {
					context.AfterFunc(ctx, func() { close(ended) })
					select {
					case <-time.After(test.takes):
						return nil, test.fault
					case <-ctx.Done():
						if test.deaf {
							return nil, nil
						}
						return nil, ctx.Err()
					}
				})
				if !errors.Is(err, test.want) {
					t.Errorf("error %v, expected %v", err, test.want)
				}
				// What was opened may go on to use the context.
				lives := false
				select {
				case <-ended:
				case <-time.After(time.Hour):
					lives = true
				}
				if lives != test.livesAfter {
					t.Errorf("the context lives: %v, expected %v", lives, test.livesAfter)
				}
			})
		})
	}
}
