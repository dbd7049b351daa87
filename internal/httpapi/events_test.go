package httpapi_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/internal/httpapi"
	"github.com/pipestreamer/pipestreamer/internal/httpapi/apitest"
	"github.com/pipestreamer/pipestreamer/internal/job"
)

// readEvents returns the lines of an event stream up to its end.
func readEvents(t *testing.T, body io.Reader) (events, heartbeats int, last string) {
	t.Helper()
	lines := bufio.NewScanner(body)
	for lines.Scan() {
		switch line := lines.Text(); {
		case strings.HasPrefix(line, "data: "):
			events++
			last = line
		case line == ": heartbeat":
			heartbeats++
		case line != "" && line != "event: record":
			t.Errorf("unexpected line %q", line)
		}
	}
	if err := lines.Err(); err != nil {
		t.Errorf("read events: %v", err)
	}
	return events, heartbeats, last
}

func TestEvents(t *testing.T) {
	a := newAPI(t)
	if _, err := a.jobs.StartBackup(t.Context(), job.BackupRequest{Database: "HXE"}, ""); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(a.server.Handler(apitest.Operator))
	defer server.Close()
	const followers = 5
	type result struct {
		events, heartbeats int
		last               string
	}
	results := make(chan result, followers)
	for range followers {
		go func() {
			response, err := server.Client().Get(server.URL + "/v1/jobs/job-1/events")
			if err != nil {
				t.Error(err)
				results <- result{}
				return
			}
			if got := response.Header.Get("Content-Type"); got != "text/event-stream" {
				t.Errorf("Content-Type %q", got)
			}
			var r result
			r.events, r.heartbeats, r.last = readEvents(t, response.Body)
			if err := response.Body.Close(); err != nil {
				t.Error(err)
			}
			results <- r
		}()
	}
	eventually(t, "all followers", func() bool { return a.jobs.Subscribers("job-1") == followers })
	beat := time.NewTimer(70 * time.Millisecond) // three heartbeats' time
	<-beat.C
	a.jobs.Change("job-1", func(r *job.Record) { r.Stage = job.StageStream })
	a.jobs.Finish("job-1", job.StateSucceeded)
	for range followers {
		r := <-results
		if r.events < 2 || r.heartbeats == 0 || !strings.Contains(r.last, `"state":"succeeded"`) {
			t.Errorf("a follower saw %d events, %d heartbeats, last %s", r.events, r.heartbeats, r.last)
		}
	}
	response := a.do(t, a.server.Handler(apitest.Operator), newRequest(t, "GET", "/v1/jobs/job-1/events", ""))
	if events, _, last := readEvents(t, strings.NewReader(response.Text)); events != 1 || !strings.Contains(last, "succeeded") {
		t.Errorf("events of an ended job: %d, last %s", events, last)
	}
	if response := a.do(t, a.server.Handler(apitest.Operator), newRequest(t, "GET", "/v1/jobs/nope/events", "")); response.StatusCode != http.StatusNotFound {
		t.Errorf("events of an unknown job: %d", response.StatusCode)
	}
}

// TestSlowFollowerBlocksNobody has one follower that never reads.
func TestSlowFollowerBlocksNobody(t *testing.T) {
	a := newAPI(t)
	if _, err := a.jobs.StartBackup(t.Context(), job.BackupRequest{Database: "HXE"}, ""); err != nil {
		t.Fatal(err)
	}
	socket, _ := a.serve(t)
	stuck, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeAll(t, stuck) })
	if _, err := io.WriteString(stuck, "GET /v1/jobs/job-1/events HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the stuck follower", func() bool { return a.jobs.Subscribers("job-1") == 1 })
	followed := make(chan error, 1)
	go func() {
		_, err := newClient(t, httpapi.ClientOptions{Socket: socket}).Follow(t.Context(), "job-1", func(job.Record) {})
		followed <- err
	}()
	eventually(t, "the second follower", func() bool { return a.jobs.Subscribers("job-1") == 2 })
	large := strings.Repeat("x", 1<<20)
	for range 50 {
		a.jobs.Change("job-1", func(r *job.Record) { r.Consequences = []string{large} })
	}
	a.jobs.Finish("job-1", job.StateFailed)
	select {
	case err := <-followed:
		if err != nil {
			t.Errorf("Follow: %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("the second follower saw no end")
	}
}

func TestShutdownEndsEventStreams(t *testing.T) {
	a := newAPI(t)
	if _, err := a.jobs.StartBackup(t.Context(), job.BackupRequest{Database: "HXE"}, ""); err != nil {
		t.Fatal(err)
	}
	socket, stop := a.serve(t)
	client := newClient(t, httpapi.ClientOptions{Socket: socket, Patience: time.Millisecond})
	followed := make(chan error, 1)
	go func() {
		_, err := client.Follow(t.Context(), "job-1", func(job.Record) {})
		followed <- err
	}()
	eventually(t, "the follower", func() bool { return a.jobs.Subscribers("job-1") == 1 })
	start := time.Now()
	stop()
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("shutting down took %s", took)
	}
	if err := <-followed; err == nil || !strings.Contains(err.Error(), "no answer") {
		t.Errorf("Follow: %v", err)
	}
	eventually(t, "the end of the subscription", func() bool { return a.jobs.Subscribers("job-1") == 0 })
}

// TestShutdownSendsTheLastRecord follows a job that has ended on a server that
// is ending, as after a drain. Both are known at once, so it tries many times.
func TestShutdownSendsTheLastRecord(t *testing.T) {
	a := newAPI(t)
	if _, err := a.jobs.StartBackup(t.Context(), job.BackupRequest{Database: "HXE"}, ""); err != nil {
		t.Fatal(err)
	}
	a.jobs.Finish("job-1", job.StateCanceled)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	server := httptest.NewUnstartedServer(a.server.Handler(apitest.Operator))
	server.Config.BaseContext = func(net.Listener) context.Context { return ended }
	server.Start()
	defer server.Close()
	for range 30 {
		client := newClient(t, httpapi.ClientOptions{URL: server.URL})
		events := 0
		if _, err := client.Follow(t.Context(), "job-1", func(job.Record) { events++ }); err != nil || events != 1 {
			t.Fatalf("%d events, %v; expected the last record as the only event", events, err)
		}
	}
	for line := range strings.SplitSeq(a.do(t, httpapi.Ops(a.registry, httpapi.Probes{Ready: a.jobs.Ready}, zap.NewNop()), newRequest(t, "GET", "/metrics", "")).Text, "\n") {
		if strings.Contains(line, `route="/v1/jobs/{id}"`) {
			t.Errorf("a follower had to ask for a record that events should have brought: %s", line)
		}
	}
}
