package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestTriesAgain(t *testing.T) {
	hook := startWebhook(t, 500, 502, 404, 302, 200)
	s := newSet(t, hook.URL, nil)
	run(t, s.Notifier)
	s.Tell(failedJob())
	s.Tell(Event{Type: JobSucceeded})
	eventually(t, "all of it", func() bool { return len(hook.got()) == 6 })
	requests := hook.got()
	for _, r := range requests[1:5] {
		if r.ID != requests[0].ID || !bytes.Equal(r.Body, requests[0].Body) {
			t.Errorf("an attempt is not the same notification: %+v", r)
		}
	}
	if requests[5].ID == requests[0].ID {
		t.Error("two notifications have one id")
	}
	eventually(t, "nothing waits", func() bool { return testutil.ToFloat64(s.metrics.queued) == 0 })
	if sent, failed := testutil.ToFloat64(s.metrics.sent), testutil.ToFloat64(s.metrics.failed); sent != 2 || failed != 4 {
		t.Errorf("%v sent, %v attempts failed", sent, failed)
	}
	if left, err := os.ReadDir(s.config.Directory); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	if n := strings.Count(s.logged(), "does not take notifications"); n != 1 {
		t.Errorf("the outage is told %d times, expected once", n)
	}
}

func TestGivenUp(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*Config)
		answer int
		reason string
	}{
		{"the webhook refuses the body", nil, http.StatusUnprocessableEntity, droppedRefused},
		{"it is gone", nil, http.StatusGone, droppedRefused},
		{"it is away for too long", func(c *Config) { c.Patience = 50 * time.Millisecond }, http.StatusServiceUnavailable, droppedExpired},
	} {
		t.Run(test.name, func(t *testing.T) {
			answers := make([]int, 10_000)
			for i := range answers {
				answers[i] = test.answer
			}
			hook := startWebhook(t, answers...)
			s := newSet(t, hook.URL, test.change)
			stop := run(t, s.Notifier)
			s.Tell(failedJob())
			eventually(t, "it is dropped", func() bool { return testutil.ToFloat64(s.metrics.dropped.WithLabelValues(test.reason)) == 1 })
			stop()
			if left, err := os.ReadDir(s.config.Directory); err != nil || len(left) != 0 {
				t.Errorf("left: %v, %v", left, err)
			}
			if !strings.Contains(s.logged(), "a notification is dropped") {
				t.Errorf("nothing is told:\n%s", s.logged())
			}
		})
	}
}

// TestSurvivesARestart ends a notifier whose webhook is away, and starts the next
// one on its directory.
func TestSurvivesARestart(t *testing.T) {
	dead := startWebhook(t)
	dead.Close()
	s := newSet(t, dead.URL, nil)
	stop := run(t, s.Notifier)
	for n := range 3 {
		s.Tell(Event{Type: JobFailed, Data: Data{JobID: strconv.Itoa(n)}})
	}
	eventually(t, "it is tried", func() bool { return testutil.ToFloat64(s.metrics.failed) > 0 })
	stop()
	if err := os.WriteFile(filepath.Join(s.config.Directory, ".new-1"), []byte(`{"id"`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.config.Directory, "broken.json"), []byte(`{"id"`), 0o600); err != nil {
		t.Fatal(err)
	}
	hook := startWebhook(t)
	s.config.ReadURL = fixed(hook.URL)
	run(t, s.open(t))
	eventually(t, "all three", func() bool { return len(hook.got()) == 3 })
	for n, r := range hook.got() {
		if !strings.Contains(string(r.Body), fmt.Sprintf(`"job_id":"%d"`, n)) {
			t.Errorf("notification %d is %s", n, r.Body)
		}
	}
	if !strings.Contains(s.logged(), "broken.json") {
		t.Errorf("a file that cannot be read is not told:\n%s", s.logged())
	}
	if _, err := os.Stat(filepath.Join(s.config.Directory, "broken.json")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it stays, to be told at each start: %v", err)
	}
}

// TestDirectoryThatCannotBeUsed: the notifications of jobs are no reason to keep
// the daemon, and HANA with it, from starting.
func TestDirectoryThatCannotBeUsed(t *testing.T) {
	hook := startWebhook(t)
	inTheWay := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(inTheWay, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := newSet(t, hook.URL, func(c *Config) { c.Directory = filepath.Join(inTheWay, "notifications") })
	run(t, s.Notifier)
	s.Tell(failedJob())
	eventually(t, "it arrives all the same", func() bool { return len(hook.got()) == 1 })
	if got := s.logged(); !strings.Contains(got, "cannot be read") || !strings.Contains(got, inTheWay) {
		t.Errorf("the directory is not told of:\n%s", got)
	}
}

// TestEndIsTold says that what is told last still goes out.
func TestEndIsTold(t *testing.T) {
	hook := startWebhook(t)
	s := newSet(t, hook.URL, func(c *Config) { c.Grace = patience })
	s.Tell(failedJob()) // before Run
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s.Run(ctx)
	if n := len(hook.got()); n != 1 {
		t.Errorf("%d requests, expected one", n)
	}
}

// TestHangingWebhook never answers: neither telling nor the end waits for it.
func TestHangingWebhook(t *testing.T) {
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer server.Close()
	defer close(release)
	s := newSet(t, server.URL, nil)
	stop := run(t, s.Notifier)
	began := time.Now()
	for range 2 * (mostQueued + mostIncoming) {
		s.Tell(failedJob())
	}
	if took := time.Since(began); took > patience/2 {
		t.Errorf("telling took %s", took)
	}
	eventually(t, "too many are dropped", func() bool { return testutil.ToFloat64(s.metrics.dropped.WithLabelValues(droppedOverflow)) > 0 })
	began = time.Now()
	stop()
	if took := time.Since(began); took > patience/2 {
		t.Errorf("the end took %s", took)
	}
	if queued := testutil.ToFloat64(s.metrics.queued); queued > mostQueued {
		t.Errorf("%v are queued", queued)
	}
}

func TestOnlyWhatIsAskedFor(t *testing.T) {
	hook := startWebhook(t)
	s := newSet(t, hook.URL, func(c *Config) { c.On, c.Grace = []string{JobFailed, JobSucceeded}, patience })
	for _, name := range Types() {
		s.Tell(Event{Type: name})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s.Run(ctx)
	var got []string
	for _, r := range hook.got() {
		var e Event
		if err := json.Unmarshal(r.Body, &e); err != nil {
			t.Fatal(err)
		}
		got = append(got, e.Type)
	}
	// A recovery is a success where it is not asked for by its name.
	if diff := cmp.Diff([]string{JobSucceeded, JobSucceeded, JobFailed}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
