package httpapi_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipestreamer/pipestreamer/internal/httpapi"
	"github.com/pipestreamer/pipestreamer/internal/httpapi/apitest"
	"github.com/pipestreamer/pipestreamer/internal/job"
)

func TestClientRoundTrip(t *testing.T) {
	a := newAPI(t)
	m := testManifest("HXE", 1700000000000)
	a.jobs.SetBackups(nil, m)
	socket, _ := a.serve(t)
	client := newClient(t, httpapi.ClientOptions{Socket: socket})
	ctx := t.Context()

	started, err := client.StartBackup(ctx, job.BackupRequest{Database: "HXE"}, "key")
	if err != nil {
		t.Fatal(err)
	}
	want := job.Record{
		ID: "job-1", Action: job.ActionBackup, State: job.StateRunning, Stage: job.StagePlan, SID: "HXE", Database: "HXE",
		StartedAt: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), IdempotencyKey: "key", RequestedBy: "test",
	}
	if diff := cmp.Diff(want, started); diff != "" {
		t.Errorf("StartBackup (-want +got):\n%s", diff)
	}
	if err := client.Cancel(ctx, "job-1"); err != nil {
		t.Errorf("Cancel: %v", err)
	}
	if r, err := client.Job(ctx, "job-1"); err != nil || r.State != job.StateCanceled {
		t.Errorf("Job: %v %v", r.State, err)
	}
	if r, err := client.StartRestore(ctx, job.RestoreRequest{Database: "HXE", Backup: "latest"}, ""); err != nil || r.Action != job.ActionRestore {
		t.Errorf("StartRestore: %+v %v", r, err)
	}
	a.jobs.Finish("job-2", job.StateSucceeded)
	if r, err := client.StartVerification(ctx, job.VerificationRequest{Database: "HXE", Backup: "latest", Sample: 3}, ""); err != nil || r.Action != job.ActionVerification {
		t.Errorf("StartVerification: %+v %v", r, err)
	}
	if list, err := client.Jobs(ctx); err != nil || len(list) != 3 {
		t.Errorf("Jobs: %v %v", list, err)
	}
	if list, err := client.Backups(ctx, "HXE"); err != nil || len(list.Backups) != 1 || list.Backups[0].BackupID != m.BackupID {
		t.Errorf("Backups: %v %v", list, err)
	}
	got, err := client.Backup(ctx, "HXE", "latest")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(m, got); diff != "" {
		t.Errorf("Backup (-want +got):\n%s", diff)
	}
}

func TestClientErrors(t *testing.T) {
	a := newAPI(t)
	socket, _ := a.serve(t)
	client := newClient(t, httpapi.ClientOptions{Socket: socket})
	_, err := client.StartBackup(t.Context(), job.BackupRequest{Database: "no good"}, "")
	if p, is := errors.AsType[*httpapi.Problem](err); !is || p.Field != "database" || p.Status != 400 {
		t.Errorf("StartBackup: %v, expected a problem with the field", err)
	}
	if _, err := newClient(t, httpapi.ClientOptions{Socket: socket + "x"}).Jobs(t.Context()); err == nil || !strings.Contains(err.Error(), "reach the daemon") {
		t.Errorf("Jobs without a daemon: %v", err)
	}
	for _, address := range []string{"localhost:80", "ftp://x", "http://", "::"} {
		if _, err := httpapi.NewClient(httpapi.ClientOptions{URL: address}); err == nil {
			t.Errorf("NewClient accepted URL %q", address)
		}
	}
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	_, err = newClient(t, httpapi.ClientOptions{URL: plain.URL}).Jobs(t.Context())
	if p, is := errors.AsType[*httpapi.Problem](err); !is || p.Status != 404 || !strings.Contains(p.Error(), "404 Not Found") {
		t.Errorf("Jobs of something else: %v", err)
	}
}

