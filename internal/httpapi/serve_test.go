package httpapi_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
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
	"github.com/pipestreamer/pipestreamer/internal/job"
)

// eventually polls until ok or the test's patience ends.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("timed out waiting for %s", what)
		}
	}
}

// serve runs the real server on a Unix socket until the test or stop ends.
func (a *api) serve(t *testing.T) (socket string, stop func()) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "s.sock")
	listener, err := httpapi.ListenUnix(t.Context(), socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- httpapi.Serve(ctx, listener, a.server.Handler(apitest.Operator), zap.NewNop()) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	}
	t.Cleanup(stop)
	return socket, stop
}

func newClient(t *testing.T, options httpapi.ClientOptions) *httpapi.Client {
	t.Helper()
	options.Pause = 10 * time.Millisecond
	client, err := httpapi.NewClient(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

func TestSocket(t *testing.T) {
	a := newAPI(t)
	socket, stop := a.serve(t)
	info, err := os.Stat(socket)
	if err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("socket: %v %v, expected mode 0660", info, err)
	}
	if _, err := httpapi.ListenUnix(t.Context(), socket); err == nil || !strings.Contains(err.Error(), "another pipestreamer already serves there") {
		t.Errorf("a second ListenUnix: %v", err)
	}
	if _, err := newClient(t, httpapi.ClientOptions{Socket: socket}).Jobs(t.Context()); err != nil {
		t.Errorf("Jobs: %v", err)
	}
	stop()
	if _, err := os.Lstat(socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after the end the socket is still there: %v", err)
	}
}

func TestSocketInTheWay(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.sock")
	dead, err := new(net.ListenConfig).Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	dead.(*net.UnixListener).SetUnlinkOnClose(false) // as a killed process leaves it
	if err := dead.Close(); err != nil {
		t.Fatal(err)
	}
	listener, err := httpapi.ListenUnix(t.Context(), path)
	if err != nil {
		t.Fatalf("with a dead socket in the way: %v", err)
	}
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := httpapi.ListenUnix(t.Context(), path); err == nil {
		t.Error("ListenUnix replaced a regular file")
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "precious" {
		t.Errorf("the file in the way is now %q, %v", text, err)
	}
}

func TestSlowHeaderIsCutOff(t *testing.T) {
	a := newAPI(t)
	listener, err := httpapi.ListenTCP(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() {
		served <- httpapi.ServeWith(ctx, listener, a.server.Handler(apitest.Operator), zap.NewNop(), func(s *http.Server) {
			if s.ReadHeaderTimeout <= 0 || s.IdleTimeout <= 0 || s.WriteTimeout != 0 {
				t.Errorf("timeouts: header %s, idle %s, write %s", s.ReadHeaderTimeout, s.IdleTimeout, s.WriteTimeout)
			}
			s.ReadHeaderTimeout = 50 * time.Millisecond
		})
	}()
	connection, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeAll(t, connection) })
	if _, err := io.WriteString(connection, "GET /v1/jobs HTTP/1.1\r\nHost: x\r\nX-Slow: "); err != nil {
		t.Fatal(err)
	}
	if err := connection.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(connection); err != nil {
		t.Errorf("the connection was not closed: %v", err)
	}
	cancel()
	if err := <-served; err != nil {
		t.Errorf("Serve: %v", err)
	}
}

func TestServeReportsABrokenListener(t *testing.T) {
	listener, err := httpapi.ListenTCP(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	if err := httpapi.Serve(t.Context(), listener, http.NotFoundHandler(), zap.NewNop()); err == nil {
		t.Error("Serve returned nil on a closed listener")
	}
}

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
