package httpapi_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
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

	"github.com/pipestreamer/pipestreamer/internal/access"
	"github.com/pipestreamer/pipestreamer/internal/httpapi"
	"github.com/pipestreamer/pipestreamer/internal/httpapi/apitest"
	"github.com/pipestreamer/pipestreamer/internal/job"
)

// followAll opens the stream of all events; events gives them by name.
func followAll(t *testing.T, server *httptest.Server) (events *bufio.Scanner, end func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/v1/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := server.Client().Do(request) //nolint:bodyclose // end closes it
	if err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("status %d, Content-Type %q", response.StatusCode, response.Header.Get("Content-Type"))
	}
	return bufio.NewScanner(response.Body), func() {
		cancel()
		if err := response.Body.Close(); err != nil {
			t.Error(err)
		}
	}
}

// nextRecord reads up to the next record, and counts the heartbeats before it.
func nextRecord(t *testing.T, events *bufio.Scanner) (r job.Record, heartbeats int) {
	t.Helper()
	for events.Scan() {
		if events.Text() == "event: heartbeat" {
			heartbeats++
		}
		if data, is := strings.CutPrefix(events.Text(), "data: "); is {
			if err := json.Unmarshal([]byte(data), &r); err != nil {
				t.Fatal(err)
			}
			return r, heartbeats
		}
	}
	t.Fatalf("the stream ended: %v", events.Err())
	return r, 0
}

func TestAllEvents(t *testing.T) {
	a := newAPI(t)
	server := httptest.NewServer(a.server.Handler(apitest.Operator))
	defer server.Close()
	start := func(database string) {
		t.Helper()
		if _, err := a.jobs.StartBackup(t.Context(), job.BackupRequest{Database: database}, ""); err != nil {
			t.Fatal(err)
		}
	}
	start("PAST")
	a.jobs.Finish("job-1", job.StateFailed)
	start("NOW")
	events, end := followAll(t, server)
	defer end()
	if r, _ := nextRecord(t, events); r.ID != "job-2" || r.State != job.StateRunning {
		t.Errorf("first came %s %s, expected the job that runs", r.ID, r.State)
	}
	beat := time.NewTimer(70 * time.Millisecond) // three heartbeats' time
	<-beat.C
	start("NEXT")
	a.jobs.Finish("job-3", job.StateLost)
	if r, heartbeats := nextRecord(t, events); r.ID != "job-3" || r.State != job.StateLost || heartbeats == 0 {
		t.Errorf("then came %s %s after %d heartbeats, expected the end of a job that began later", r.ID, r.State, heartbeats)
	}
	a.jobs.Finish("job-2", job.StateSucceeded)
	if r, _ := nextRecord(t, events); r.ID != "job-2" || r.State != job.StateSucceeded {
		t.Errorf("then came %s %s, expected the end of the first job", r.ID, r.State)
	}
	end()
	eventually(t, "the end of the subscription", func() bool { return a.jobs.Followers() == 0 })
	metrics := a.do(t, httpapi.Ops(a.registry, httpapi.Probes{Started: func() error { return nil }, Ready: a.jobs.Ready}, zap.NewNop()), newRequest(t, "GET", "/metrics", "")).Text
	if strings.Contains(metrics, `duration_seconds_count{method="GET",route="/v1/events"}`) {
		t.Error("the time that somebody follows is counted as the time of an answer")
	}
}

