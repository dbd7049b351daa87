package main

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipestreamer/pipestreamer/internal/httpapi"
	"github.com/pipestreamer/pipestreamer/internal/httpapi/apitest"
	"github.com/pipestreamer/pipestreamer/internal/job"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// startJob starts a job that only the test moves.
func startJob(t *testing.T, jobs *apitest.Jobs) {
	t.Helper()
	if _, err := jobs.StartBackup(t.Context(), job.BackupRequest{Database: "HXE"}, ""); err != nil {
		t.Fatal(err)
	}
}

// awaitSubscriber waits until somebody follows the job.
func awaitSubscriber(t *testing.T, jobs *apitest.Jobs) {
	t.Helper()
	for jobs.Subscribers("job-1") == 0 && t.Context().Err() == nil {
		time.Sleep(time.Millisecond)
	}
}

func TestCancel(t *testing.T) {
	jobs, url := daemonOf(t)
	startJob(t, jobs)
	status, stdout, stderr := execute(t.Context(), "cancel", "job-1", "--url", url)
	if status != 0 || stdout != "asked job-1 to end; pipestreamer show job-1 --follow waits for it\n" {
		t.Errorf("status %d\n%s\n%s", status, stdout, stderr)
	}
	if r, err := jobs.Job("job-1"); err != nil || r.State != job.StateCanceled {
		t.Errorf("the job is %s, %v; expected canceled", r.State, err)
	}
	if status, _, stderr := execute(t.Context(), "cancel", "job-1", "--url", url); status != 1 || !strings.Contains(stderr, "already ended") {
		t.Errorf("again: status %d\n%s", status, stderr)
	}
	if status, _, stderr := execute(t.Context(), "cancel", "job-9", "--url", url); status != 1 || !strings.Contains(stderr, "pipestreamer list --jobs") {
		t.Errorf("an unknown job: status %d\n%s", status, stderr)
	}
}

func TestShowFollow(t *testing.T) {
	jobs, url := daemonOf(t)
	startJob(t, jobs)
	// Ctrl-C ends the following, not the job.
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	go func() { awaitSubscriber(t, jobs); interrupt() }()
	status, _, stderr := execute(ctx, "show", "job-1", "--follow", "--url", url)
	if status != 130 || !strings.Contains(stderr, "the job goes on; to look at it: pipestreamer show job-1 --follow; to end it: pipestreamer cancel job-1\n") {
		t.Errorf("interrupted: status %d\n%s", status, stderr)
	}
	for jobs.Subscribers("job-1") != 0 && t.Context().Err() == nil {
		time.Sleep(time.Millisecond)
	}
	if r, err := jobs.Job("job-1"); err != nil || r.State != job.StateRunning {
		t.Errorf("the job is %s, %v; expected running", r.State, err)
	}
	// The end of the job is the end of the verb.
	go func() { awaitSubscriber(t, jobs); jobs.Finish("job-1", job.StateLost) }()
	status, stdout, stderr := execute(t.Context(), "show", "job-1", "--follow", "--url", url)
	if status != 4 || !strings.Contains(stdout, "lost") || !strings.Contains(stderr, "backup of HXE is lost") {
		t.Errorf("status %d\n%s\n%s", status, stdout, stderr)
	}
}

// TestLostContact shows what a person reads while the daemon is gone, and that
// nothing is promised about the job.
func TestLostContact(t *testing.T) {
	var stderr bytes.Buffer
	a := &app{stderr: &stderr, output: "text"}
	client, err := httpapi.NewClient(httpapi.ClientOptions{Socket: t.TempDir() + "/none.sock", Patience: 20 * time.Millisecond, Pause: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	record := job.Record{ID: "job-1", Action: job.ActionBackup, Database: "HXE"}
	err = a.watch(client, record, "", func(show func(job.Record)) (job.Record, error) { return client.Follow(t.Context(), "job-1", show) })
	f, is := errors.AsType[*failure](err)
	if !is || f.status != statusFailed || f.hint != "start the daemon, then: pipestreamer show job-1" {
		t.Errorf("watch: %v, expected a failure with a hint", err)
	}
	if n := strings.Count(stderr.String(), "lost contact with the daemon (reach the daemon: "); n != 1 || !strings.Contains(stderr.String(), "), trying again until ") {
		t.Errorf("the loss is told %d times, expected once:\n%s", n, stderr.String())
	}
}

// TestLines shows how often progress is told without a terminal.
func TestLines(t *testing.T) {
	for name, test := range map[string]struct {
		took     time.Duration
		min, max int
	}{
		"a second": {time.Second, 10, 13},
		"a minute": {time.Minute, 20, 45},
		"a day":    {24 * time.Hour, 24 * 59, 24*60 + 60},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var stderr bytes.Buffer
				p := (&app{stderr: &stderr, output: "text"}).newProgress(job.Record{ID: "job-1"})
				const steps = 20000
				for i := range steps {
					p.show(job.Record{Stage: job.StageStream, Streams: []job.Progress{{Stream: backup.Stream{EstimatedSize: steps}, Bytes: int64(i)}}})
					time.Sleep(test.took / steps)
				}
				if n := strings.Count(stderr.String(), "\n"); n < test.min || n > test.max {
					t.Errorf("%d lines, expected %d to %d:\n%s", n, test.min, test.max, stderr.String())
				}
			})
		})
	}
}
