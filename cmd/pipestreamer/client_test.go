package main

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/vbauerster/mpb/v8"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/internal/httpapi"
	"github.com/pipestreamer/pipestreamer/internal/httpapi/apitest"
	"github.com/pipestreamer/pipestreamer/internal/job"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
	"github.com/pipestreamer/pipestreamer/pkg/verify"
)

// daemonOf serves jobs that the test moves.
func daemonOf(t *testing.T) (jobs *apitest.Jobs, url string) {
	t.Helper()
	leaks := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, leaks) })
	jobs = new(apitest.Jobs)
	server := httptest.NewServer(httpapi.New(jobs, httpapi.Options{}, zap.NewNop(), httpapi.NewMetrics(prometheus.NewRegistry())).Handler(apitest.Operator))
	t.Cleanup(server.Close)
	return jobs, server.URL
}

func execute(ctx context.Context, args ...string) (status int, stdout, stderr string) {
	var out, err bytes.Buffer
	status = run(ctx, args, nil, &out, &err)
	return status, out.String(), err.String()
}

func stored(database string, id int64) *backup.Manifest {
	sum := strings.Repeat("ab", 32)
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return &backup.Manifest{
		Version: 1, Tool: "test", JobID: "j", SID: "HXE", Database: database, Kind: backup.KindComplete, BackupID: id,
		Directory: "/backup", Prefix: "P", HANAVersion: "2.00.088", StartedAt: at, FinishedAt: at,
		Streams: []backup.ManifestStream{{
			StreamID: backup.StreamID{VolumeID: 3, PartID: 1}, Service: "indexserver", Host: "h", Path: "/backup/P_databackup_3_1", Size: 5 << 20, SHA256: sum,
			Objects: []backup.Object{{Key: "HXE/" + database + "/data/P/3_1", Size: 5 << 20, SHA256: sum, Parts: []backup.Part{{Size: 5 << 20, SHA256: sum}}}},
		}},
	}
}