func TestClientSendsTheToken(t *testing.T) {
	a := newAPI(t)
	server := httptest.NewServer(a.server.Handler(tokenGuard(map[string]string{"token": "0123456789abcdef"}).Network()))
	defer server.Close()
	right := newClient(t, httpapi.ClientOptions{URL: server.URL + "/", Token: func() (string, error) { return "0123456789abcdef", nil }})
	if _, err := right.Jobs(t.Context()); err != nil {
		t.Errorf("Jobs with the token: %v", err)
	}
	_, err := newClient(t, httpapi.ClientOptions{URL: server.URL}).Jobs(t.Context())
	if p, is := errors.AsType[*httpapi.Problem](err); !is || p.Status != 401 {
		t.Errorf("Jobs without: %v", err)
	}
	unreadable := newClient(t, httpapi.ClientOptions{URL: server.URL, Token: func() (string, error) { return "", errors.New("gone") }})
	if _, err := unreadable.Jobs(t.Context()); err == nil || !strings.Contains(err.Error(), "read the token: gone") {
		t.Errorf("Jobs with an unreadable token: %v", err)
	}
}

// TestSilentDaemon: a daemon, or what stands in front of it, that takes a connection
// and then says nothing more does not keep a command for ever.
func TestSilentDaemon(t *testing.T) {
	ask := func(ctx context.Context, c *httpapi.Client) error {
		_, err := c.Jobs(ctx)
		return err
	}
	follow := func(ctx context.Context, c *httpapi.Client) error {
		_, err := c.Follow(ctx, "job-1", func(job.Record) {})
		return err
	}
	const header = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
	for _, test := range []struct {
		name, url, says string
		do              func(context.Context, *httpapi.Client) error
		within          time.Duration
		want            string
	}{
		{"TLS", "https://daemon", "", ask, 20 * time.Second, "TLS handshake timeout"},
		{"no header", "http://daemon", "", ask, 2 * time.Minute, "no answer within 2m0s"},
		{"half a body", "http://daemon", header, ask, 2 * time.Minute, "no answer within 2m0s"},
		{"a job, TLS", "https://daemon", "", follow, 6 * time.Minute, "no answer for 5m0s"},
		{"a job, no header", "http://daemon", "", follow, 7 * time.Minute, "no answer for 5m0s"},
		{"a job, half a body", "http://daemon", header, follow, 7 * time.Minute, "no answer for 5m0s"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, err := httpapi.NewClient(httpapi.ClientOptions{URL: test.url})
				if err != nil {
					t.Fatal(err)
				}
				var ends []net.Conn
				var hearing sync.WaitGroup
				client.DialWith(func() net.Conn {
					near, far := net.Pipe()
					ends = append(ends, far)
					hearing.Go(func() {
						_, err := far.Read(make([]byte, 4096))
						if err == nil {
							_, err = io.WriteString(far, test.says)
						}
						if err == nil {
							_, _ = io.Copy(io.Discard, far)
						}
					})
					return near
				})
				ended, start := make(chan error, 1), time.Now()
				go func() { ended <- test.do(t.Context(), client) }()
				select {
				case err := <-ended:
					if took := time.Since(start); err == nil || !strings.Contains(err.Error(), test.want) || took > test.within {
						t.Errorf("%s: %v after %s, expected %q within %s", test.name, err, took, test.want, test.within)
					}
				case <-time.After(8 * time.Hour):
					t.Errorf("%s: it hangs", test.name)
				}
				for _, end := range ends {
					_ = end.Close()
				}
				client.Close()
				hearing.Wait()
			})
		})
	}
}

// TestFollowSurvives shows the two ways in which events do not get through.
func TestFollowSurvives(t *testing.T) {
	for _, name := range []string{"broken connections", "no events at all"} {
		t.Run(name, func(t *testing.T) {
			a := newAPI(t)
			var attempts atomic.Int32
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if strings.HasSuffix(r.URL.Path, "/events") {
					if attempts.Add(1) == 3 {
						a.jobs.Finish("job-1", job.StateLost)
					}
					if name == "no events at all" {
						http.Error(w, "a proxy that knows no events", http.StatusBadGateway)
						return
					}
					if _, err := w.Write([]byte("event: record\nda")); err != nil {
						t.Error(err)
					}
					panic(http.ErrAbortHandler)
				}
				a.server.Handler(apitest.Operator).ServeHTTP(w, r)
			}))
			defer server.Close()
			if _, err := a.jobs.StartBackup(t.Context(), job.BackupRequest{Database: "HXE"}, ""); err != nil {
				t.Fatal(err)
			}
			seen := 0
			last, err := newClient(t, httpapi.ClientOptions{URL: server.URL}).Follow(t.Context(), "job-1", func(job.Record) { seen++ })
			if err != nil || last.State != job.StateLost || seen < 2 {
				t.Errorf("Follow: state %q after %d records, %v", last.State, seen, err)
			}
		})
	}
}

