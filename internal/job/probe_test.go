package job

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// probeOf runs a probe to its end.
func (w whole) probeOf(t *testing.T, database string) Record {
	t.Helper()
	record, err := w.StartProbe(t.Context(), ProbeRequest{Database: database}, "")
	if err != nil {
		t.Fatal(err)
	}
	return await(t, w.Conductor, record.ID)
}

// sketch writes a stream of a report in one line.
func sketch(s *ProbeStream) string {
	word := func(set bool, text string) string {
		if set {
			return " " + text
		}
		return ""
	}
	text := fmt.Sprintf("%s opened %s via %s", s.StreamID, s.Opened, s.Door)
	return text + word(s.Renamed, "renamed") + word(s.DirectOpens > 0, "direct") + word(s.EmptyOpens > 0, "empty") +
		word(s.Bypass != "", "bypass") + word(s.Extra, "extra") + word(s.CatalogBytes == nil, "uncatalogued") +
		word(s.CatalogBytes != nil && *s.CatalogBytes != s.Bytes, "other size") + word(s.Header != "", "header") + word(s.DatabaseUUID != "", "uuid")
}

func sketches(a *ProbeAttempt) []string {
	var lines []string
	for i := range a.Streams {
		lines = append(lines, sketch(&a.Streams[i]))
	}
	return lines
}

// TestProbeTellsHowHANAWrites probes HANAs of every kind that anybody thinks
// possible, behind a door that is configured to be another one.
func TestProbeTellsHowHANAWrites(t *testing.T) {
	t.Parallel()
	all := func(format string) []string {
		return []string{fmt.Sprintf(format, "0_1"), fmt.Sprintf(format, "2_1"), fmt.Sprintf(format, "3_1")}
	}
	for _, test := range []struct {
		profile  hanasim.Profile
		attempts [][]string
		door     Door
		refused  bool
		reason   string
	}{
		{hanasim.Plain, [][]string{all("%s opened final via fifo uuid")}, DoorFIFO, false, "every file into its pipe"},
		{hanasim.Dotname, [][]string{all("%s opened hidden via fifo renamed uuid")}, DoorFIFO, false, "every file into its pipe"},
		{hanasim.DirectFallback, [][]string{all("%s opened hidden via fifo renamed direct empty uuid")}, DoorFIFO, false, "every file into its pipe"},
		{hanasim.Offset, [][]string{all("%s opened hidden via fifo renamed uuid")}, DoorFIFO, false, "every file into its pipe"},
		{hanasim.Replace, [][]string{all("%s opened hidden via spool renamed bypass uuid")}, DoorSpool, false, "all 3 files past their pipes"},
		{hanasim.Direct, [][]string{nil, all("%s opened hidden via spool renamed uuid")}, DoorSpool, true, "O_DIRECT only"},
	} {
		t.Run(string(test.profile), func(t *testing.T) {
			t.Parallel()
			w := startWhole(t, throughDoor(DoorSpool, test.profile))
			record := w.probeOf(t, "HXE")
			if record.State != StateSucceeded || record.Manifest == "" || !strings.HasPrefix(record.Prefix, "PROBE_HXE_") {
				t.Fatalf("%+v because of %v", record, record.Error)
			}
			report := record.Probe
			if report.Recommendation != test.door || !strings.Contains(report.Reason, test.reason) || report.HANAVersion != hanasim.Version {
				t.Errorf("it recommends %q for %s: %s", report.Recommendation, report.HANAVersion, report.Reason)
			}
			if len(report.Attempts) != len(test.attempts) {
				t.Fatalf("%d attempts, expected %d", len(report.Attempts), len(test.attempts))
			}
			last := &report.Attempts[len(report.Attempts)-1]
			if diff := cmp.Diff(test.attempts[len(test.attempts)-1], sketches(last)); diff != "" {
				t.Errorf("streams (-want +got):\n%s", diff)
			}
			if last.State != StateSucceeded || last.BackupID != record.BackupID || last.TotalSeconds <= 0 || last.NamesUnseen != "" {
				t.Errorf("last attempt: %+v", last)
			}
			if piped := test.door == DoorFIFO; piped != (last.FirstByteSeconds > 0) || last.FirstByteSeconds > last.TotalSeconds || last.AnswerSeconds > last.TotalSeconds {
				t.Errorf("times of the last attempt: %+v", last)
			}
			known, err := KnownDoors(w.state)
			if err != nil {
				t.Fatal(err)
			}
			want := map[string]DoorKnowledge{hanasim.Version: {
				Refused: test.refused, Job: record.ID, At: known[hanasim.Version].At, Recommendation: test.door, Summary: report.Reason,
			}}
			if diff := cmp.Diff(want, known); diff != "" || known[hanasim.Version].At.IsZero() {
				t.Errorf("what is known (-want +got):\n%s", diff)
			}
			if left := names(t, w.pipes); len(left) > 0 {
				t.Errorf("left in the backup directory: %v", left)
			}
			w.expectRestored(t, RestoreRequest{Database: "HXE", Backup: Latest})
		})
	}
}