// TestHowAJobEnds shows the exit status of each end, and what a person reads.
func TestHowAJobEnds(t *testing.T) {
	tests := []struct {
		name   string
		args   []string
		end    func(*job.Record)
		status int
		stdout string
		stderr string
	}{
		{
			name: "backup succeeds", args: []string{"backup", "--database", "HXE"},
			end: func(r *job.Record) {
				r.State, r.Stage, r.BackupID = job.StateSucceeded, job.StageDone, 1700000000000
				r.Streams = []job.Progress{{Stream: backup.Stream{StreamID: backup.StreamID{VolumeID: 3, PartID: 1}, Service: "indexserver", EstimatedSize: 10}, Bytes: 2048, Stored: 2048, Done: true}}
			},
			status: 0, stdout: "1700000000000", stderr: "done: 2.0 KiB of about 2.0 KiB in 1 stream\n",
		},
		{
			name: "backup fails", args: []string{"backup", "--database", "HXE"},
			end: func(r *job.Record) {
				r.State = job.StateFailed
				r.Error = &job.Error{Stage: job.StageStream, Stream: "3_1", Code: "upload_failed", Message: "upload HXE/HXE/data/P/3_1: 403\n\tsecond line", Hint: "Mend the store."}
				r.Consequences = []string{"HANA error 447: broken pipe"}
			},
			status: 1, stderr: "pipestreamer: backup of HXE failed (see above; again with pipestreamer show job-1)\n",
			stdout: "cause        stream 3_1: upload HXE/HXE/data/P/3_1: 403\n" +
				"              second line\n" +
				"code         upload_failed\n" +
				"what to do   Mend the store.\n" +
				"followed by  HANA error 447: broken pipe\n",
		},
		{
			name: "backup is lost", args: []string{"backup", "--database", "HXE"},
			end: func(r *job.Record) { r.State, r.BackupID = job.StateLost, 1700000000000 }, status: 4, stderr: "backup of HXE is lost (see above",
			stdout: "HANA's catalog lists backup 1700000000000 as successful, the store does not have it, so it cannot be restored.\n" +
				"            Deltas must not be based on it: start a new complete backup now (pipestreamer backup --database HXE).\n",
		},
		{
			name: "somebody else cancels", args: []string{"backup", "--database", "HXE"},
			end: func(r *job.Record) { r.State = job.StateCanceled }, status: 130, stdout: "canceled", stderr: "backup of HXE was canceled (see above",
		},
		{
			name: "restore leaves its tenant stopped", args: []string{"restore", "--database", "HXE", "--backup", "latest"},
			end: func(r *job.Record) { r.State, r.TenantStopped = job.StateCanceled, true }, status: 130,
			stdout: "attention  tenant HXE is stopped", stderr: "\ntenant HXE is stopped and not usable until a restore succeeds\n",
		},
		{
			name: "verification by sample", args: []string{"verify", "--database", "HXE", "--backup", "latest", "--sample", "2"},
			end: func(r *job.Record) { r.State = job.StateSucceeded }, stdout: "sampled 2 parts per object, not every byte",
		},
		{
			name: "verification has findings", args: []string{"verify", "--database", "HXE", "--backup", "latest", "--sample", "2"},
			end: func(r *job.Record) {
				r.State = job.StateFailed
				r.Findings = []verify.Finding{{Code: "object_missing", Severity: verify.SeverityError, Key: "k", Message: "the object is not there"}}
				r.Error = &job.Error{Stage: job.StageStream, Code: "findings", Message: "findings: 1"}
			},
			status: 3, stdout: "object_missing: the object is not there k", stderr: "verification of HXE",
		},
		{
			name: "restore of SYSTEMDB", args: []string{"restore", "--database", "SYSTEMDB", "--backup", "1700000000001"},
			end: func(r *job.Record) {
				r.Command, r.State = `recoverSys.py --command="RECOVER DATA …"`, job.StateSucceeded
			},
			status: 0, stdout: "succeeded", stderr: "while pipestreamer serves the streams:\n\n  recoverSys.py --command=\"RECOVER DATA …\"\n",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			jobs, url := daemonOf(t)
			jobs.SetBackups(nil, stored("SYSTEMDB", 1700000000001), stored("HXE", 1700000000000))
			jobs.OnStart(func(r job.Record) { jobs.Change(r.ID, test.end) })
			status, stdout, stderr := execute(t.Context(), append(test.args, "--url", url)...)
			if n := strings.Count(stdout+stderr, "Mend the store"); n > 1 {
				t.Errorf("the same hint is shown %d times", n)
			}
			if status != test.status || !strings.Contains(stdout, test.stdout) || !strings.Contains(stderr, test.stderr) {
				t.Errorf("status %d, expected %d\nstdout %s\nstderr %s", status, test.status, stdout, stderr)
			}
		})
	}
}

func TestJobAsJSON(t *testing.T) {
	jobs, url := daemonOf(t)
	jobs.OnStart(func(r job.Record) {
		jobs.Change(r.ID, func(r *job.Record) {
			r.State, r.Error = job.StateLost, &job.Error{Stage: job.StageCommit, Code: "commit_failed", Message: "m", Hint: "h"}
		})
	})
	status, stdout, stderr := execute(t.Context(), "backup", "--database", "HXE", "--url", url, "-o", "json")
	var record job.Record
	if err := json.Unmarshal([]byte(stdout), &record); err != nil || record.State != job.StateLost {
		t.Errorf("stdout %s: %v", stdout, err)
	}
	var document struct {
		Error  string          `json:"error"`
		Status int             `json:"exit_status"`
		Hint   string          `json:"hint"`
		JobID  string          `json:"job_id"`
		Code   string          `json:"code"`
		Job    json.RawMessage `json:"job"`
	}
	err := json.Unmarshal([]byte(stderr), &document)
	if err != nil || document.Error != "backup of HXE: lost: commit: m" || document.Hint != "h" || document.JobID != "job-1" || document.Code != "commit_failed" || document.Job != nil {
		t.Errorf("stderr %s: %v", stderr, err)
	}
	if status != 4 || document.Status != 4 {
		t.Errorf("status %d, in JSON %d, expected 4", status, document.Status)
	}
}