func TestFollowGivesUp(t *testing.T) {
	a := newAPI(t)
	socket, _ := a.serve(t)
	client := newClient(t, httpapi.ClientOptions{Socket: socket})
	_, err := client.Follow(t.Context(), "nope", func(job.Record) {})
	if p, is := errors.AsType[*httpapi.Problem](err); !is || p.Status != 404 {
		t.Errorf("Follow of an unknown job: %v", err)
	}
	if _, err := a.jobs.StartBackup(t.Context(), job.BackupRequest{Database: "HXE"}, ""); err != nil {
		t.Fatal(err)
	}
	why := errors.New("interrupted")
	ctx, cancel := context.WithCancelCause(t.Context())
	_, err = client.Follow(ctx, "job-1", func(job.Record) { cancel(why) })
	if !errors.Is(err, why) {
		t.Errorf("Follow: %v, expected the cause of the end", err)
	}
}

// TestFollowKeepsNothingOfOlderRecords: a field that a newer record does not
// have must not live on.
func TestFollowKeepsNothingOfOlderRecords(t *testing.T) {
	a := newAPI(t)
	if _, err := a.jobs.StartBackup(t.Context(), job.BackupRequest{Database: "HXE"}, ""); err != nil {
		t.Fatal(err)
	}
	a.jobs.Change("job-1", func(r *job.Record) { r.Consequences = []string{"old"} })
	socket, _ := a.serve(t)
	last, err := newClient(t, httpapi.ClientOptions{Socket: socket}).Follow(t.Context(), "job-1", func(job.Record) {
		a.jobs.Change("job-1", func(r *job.Record) { r.Consequences, r.State = nil, job.StateSucceeded })
	})
	if err != nil || last.State != job.StateSucceeded || last.Consequences != nil {
		t.Errorf("Follow: %+v, %v", last, err)
	}
}

// TestFollowTellsALoss: patience counts from the loss, however long the job was
// followed before, and each loss is told once.
func TestFollowTellsALoss(t *testing.T) {
	a := newAPI(t)
	if _, err := a.jobs.StartBackup(t.Context(), job.BackupRequest{Database: "HXE"}, ""); err != nil {
		t.Fatal(err)
	}
	var requests atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch n := requests.Add(1); {
		case n == 10 || n == 11: // one answer between two losses
			a.server.Handler(apitest.Operator).ServeHTTP(w, r)
		case n > 20:
			a.jobs.Finish("job-1", job.StateSucceeded)
			a.server.Handler(apitest.Operator).ServeHTTP(w, r)
		case n > 15: // asked too often, which passes as well
			http.Error(w, "slower", http.StatusTooManyRequests)
		default:
			http.Error(w, "gone", http.StatusBadGateway)
		}
	}))
	defer server.Close()
	client := newClient(t, httpapi.ClientOptions{URL: server.URL})
	var losses []string
	client.OnLost(func(err error, until time.Time) {
		losses = append(losses, err.Error())
		if left := time.Until(until); left < 4*time.Minute || left > 5*time.Minute {
			t.Errorf("tries again for %s, expected 5 min", left)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	go func() { // the answer in between is an event stream, which has to break off
		for a.jobs.Subscribers("job-1") == 0 && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
		server.CloseClientConnections()
	}()
	last, err := client.Follow(ctx, "job-1", func(job.Record) {})
	if err != nil || last.State != job.StateSucceeded {
		t.Errorf("Follow: %+v, %v", last, err)
	}
	if diff := cmp.Diff([]string{"502 Bad Gateway: gone", "502 Bad Gateway: gone"}, losses); diff != "" {
		t.Errorf("losses (-want +got):\n%s", diff)
	}
}