// The first attempt at a HANA that refuses pipes tells which name it tried.
func TestProbeOfAHANAThatRefusesPipes(t *testing.T) {
	t.Parallel()
	w := startWhole(t, throughDoor(DoorAuto, hanasim.Direct))
	record := w.probeOf(t, "SYSTEMDB")
	if record.State != StateSucceeded || len(record.Probe.Attempts) != 2 {
		t.Fatalf("%+v because of %v", record.Probe, record.Error)
	}
	first := record.Probe.Attempts[0]
	if first.Door != DoorAuto || first.State != StateFailed || !strings.Contains(first.Error, "O_DIRECT") || record.Probe.Attempts[1].Door != DoorSpool {
		t.Errorf("attempts: %+v", record.Probe.Attempts)
	}
	refused := 0
	for i := range first.Streams {
		s := &first.Streams[i]
		if s.DirectOpens > 0 {
			refused++
		}
		if s.Door != "" || s.Renamed || s.Header != "" || s.DirectOpens > 0 && s.Opened != NameHidden {
			t.Errorf("a stream of the first attempt: %+v", s)
		}
	}
	if refused == 0 {
		t.Errorf("no refused opening in %+v", first.Streams)
	}
}

// HANA may write files that nobody could know of.
func TestProbeTellsOfMoreFiles(t *testing.T) {
	t.Parallel()
	w := startWhole(t, throughDoor(DoorFIFO, hanasim.Dotname))
	w.set(t, "fail", "extra:9:64KiB")
	record := w.probeOf(t, "HXE")
	if record.State != StateSucceeded {
		t.Fatal(record.Error)
	}
	report := record.Probe
	if report.Recommendation != DoorAuto || !strings.Contains(report.Reason, "more files (1) for which nobody could make one") {
		t.Errorf("it recommends %q: %s", report.Recommendation, report.Reason)
	}
	lines := sketches(&report.Attempts[0])
	if len(lines) != 4 || lines[3] != "9_1 opened hidden via spool renamed extra uuid" {
		t.Errorf("streams: %q", lines)
	}
}

// A HANA that was updated, or tried on another file system, may use pipes after
// all: a probe finds that out, whatever was known.
func TestProbeForgetsThatPipesWereRefused(t *testing.T) {
	t.Parallel()
	w := startWhole(t, throughDoor(DoorAuto, hanasim.Direct))
	if record := w.backupOf(t, "SYSTEMDB"); record.State != StateSucceeded || record.Attempt != 2 {
		t.Fatalf("%s in attempt %d because of %v", record.State, record.Attempt, record.Error)
	}
	if !w.doors.refuses() {
		t.Fatal("it is not known that pipes are refused")
	}
	w.set(t, "profile", string(hanasim.Dotname))
	if record := w.probeOf(t, "SYSTEMDB"); record.Probe.Recommendation != DoorFIFO {
		t.Errorf("%+v because of %v", record.Probe, record.Error)
	}
	if w.doors.refuses() {
		t.Error("pipes are still known to be refused")
	}
	if record := w.backupOf(t, "SYSTEMDB"); record.State != StateSucceeded || record.Streams[0].Door != backup.DoorFIFO {
		t.Errorf("the next backup: %+v because of %v", record.Streams, record.Error)
	}
}