// TestInterrupt is Ctrl-C while a job is followed.
func TestInterrupt(t *testing.T) {
	for _, args := range [][]string{{"backup", "--database", "HXE"}, {"restore", "--database", "HXE", "--backup", "latest"}, {"verify", "--database", "HXE", "--backup", "latest"}} {
		t.Run(args[0], func(t *testing.T) {
			jobs, url := daemonOf(t)
			jobs.SetBackups(nil, stored("HXE", 1700000000000))
			ctx, interrupt := context.WithCancel(t.Context())
			defer interrupt()
			jobs.OnStart(func(job.Record) {
				for jobs.Subscribers("job-1") == 0 && t.Context().Err() == nil {
					time.Sleep(time.Millisecond)
				}
				interrupt()
			})
			status, _, stderr := execute(ctx, append(args, "--url", url)...)
			if r, err := jobs.Job("job-1"); err != nil || r.State != job.StateCanceled {
				t.Errorf("the job is %s, %v; expected canceled", r.State, err)
			}
			if status != 130 || !strings.Contains(stderr, "canceled") {
				t.Errorf("status %d, stderr %s; expected 130", status, stderr)
			}
		})
	}
}

// TestKeepRunning is a signal to a command that was told to leave its job alone.
func TestKeepRunning(t *testing.T) {
	for _, args := range [][]string{{"backup", "--database", "HXE"}, {"restore", "--database", "HXE", "--backup", "latest"}, {"verify", "--database", "HXE", "--backup", "latest"}} {
		t.Run(args[0], func(t *testing.T) {
			jobs, url := daemonOf(t)
			jobs.SetBackups(nil, stored("HXE", 1700000000000))
			ctx, interrupt := context.WithCancel(t.Context())
			defer interrupt()
			jobs.OnStart(func(job.Record) { awaitSubscriber(t, jobs); interrupt() })
			args = append(args, "--keep-running", "--idempotency-key", "k", "--url", url)
			status, _, stderr := execute(ctx, args...)
			const want = "pipestreamer: no longer following job job-1\n" +
				"  what to do: the job goes on; to look at it: pipestreamer show job-1 --follow; to end it: pipestreamer cancel job-1\n"
			if status != 130 || !strings.HasSuffix(stderr, want) {
				t.Errorf("status %d, stderr %s; expected 130 and %s", status, stderr, want)
			}
			for jobs.Subscribers("job-1") != 0 && t.Context().Err() == nil {
				time.Sleep(time.Millisecond)
			}
			if r, err := jobs.Job("job-1"); err != nil || r.State != job.StateRunning {
				t.Errorf("the job is %s, %v; expected running", r.State, err)
			}
			// The next one with the same key follows it to its end.
			go func() { awaitSubscriber(t, jobs); jobs.Finish("job-1", job.StateSucceeded) }()
			if status, stdout, stderr := execute(t.Context(), args...); status != 0 || !strings.Contains(stdout, "job-1") {
				t.Errorf("again: status %d\n%s\n%s", status, stdout, stderr)
			}
		})
	}
	if status, _, stderr := execute(t.Context(), "backup", "--database", "HXE", "--keep-running", "--detach"); status != 2 || !strings.Contains(stderr, "keep-running") {
		t.Errorf("beside --detach: status %d\n%s", status, stderr)
	}
}

func TestListSaysWhoAsked(t *testing.T) {
	jobs, url := daemonOf(t)
	startJob(t, jobs)
	jobs.Change("job-1", func(r *job.Record) { r.RequestedBy = "token:nightly" })
	status, stdout, stderr := execute(t.Context(), "list", "--jobs", "-o", "json", "--url", url)
	var records []map[string]any
	if err := json.Unmarshal([]byte(stdout), &records); err != nil || status != 0 || len(records) != 1 || records[0]["requested_by"] != "token:nightly" {
		t.Errorf("status %d, %v\n%s\n%s", status, err, stdout, stderr)
	}
}

// TestInterruptedBeforeTheAnswer has a daemon that takes a request and is slow.
func TestInterruptedBeforeTheAnswer(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // only then is it noticed that the client goes away
		interrupt()
		<-r.Context().Done()
	}))
	defer server.Close()
	status, _, stderr := execute(ctx, "backup", "--database", "HXE", "--url", server.URL)
	if status != 130 || !strings.Contains(stderr, "interrupted before the daemon had answered") || !strings.Contains(stderr, "the job may run nevertheless: pipestreamer list --jobs") {
		t.Errorf("status %d, expected 130\n%s", status, stderr)
	}
}

