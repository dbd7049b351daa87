package uploader

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/rclone/rclone/fs"
	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

func TestClass(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		err  error
		want string
	}{
		{"a key that is free", fs.ErrorObjectNotFound, ""},
		{"a key that is taken", fmt.Errorf("commit: %w", backup.ErrExists), ""},
		{"other bytes", fmt.Errorf("read: %w", backup.ErrCorrupt), classChecksum},
		{"silence", fmt.Errorf("%w for 1m", errSilent), classTimeout},
		{"the end of a time limit", context.DeadlineExceeded, classTimeout},
		{"nobody listens", &url.Error{Op: "Put", URL: "u", Err: &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}}, classConnection},
		{"an unknown host", &net.DNSError{Err: "no such host", IsNotFound: true}, classConnection},
		{"a certificate of nobody", &url.Error{Op: "Put", URL: "u", Err: x509.UnknownAuthorityError{}}, classConnection},
		{"half an answer", io.ErrUnexpectedEOF, classConnection},
		{"something else", errors.New("else"), classOther},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := class(test.err); got != test.want {
				t.Errorf("got %q, expected %q", got, test.want)
			}
		})
	}
}

// TestErrorsByClass counts what a real client makes of the answers of a server, by
// both ways to it.
func TestErrorsByClass(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		status     int
		code, want string
	}{
		{http.StatusServiceUnavailable, "SlowDown", classThrottled},
		{http.StatusTooManyRequests, "TooManyRequests", classThrottled},
		{http.StatusForbidden, "AccessDenied", classDenied},
		{http.StatusForbidden, "InvalidAccessKeyId", classDenied},
		{http.StatusNotFound, "NoSuchBucket", classNotFound},
		{http.StatusInternalServerError, "InternalError", classServer},
		{http.StatusBadRequest, "BadDigest", classChecksum},
		{http.StatusBadRequest, "RequestTimeout", classTimeout},
		{http.StatusBadRequest, "MalformedXML", classOther},
	} {
		t.Run(test.code, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/xml")
				w.WriteHeader(test.status)
				_, _ = fmt.Fprintf(w, "<Error><Code>%s</Code><Message>m</Message></Error>", test.code)
			}))
			defer server.Close()
			metrics, err := NewMetrics(prometheus.NewRegistry())
			if err != nil {
				t.Fatal(err)
			}
			store, err := New(t.Context(), Config{
				Type: "s3", Root: "bucket/a", MemoryBudget: 128 << 20, PartSize: 5 << 20, Streams: 2,
				Options: map[string]string{"provider": "Other", "endpoint": server.URL, "access_key_id": "a", "secret_access_key": "s"},
			}, zap.NewNop(), metrics)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			for way, ask := range map[string]func(context.Context) error{
				"directly": func(ctx context.Context) error {
					_, err := store.begin(ctx, "HXE/HXE/data/k", backup.UploadOptions{}, false)
					return err
				},
				"by rclone": func(ctx context.Context) error {
					_, err := store.List(ctx, "HXE/")
					return err
				},
			} {
				before := testutil.ToFloat64(metrics.errors.WithLabelValues(test.want))
				asking, enough := context.WithTimeout(ctx, time.Second)
				if err := ask(asking); err == nil {
					t.Errorf("%s: no error", way)
				}
				enough()
				if got := testutil.ToFloat64(metrics.errors.WithLabelValues(test.want)); got <= before {
					counts := make(map[string]float64)
					for _, name := range classes() {
						counts[name] = testutil.ToFloat64(metrics.errors.WithLabelValues(name))
					}
					t.Errorf("%s: not counted as %s: %v", way, test.want, counts)
				}
			}
			if n := testutil.CollectAndCount(metrics.responses); n == 0 {
				t.Error("the answers to requests that bypass rclone are not counted")
			}
			if err := store.Close(context.WithoutCancel(t.Context())); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestErrorClassesAreThereFromTheStart(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	if _, err := NewMetrics(registry); err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, family := range families {
		if family.GetName() != "pipestreamer_store_errors_total" {
			continue
		}
		for _, metric := range family.GetMetric() {
			got = append(got, metric.GetLabel()[0].GetValue())
		}
	}
	want := slices.Sorted(slices.Values(classes()))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
