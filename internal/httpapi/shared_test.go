package httpapi_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/pipestreamer/pipestreamer/internal/httpapi"
	"github.com/pipestreamer/pipestreamer/internal/httpapi/apitest"
	"github.com/pipestreamer/pipestreamer/internal/job"
)

// testJobs can be embedded in what has a method Jobs.
type testJobs = apitest.Jobs

// lookingJobs look at the store with look.
type lookingJobs struct {
	*testJobs

	look func(ctx context.Context) error
}

func (j *lookingJobs) Backups(ctx context.Context, _ string) (job.BackupList, error) {
	return job.BackupList{}, j.look(ctx)
}

func (j *lookingJobs) Recovery(ctx context.Context, database string) (job.Recovery, error) {
	return job.Recovery{Database: database}, j.look(ctx)
}

// TestLooksHaveTime: what costs a look at every log backup may take longer than a list,
// and both end before those who ask give up.
func TestLooksHaveTime(t *testing.T) {
	const client, page = 2 * time.Minute, 110 * time.Second // their own limits
	for _, test := range []struct {
		path   string
		takes  time.Duration
		status int
	}{
		{"/v1/backups", 25 * time.Second, 200},
		{"/v1/backups", time.Hour, 504},
		{"/v1/recovery?database=HXE", 85 * time.Second, 200},
		{"/v1/recovery?database=HXE", time.Hour, 504},
	} {
		synctest.Test(t, func(t *testing.T) {
			jobs := &lookingJobs{new(testJobs), func(ctx context.Context) error {
				select {
				case <-time.After(test.takes):
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			}}
			server := httpapi.New(jobs, httpapi.Options{}, zap.NewNop(), httpapi.NewMetrics(prometheus.NewRegistry()))
			start, got := time.Now(), httptest.NewRecorder()
			server.Handler(apitest.Operator).ServeHTTP(got, newRequest(t, "GET", test.path, ""))
			if took := time.Since(start); got.Code != test.status || took >= min(client, page) {
				t.Errorf("%s that takes %s: %d after %s", test.path, test.takes, got.Code, took)
			}
		})
	}
}

// TestPanicInALook: it ends the requests that share the look, and nothing else, and is
// told and counted as any other.
func TestPanicInALook(t *testing.T) {
	for _, path := range []string{"/v1/backups", "/v1/recovery?database=HXE"} {
		synctest.Test(t, func(t *testing.T) {
			core, logs := observer.New(zap.ErrorLevel)
			registry := prometheus.NewRegistry()
			jobs := &lookingJobs{new(testJobs), func(context.Context) error {
				time.Sleep(time.Second)
				panic("index out of range")
			}}
			handler := httpapi.New(jobs, httpapi.Options{}, zap.New(core), httpapi.NewMetrics(registry)).Handler(apitest.Operator)
			var asking sync.WaitGroup
			for range 2 {
				asking.Go(func() {
					got := httptest.NewRecorder()
					handler.ServeHTTP(got, newRequest(t, "GET", path, ""))
					if text := got.Body.String(); got.Code != http.StatusInternalServerError || strings.Contains(text, "index out of range") || !strings.Contains(text, "its log has the stack") {
						t.Errorf("%s: %d %s", path, got.Code, text)
					}
				})
			}
			asking.Wait()
			if got := gathered(t, registry, "pipestreamer_http_panics_total"); got != 2 {
				t.Errorf("%s: pipestreamer_http_panics_total = %v, expected 2", path, got)
			}
			told := logs.FilterMessage("a request ended in a panic").All()
			if len(told) != 2 || !strings.Contains(fmt.Sprint(told[0].ContextMap()), "lookingJobs") {
				t.Errorf("%s: told %v, expected the stack of the look", path, told)
			}
		})
	}
}

func TestPanicInALookForReadyz(t *testing.T) {
	core, logs := observer.New(zap.ErrorLevel)
	registry := prometheus.NewRegistry()
	look := httpapi.ShareLook(func(context.Context) error { panic("index out of range") }, zap.New(core), httpapi.NewMetrics(registry))
	ops := httpapi.Ops(registry, httpapi.Probes{Ready: look}, zap.NewNop())
	got := httptest.NewRecorder()
	ops.ServeHTTP(got, newRequest(t, "GET", "/readyz", ""))
	if got.Code != http.StatusServiceUnavailable || strings.Contains(got.Body.String(), "goroutine") {
		t.Errorf("%d %s", got.Code, got.Body)
	}
	if n := gathered(t, registry, "pipestreamer_http_panics_total"); n != 1 || logs.Len() != 1 {
		t.Errorf("%v panics are counted and %d told, expected one", n, logs.Len())
	}
}

// TestShared has looks at the store that last ten seconds.
func TestShared(t *testing.T) {
	tests := []struct {
		name string
		// patience of the ones who ask, in seconds; each comes a second after the other.
		patience []int
		// looks is how many there may be: of those who are left, chance says who looks.
		looks []int64
		took  time.Duration
		want  []string
	}{
		{"one look for all", []int{60, 60, 60}, []int64{1}, 10 * time.Second, []string{"found", "found", "found"}},
		{"the first leaves, another looks", []int{5, 60, 60}, []int64{2}, 15 * time.Second, []string{"gone", "found", "found"}},
		{"each leaves before the end of a look", []int{5, 5, 5}, []int64{2, 3}, 7 * time.Second, []string{"gone", "gone", "gone"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var shared httpapi.Shared[string]
				var looks atomic.Int64
				look := func(ctx context.Context) (string, error) {
					looks.Add(1)
					select {
					case <-time.After(10 * time.Second):
						return "found", nil
					case <-ctx.Done():
						return "", ctx.Err()
					}
				}
				got := make([]string, len(test.patience))
				done, start := make(chan struct{}), time.Now()
				for i, patience := range test.patience {
					go func() {
						time.Sleep(time.Duration(i) * time.Second)
						ctx, cancel := context.WithTimeout(t.Context(), time.Duration(patience)*time.Second)
						defer cancel()
						text, err := shared.Do(ctx, "HXE", look)
						if errors.Is(err, context.DeadlineExceeded) {
							text = "gone"
						}
						got[i] = text
						done <- struct{}{}
					}()
				}
				for range test.patience {
					<-done
				}
				if diff := cmp.Diff(test.want, got); diff != "" || !slices.Contains(test.looks, looks.Load()) {
					t.Errorf("%d looks, expected %d (-want +got):\n%s", looks.Load(), test.looks, diff)
				}
				if took := time.Since(start); took != test.took {
					t.Errorf("it took %s, expected %s", took, test.took)
				}
			})
		})
	}
}
