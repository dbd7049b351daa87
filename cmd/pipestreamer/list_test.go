package main

import (
	"context"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/internal/httpapi"
	"github.com/pipestreamer/pipestreamer/internal/httpapi/apitest"
	"github.com/pipestreamer/pipestreamer/internal/logship"
)

// TestListTellsThatNoLogsAreFound: without it, a list without log backups would
// look like that of a daemon that ships none.
func TestListTellsThatNoLogsAreFound(t *testing.T) {
	const trouble = "open /hana/log: permission denied"
	for name, told := range map[string]string{"nothing": "", "a directory that cannot be read": trouble} {
		t.Run(name, func(t *testing.T) {
			options := httpapi.Options{LogsTrouble: func() string { return told }}
			server := httptest.NewServer(httpapi.New(new(apitest.Jobs), options, zap.NewNop(), httpapi.NewMetrics(prometheus.NewRegistry())).Handler(apitest.Operator))
			defer server.Close()
			status, stdout, stderr := execute(t.Context(), "list", "--url", server.URL)
			if status != 0 || strings.Contains(stdout, "Log backups cannot be found: "+trouble) != (told != "") {
				t.Errorf("status %d, output %q, %q", status, stdout, stderr)
			}
		})
	}
}

// While the store is away, what the daemon knows of the log is what an operator
// wants to see: how much waits, and how long the volume lasts.
func TestListWhileTheStoreIsAway(t *testing.T) {
	lasts := int64(7200)
	for name, test := range map[string]struct {
		fault   error
		trouble string
		want    string
	}{
		"it refuses":                   {fault: errors.New("dial tcp: connection refused"), want: "dial tcp: connection refused"},
		"the shipper knows it already": {fault: context.DeadlineExceeded, trouble: "no answer", want: "context deadline exceeded"},
	} {
		t.Run(name, func(t *testing.T) {
			jobs := new(apitest.Jobs)
			jobs.SetBackups(test.fault)
			options := httpapi.Options{Logs: func() []logship.Status {
				return []logship.Status{{Database: "HXE", WaitingFiles: 7, Lasts: &lasts, StoreTrouble: test.trouble}}
			}}
			server := httptest.NewServer(httpapi.New(jobs, options, zap.NewNop(), httpapi.NewMetrics(prometheus.NewRegistry())).Handler(apitest.Operator))
			defer server.Close()
			status, stdout, stderr := execute(t.Context(), "list", "--database", "HXE", "--url", server.URL)
			if status != 1 || !strings.Contains(stdout, "7 files") || !strings.Contains(stdout, "2h0m0s") {
				t.Errorf("status %d, output %q", status, stdout)
			}
			if want := "backups: the store does not answer: " + test.want; !strings.Contains(stderr, want) || !strings.Contains(stderr, "what to do: see whether the store is up") {
				t.Errorf("stderr %q, expected %q", stderr, want)
			}
			status, stdout, stderr = execute(t.Context(), "list", "--recovery", "--database", "HXE", "--url", server.URL)
			if status != 1 || stdout != "" || !strings.Contains(stderr, "times: the store does not answer: "+test.want) || !strings.Contains(stderr, "what to do: ") {
				t.Errorf("times: status %d, output %q, %q", status, stdout, stderr)
			}
			status, _, stderr = execute(t.Context(), "list", "-o", "json", "--url", server.URL)
			if status != 1 || !strings.Contains(stderr, `"hint":"see whether the store is up`) || !strings.Contains(stderr, `"problem":`) {
				t.Errorf("as JSON: status %d, %q", status, stderr)
			}
		})
	}
}

func TestLastsText(t *testing.T) {
	for d, want := range map[time.Duration]string{
		90 * time.Second: "1m30s", 30 * 24 * time.Hour: "720h0m0s", 30*24*time.Hour + time.Second: "> 30d", 24_000 * time.Hour: "> 30d",
	} {
		if got := lastsText(d); got != want {
			t.Errorf("%s: %q, expected %q", d, got, want)
		}
	}
}

// A list right after the first backup does not alarm whoever made it.
func TestListTellsThatThereIsNoLogYet(t *testing.T) {
	options := httpapi.Options{LogsNote: func() string { return logship.NoLogYet }}
	server := httptest.NewServer(httpapi.New(new(apitest.Jobs), options, zap.NewNop(), httpapi.NewMetrics(prometheus.NewRegistry())).Handler(apitest.Operator))
	defer server.Close()
	status, stdout, stderr := execute(t.Context(), "list", "--url", server.URL)
	if status != 0 || !strings.Contains(stdout, "HANA has written no log backup yet.") || strings.Contains(stdout, "cannot") {
		t.Errorf("status %d, output %q, %q", status, stdout, stderr)
	}
}

// Whatever the status page warns of, the list and the webhook say, too.
func TestTroubleText(t *testing.T) {
	at := time.Date(2026, 11, 30, 2, 3, 40, 0, time.UTC)
	for name, test := range map[string]struct {
		status logship.Status
		want   string
	}{
		"well":                         {},
		"the volume cannot be read":    {logship.Status{VolumeTrouble: "permission denied", VolumeTroubleSince: at}, "new log backups cannot be seen since " + timeText(at) + ": permission denied"},
		"the store fails":              {logship.Status{StoreTrouble: "no answer", StoreTroubleSince: at}, "the store fails since " + timeText(at) + ": no answer"},
		"HANA does not confirm a file": {logship.Status{UnconfirmedFiles: 1, Unconfirmed: []logship.Problem{{Since: time.Now().Add(-2 * time.Hour)}}}, "1 unconfirmed file"},
		"a file has just been stored":  {logship.Status{UnconfirmedFiles: 1, Unconfirmed: []logship.Problem{{Since: time.Now()}}}, ""},
		"an index is damaged, and gap": {logship.Status{DamagedIndexes: []string{"k"}, Gaps: make([]logship.Gap, 2)}, "2 gaps; 1 damaged index file"},
	} {
		if got := troubleText(&test.status); got != test.want {
			t.Errorf("%s: %q, expected %q", name, got, test.want)
		}
	}
}
