package httpapi_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pipestreamer/pipestreamer/internal/access"
	"github.com/pipestreamer/pipestreamer/internal/httpapi"
	"github.com/pipestreamer/pipestreamer/internal/httpapi/apitest"
	"github.com/pipestreamer/pipestreamer/internal/job"
)

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