func TestDetach(t *testing.T) {
	jobs, url := daemonOf(t)
	for range 2 { // the second one is the same request again
		status, stdout, stderr := execute(t.Context(), "backup", "--database", "HXE", "--detach", "--idempotency-key", "nightly", "--url", url)
		if status != 0 || stdout != "job-1\n" || stderr != "" {
			t.Errorf("status %d, stdout %q, stderr %q", status, stdout, stderr)
		}
	}
	if r, err := jobs.Job("job-1"); err != nil || r.State != job.StateRunning {
		t.Errorf("the job is %s, %v; expected running", r.State, err)
	}
	status, _, stderr := execute(t.Context(), "backup", "--database", "HXE", "--url", url)
	if status != 1 || !strings.Contains(stderr, "database HXE is busy with job job-1\n  what to do: wait for that job (pipestreamer show job-1 --follow), or cancel it (pipestreamer cancel job-1)\n") {
		t.Errorf("status %d, stderr %s", status, stderr)
	}
}

func TestListAndShow(t *testing.T) {
	jobs, url := daemonOf(t)
	jobs.SetBackups(nil, stored("HXE", 1700000000000), stored("SYSTEMDB", 1700000000001))
	jobs.SetUnreadable(job.UnreadableManifest{Database: "HXE", Key: "HXE/HXE/manifests/1600000000000.json", Error: "read manifest HXE/HXE/manifests/1600000000000.json: cut short"})
	if _, err := jobs.StartBackup(t.Context(), job.BackupRequest{Database: "HXE"}, ""); err != nil {
		t.Fatal(err)
	}
	jobs.Finish("job-1", job.StateSucceeded)
	const unreadable = "a backup of HXE is not listed: read manifest HXE/HXE/manifests/1600000000000.json: cut short\n"
	tests := []struct {
		name   string
		args   []string
		status int
		stdout string
		stderr string
	}{
		{name: "backups", args: []string{"list"}, stdout: "1700000000001  SYSTEMDB  complete  2026-01-02T03:04:05Z  1        5.0 MiB"},
		{name: "backups of one", args: []string{"list", "--database", "HXE", "-o", "json"}, stdout: `"backup_id": 1700000000000`},
		{name: "what is not listed", args: []string{"list"}, stderr: unreadable},
		{name: "what is not listed, as JSON", args: []string{"list", "-o", "json"}, stderr: `{"warning":"a backup of HXE is not listed: `},
		{name: "jobs", args: []string{"list", "--jobs", "--database", "hxe"}, stdout: "job-1  backup  HXE       succeeded  plan   2026-01-02T03:04:05Z  1m0s"},
		{name: "jobs of another", args: []string{"list", "--jobs", "--database", "X"}, stderr: "no jobs of X\n"},
		{name: "backups of an unknown database", args: []string{"list", "--database", "NOPE"}, stderr: "no backups of NOPE\n"},
		{name: "the same as JSON", args: []string{"list", "--database", "NOPE", "-o", "json"}, stdout: "[]\n"},
		{name: "job", args: []string{"show", "job-1"}, stdout: "state     succeeded"},
		{name: "backup", args: []string{"show", "--database", "HXE", "--backup", "latest"}, stdout: "HXE/HXE/data/P/3_1"},
		{name: "unknown job", args: []string{"show", "job-9"}, status: 1, stderr: "no such job\n  what to do: pipestreamer list --jobs shows"},
		{name: "unknown backup", args: []string{"show", "--database", "HXE", "--backup", "7"}, status: 1, stderr: "what to do: pipestreamer list shows"},
		{name: "bad name", args: []string{"list", "--database", "a'b"}, status: 2, stderr: "database: "},
		{name: "bad name in JSON", args: []string{"list", "--database", "a'b", "-o", "json"}, status: 2, stderr: `"problem":{"type":"urn:pipestreamer:problem:invalid_request"`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			status, stdout, stderr := execute(t.Context(), append(test.args, "--url", url)...)
			if status != test.status || !strings.Contains(stdout, test.stdout) || !strings.Contains(stderr, test.stderr) {
				t.Errorf("status %d, expected %d\nstdout %s\nstderr %s", status, test.status, stdout, stderr)
			}
		})
	}
	_, stdout, _ := execute(t.Context(), "show", "--database", "HXE", "--backup", "latest", "-o", "json", "--url", url)
	var m backup.Manifest
	if err := json.Unmarshal([]byte(stdout), &m); err != nil || m.BackupID != 1700000000000 {
		t.Errorf("manifest as JSON: %v\n%s", err, stdout)
	}
}