// What an older version has remembered is read.
func TestOldDoorsFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	text := `{"2.00.070": {"refused": true, "job_id": "j", "at": "2026-01-02T03:04:05Z"}}`
	if err := os.WriteFile(filepath.Join(dir, "doors.json"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	known, err := KnownDoors(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]DoorKnowledge{"2.00.070": {Refused: true, Job: "j", At: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}}
	if diff := cmp.Diff(want, known); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestProbeIsRefused(t *testing.T) {
	t.Parallel()
	w := startWhole(t, throughDoor(DoorAuto, hanasim.Dotname))
	for name, request := range map[string]ProbeRequest{"database": {Database: "a'b"}, "max_size": {Database: "HXE", MaxSize: -1}} {
		if _, err := w.StartProbe(t.Context(), request, ""); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%+v: %v", request, err)
		}
	}
	record, err := w.StartProbe(t.Context(), ProbeRequest{Database: "HXE", MaxSize: 1 << 20}, "")
	if err != nil {
		t.Fatal(err)
	}
	record = await(t, w.Conductor, record.ID)
	if record.State != StateFailed || record.Error.Code != CodePlan || record.Error.Stage != StagePlan || !strings.Contains(record.Error.Hint, "SYSTEMDB") {
		t.Errorf("%s because of %v, %q", record.State, record.Error, record.Error.Hint)
	}
	if record.Probe.Recommendation != "" || len(record.Probe.Attempts) > 0 || record.BackupID != 0 {
		t.Errorf("report %+v of backup %d", record.Probe, record.BackupID)
	}
}

// A probe that HANA takes for a good backup and the store does not have is as
// lost as any other, and recommends nothing.
func TestLostProbe(t *testing.T) {
	t.Parallel()
	w := startWhole(t, throughDoor(DoorAuto, hanasim.Dotname))
	w.set(t, "fail", "answer-failed")
	record := w.probeOf(t, "HXE")
	if record.State != StateLost || record.Probe.Recommendation != "" || len(record.Probe.Attempts) != 1 || record.Probe.Attempts[0].Error == "" {
		t.Errorf("%s, %+v", record.State, record.Probe)
	}
	if err := w.checkBase("HXE"); err == nil {
		t.Error("a delta is allowed on what the store does not have")
	}
	if known, err := KnownDoors(w.state); err != nil || len(known) > 0 {
		t.Errorf("it has learnt %v, %v", known, err)
	}
}

func FuzzNameEvents(f *testing.F) {
	f.Add(make([]byte, 16))
	f.Add([]byte{1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 200, 0, 0, 0, '.', 'P'})
	f.Fuzz(func(t *testing.T, buf []byte) {
		trails := nameTrails{owns: backup.Plan{Prefix: "P"}.Owns, byFile: make(map[string]nameTrail)}
		trails.take(buf)
		for file := range trails.byFile {
			if !strings.HasPrefix(file, "P_databackup_") {
				t.Errorf("a trail of %q", file)
			}
		}
	})
}

// A probe that the end of the daemon has interrupted is found out about as a
// backup is, and recommends nothing.
func TestInterruptedProbe(t *testing.T) {
	t.Parallel()
	w := startWhole(t, throughDoor(DoorAuto, hanasim.Dotname))
	record := w.probeOf(t, "SYSTEMDB")
	w.Close()
	undone := record
	undone.State, undone.Stage, undone.FinishedAt = StateRunning, StageStream, time.Time{}
	undone.Manifest, undone.BackupID, undone.Probe = "", 0, &ProbeReport{MaxSize: 1}
	if err := w.journal.save(entry{Record: undone}); err != nil {
		t.Fatal(err)
	}
	w.Conductor = w.again(t)
	got := await(t, w.Conductor, record.ID)
	if got.State != StateSucceeded || got.BackupID != record.BackupID || got.Probe.Recommendation != "" {
		t.Errorf("%s with backup %d, %+v because of %v", got.State, got.BackupID, got.Probe, got.Error)
	}
}
