package httpapi_test

import (
	"bufio"
	"context"
	"encoding/json"
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