// TestTooManyStreamsOfOne: who holds many event streams of a job keeps nobody else
// from anything, and a command that follows one asks for the record instead.
func TestTooManyStreamsOfOne(t *testing.T) {
	a := newAPI(t)
	identify := func(r *http.Request) (access.Caller, error) {
		return access.Caller{Identity: "token:" + strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), Role: access.Reader}, nil
	}
	server := httptest.NewServer(a.server.Handler(identify))
	t.Cleanup(server.Close)
	if _, err := a.jobs.StartBackup(t.Context(), job.BackupRequest{Database: "HXE"}, ""); err != nil {
		t.Fatal(err)
	}
	follow := func(path, who string) (status int, retryAfter string) {
		request := newRequest(t, "GET", path, "")
		request.Header.Set("Authorization", "Bearer "+who)
		request.URL.Scheme, request.URL.Host = "http", server.Listener.Addr().String()
		response, err := server.Client().Transport.RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = response.Body.Close() })
		return response.StatusCode, response.Header.Get("Retry-After")
	}
	const one = "/v1/jobs/job-1/events"
	for i := range httpapi.MaxStreamsOfOne {
		path := one
		if i == 0 {
			path = "/v1/events"
		}
		if status, _ := follow(path, "greedy"); status != http.StatusOK {
			t.Fatalf("stream %d: %d", i, status)
		}
	}
	for _, path := range []string{one, "/v1/events"} {
		if status, retryAfter := follow(path, "greedy"); status != http.StatusServiceUnavailable || retryAfter == "" {
			t.Errorf("%s, one too many: %d, Retry-After %q", path, status, retryAfter)
		}
		if status, _ := follow(path, "modest"); status != http.StatusOK {
			t.Errorf("%s of another: %d", path, status)
		}
	}
	client := newClient(t, httpapi.ClientOptions{
		URL: server.URL, Token: func() (string, error) { return "greedy", nil }, Patience: time.Second, Pause: 10 * time.Millisecond,
	})
	looks := 0
	last, err := client.Follow(t.Context(), "job-1", func(job.Record) {
		if looks++; looks == 3 {
			a.jobs.Finish("job-1", job.StateSucceeded)
		}
	})
	if err != nil || last.State != job.StateSucceeded {
		t.Errorf("a follower without a stream: %+v, %v", last, err)
	}
	eventually(t, "places", func() bool { // the job has ended
		status, _ := follow(one, "greedy")
		return status == http.StatusOK
	})
}

func TestTooManyFollowers(t *testing.T) {
	a := newAPI(t)
	var callers atomic.Int32
	server := httptest.NewServer(a.server.Handler(func(*http.Request) (access.Caller, error) {
		return access.Caller{Identity: fmt.Sprint("caller-", callers.Add(1)), Role: access.Reader}, nil
	}))
	defer server.Close()
	var ends []func()
	for range httpapi.MaxEventStreams {
		_, end := followAll(t, server)
		ends = append(ends, end)
	}
	refused := a.do(t, a.server.Handler(apitest.Operator), newRequest(t, "GET", "/v1/events", ""))
	if refused.StatusCode != http.StatusServiceUnavailable || refused.Header.Get("Retry-After") == "" || !strings.Contains(refused.Text, "too_many_followers") {
		t.Errorf("one too many: %d %s", refused.StatusCode, refused.Text)
	}
	ends[0]()
	eventually(t, "a place", func() bool { return a.jobs.Followers() == httpapi.MaxEventStreams-1 })
	eventually(t, "another follower", func() bool {
		response, err := server.Client().Get(server.URL + "/v1/events")
		if err != nil {
			t.Fatal(err)
		}
		if err := response.Body.Close(); err != nil {
			t.Error(err)
		}
		return response.StatusCode == http.StatusOK
	})
	for _, end := range ends[1:] {
		end()
	}
}

func TestShutdownEndsAllEvents(t *testing.T) {
	a := newAPI(t)
	socket, stop := a.serve(t)
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	defer client.CloseIdleConnections()
	response, err := client.Get("http://pipestreamer/v1/events")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.jobs.StartBackup(t.Context(), job.BackupRequest{Database: "HXE"}, ""); err != nil {
		t.Fatal(err)
	}
	a.jobs.Finish("job-1", job.StateCanceled) // as a drain does
	stop()
	text, err := io.ReadAll(response.Body)
	if err != nil || !strings.Contains(string(text), `"state":"canceled"`) {
		t.Errorf("at the end of the daemon: %s, %v", text, err)
	}
	if err := response.Body.Close(); err != nil {
		t.Error(err)
	}
}

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