// TestBars draws what a terminal shows, and must come to an end although one
// stream does not.
func TestBars(t *testing.T) {
	leaks := goleak.IgnoreCurrent()
	var screen lockedBuffer
	a := &app{stderr: &screen, output: "text"}
	p := a.newProgress(job.Record{ID: "job-1", Action: job.ActionRestore, Database: "SYSTEMDB"})
	p.bars = mpb.New(mpb.WithOutput(&screen), mpb.WithAutoRefresh(), mpb.WithWidth(100))
	r := job.Record{Stage: job.StageStream, Streams: []job.Progress{
		{Stream: backup.Stream{StreamID: backup.StreamID{VolumeID: 3, PartID: 1}, Service: "indexserver", EstimatedSize: 4 << 20}, Bytes: 1 << 20},
		{Stream: backup.Stream{StreamID: backup.StreamID{VolumeID: 0, PartID: 1}, Service: "topology", EstimatedSize: 10}, Bytes: 2 << 10, Done: true},
	}}
	p.show(r)
	r.Command = "recoverSys.py"
	p.show(r)
	p.end()
	for _, want := range []string{"3_1 indexserver", "1.0 MiB / 4.0 MiB", "0_1 topology", "2.0 KiB / 2.0 KiB", "recoverSys.py"} {
		if !strings.Contains(screen.String(), want) {
			t.Errorf("the screen does not show %q:\n%s", want, screen.String())
		}
	}
	goleak.VerifyNone(t, leaks)
}

func TestByteText(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 5 << 20: "5.0 MiB", 3 << 40: "3.0 TiB", 1<<63 - 1: "8.0 EiB"} {
		if got := byteText(n); got != want {
			t.Errorf("byteText(%d) = %q, expected %q", n, got, want)
		}
	}
}

// TestUnreachable: the advice fits what is wrong, and the error says it without the
// address that the client makes up.
func TestUnreachable(t *testing.T) {
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	secured := httptest.NewUnstartedServer(http.NotFoundHandler())
	secured.Config.ErrorLog = log.New(io.Discard, "", 0) // of the handshakes that fail
	secured.StartTLS()
	defer secured.Close()
	authority := filepath.Join(t.TempDir(), "ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secured.Certificate().Raw})
	if err := os.WriteFile(authority, text, 0o600); err != nil {
		t.Fatal(err)
	}
	port := secured.Listener.Addr().(*net.TCPAddr).Port
	tests := []struct {
		name   string
		flags  []string
		stderr []string
	}{
		{"no daemon", []string{"--socket", "/does/not/exist.sock"}, []string{
			"pipestreamer: reach the daemon: dial unix /does/not/exist.sock: connect: no such file or directory\n",
			"check that pipestreamer serve runs and listens on socket /does/not/exist.sock",
		}},
		{"an authority that is not known", []string{"--url", secured.URL}, []string{
			"signed by unknown authority", "the daemon answers", "--ca-file", "its certificate is for example.com, ", "127.0.0.1",
		}},
		{"another name", []string{"--url", fmt.Sprintf("https://localhost:%d", port), "--ca-file", authority}, []string{"name one of its names in --url; its certificate is for example.com, "}},
		{"https to http", []string{"--url", strings.Replace(plain.URL, "http://", "https://", 1)}, []string{"speaks http: --url " + plain.URL}},
		{"http to https", []string{"--url", strings.Replace(secured.URL, "https://", "http://", 1)}, []string{"speaks https there: --url https://host:port"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			status, _, stderr := execute(t.Context(), append([]string{"list", "--jobs"}, test.flags...)...)
			for _, want := range test.stderr {
				if status == 0 || !strings.Contains(stderr, want) {
					t.Errorf("status %d, expected %q in\n%s", status, want, stderr)
				}
			}
			if test.name != "no daemon" && strings.Contains(stderr, "serve runs") {
				t.Errorf("the daemon runs: %s", stderr)
			}
		})
	}
}
