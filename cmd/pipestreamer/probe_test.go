package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipestreamer/pipestreamer/internal/job"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// probed is the report of a HANA that refuses the pipe of one file.
func probed() *job.ProbeReport {
	size, other := int64(155648), int64(83894273)
	stream := func(volume int, change func(*job.ProbeStream)) job.ProbeStream {
		s := job.ProbeStream{StreamID: backup.StreamID{VolumeID: volume, PartID: 1}, Service: "nameserver"}
		change(&s)
		return s
	}
	return &job.ProbeReport{
		MaxSize: job.DefaultProbeSize, HANAVersion: "2.00.088.00.1762790000", Recommendation: job.DoorSpool, Reason: "Pipes are refused.",
		Attempts: []job.ProbeAttempt{
			{Door: job.DoorAuto, State: job.StateFailed, Error: "stream 1_1: refused", TotalSeconds: 0.21, NamesUnseen: "too many watches", Streams: []job.ProbeStream{
				stream(1, func(s *job.ProbeStream) { s.Opened, s.DirectOpens, s.EmptyOpens = job.NameHidden, 1, 2 }),
			}},
			{Door: job.DoorSpool, State: job.StateSucceeded, BackupID: 1755519941920, TotalSeconds: 7.285, FirstByteSeconds: 0.5, AnswerSeconds: 0.012, Streams: []job.ProbeStream{
				stream(0, func(s *job.ProbeStream) {
					s.Opened, s.Renamed, s.Door, s.Opens, s.Bytes, s.CatalogBytes, s.DatabaseUUID = job.NameHidden, true, backup.DoorSpool, 1, size, &size, "u"
				}),
				stream(1, func(s *job.ProbeStream) {
					s.Opened, s.Door, s.Opens, s.Bytes, s.CatalogBytes, s.Bypass = job.NameFinal, backup.DoorSpool, 1, 83894272, &other, "a file"
					s.Header = "its header carries no database UUID"
				}),
				stream(9, func(s *job.ProbeStream) { s.Door, s.Opens, s.Bytes, s.Extra = backup.DoorFIFO, 1, 4096, true }),
			}},
		},
	}
}

// TestProbe shows what a person gets to read, and what a program does.
func TestProbe(t *testing.T) {
	jobs, url := daemonOf(t)
	jobs.OnStart(func(r job.Record) {
		jobs.Change(r.ID, func(r *job.Record) {
			asked := r.Probe.MaxSize
			r.State, r.Stage, r.FinishedAt, r.Probe = job.StateSucceeded, job.StageDone, r.StartedAt.Add(time.Minute), probed()
			r.Probe.MaxSize = asked
		})
	})
	status, stdout, stderr := execute(t.Context(), "probe", "--database", "systemdb", "--url", url)
	if status != 0 {
		t.Fatalf("exit status %d: %s", status, stderr)
	}
	want, err := os.ReadFile(filepath.Join("testdata", "probe.txt"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), stdout); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if _, again, _ := execute(t.Context(), "show", "job-1", "--url", url); again != stdout {
		t.Errorf("show gives\n%s", again)
	}

	status, stdout, stderr = execute(t.Context(), "probe", "--database", "HXE", "--max-size", "1MiB", "-o", "json", "--url", url)
	var record job.Record
	if err := json.Unmarshal([]byte(stdout), &record); err != nil || status != 0 {
		t.Fatalf("exit status %d, %v: %s", status, err, stderr)
	}
	report := probed()
	report.MaxSize = 1 << 20
	if diff := cmp.Diff(report, record.Probe); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestProbeUsage(t *testing.T) {
	t.Parallel()
	for want, args := range map[string][]string{
		"--database is required": {"probe"},
		"expected a size":        {"probe", "--database", "HXE", "--max-size", "much"},
	} {
		if status, _, stderr := execute(t.Context(), args...); status != 2 || !strings.Contains(stderr, want) {
			t.Errorf("%v: exit status %d, %s", args, status, stderr)
		}
	}
}
