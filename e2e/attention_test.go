package e2e

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipestreamer/pipestreamer/internal/job"
	"github.com/pipestreamer/pipestreamer/internal/logship"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
	"github.com/pipestreamer/pipestreamer/pkg/verify"
)

// knowledge is what the status page knows.
type knowledge struct {
	Now         time.Time           `json:"now"`
	Jobs        []job.Record        `json:"jobs,omitempty"`
	Logs        []logship.Status    `json:"logs,omitempty"`
	LogsTrouble string              `json:"logsTrouble,omitempty"`
	Recovery    map[string]recovery `json:"recovery,omitempty"`
	Connection  map[string]any      `json:"connection,omitempty"`
	Daemon      map[string]string   `json:"daemon,omitempty"`
	First       string              `json:"firstVersion,omitempty"`
	Problems    map[string]problem  `json:"problems,omitempty"`
}

type recovery struct {
	Data    *job.Recovery `json:"data,omitempty"`
	Problem *problem      `json:"problem,omitempty"`
}

type problem struct {
	Status int    `json:"status"`
	Text   string `json:"text"`
	Hint   string `json:"hint,omitempty"`
}

// advice is what it says; Database is the state of HXE then.
type advice struct {
	Level    string `json:"level"`
	Title    string `json:"title"`
	Todo     string `json:"todo"`
	Command  string `json:"command"`
	Database string `json:"database"`
}

// TestAttention tells the status page what the daemon knows, in the daemon's own
// types, and reads what it makes of it.
func TestAttention(t *testing.T) {
	t.Parallel()
	requireProgram(t, "node")
	now := time.Date(2026, 3, 1, 3, 0, 0, 0, time.UTC)
	began := 0
	ended := func(action job.Action, state job.State, change ...func(*job.Record)) job.Record {
		began++
		at := now.Add(-24*time.Hour + time.Duration(began)*time.Minute)
		r := job.Record{
			ID: "job-" + string(rune('a'+began-1)), Action: action, State: state, Stage: job.StageDone, Database: "HXE", Kind: backup.KindComplete,
			BackupID: 1700000000000 + int64(began), StartedAt: at, FinishedAt: at.Add(30 * time.Second),
		}
		if state == job.StateFailed || state == job.StateLost {
			r.Error = &job.Error{Code: "a_code", Message: "a message", Hint: "a hint", Stage: job.StageStream}
		}
		for _, c := range change {
			c(&r)
		}
		return r
	}
	running := func(change func(*job.Record)) job.Record {
		return ended(job.ActionBackup, job.StateRunning, func(r *job.Record) { r.FinishedAt = time.Time{} }, change)
	}
	delta := func(r *job.Record) { r.Kind = backup.KindDifferential }
	found := func(s verify.Severity) func(*job.Record) {
		return func(r *job.Record) {
			r.ID, r.BackupID, r.Findings = "job-v", 17, []verify.Finding{{Code: "x", Severity: s, Message: "m"}}
		}
	}
	warned := func(r *job.Record) { r.Warnings = []string{"make a complete backup now"} }
	ptr := func(n int64) *int64 { return &n }
	logs := func(change func(*logship.Status)) []logship.Status {
		s := logship.Status{Database: "HXE", RecoveryPoint: now.Add(-time.Minute)}
		change(&s)
		return []logship.Status{s}
	}
	const again = "pipestreamer backup --database HXE"
	tests := []struct {
		name string
		knowledge
		want  []advice
		point time.Time // zero: of no matter
	}{
		{name: "nothing is known"},
		{name: "all is well", knowledge: knowledge{Jobs: []job.Record{ended(job.ActionBackup, job.StateSucceeded)}, Logs: logs(func(*logship.Status) {})}},
		{name: "a failure that a success has followed", knowledge: knowledge{Jobs: []job.Record{ended(job.ActionBackup, job.StateFailed), ended(job.ActionBackup, job.StateSucceeded)}}},
		{name: "somebody cancelled", knowledge: knowledge{Jobs: []job.Record{ended(job.ActionBackup, job.StateCanceled)}}},
		{
			name: "the last backup failed", knowledge: knowledge{Jobs: []job.Record{
				ended(job.ActionBackup, job.StateSucceeded), ended(job.ActionBackup, job.StateFailed, func(r *job.Record) { r.ID = "job'; rm -rf /" }),
			}},
			want: []advice{{"bad", "The last backup of HXE failed", "a hint", `pipestreamer show 'job'\''; rm -rf /'`, "bad"}},
		},
		{
			name: "lost, and a delta since", knowledge: knowledge{Jobs: []job.Record{ended(job.ActionBackup, job.StateLost), ended(job.ActionBackup, job.StateSucceeded, delta)}},
			want: []advice{{"bad", "A backup of HXE is lost", "Make a complete backup now; deltas are refused until it has succeeded.", again, "bad"}},
		},
		{name: "lost, and a complete backup since", knowledge: knowledge{Jobs: []job.Record{ended(job.ActionBackup, job.StateLost), ended(job.ActionBackup, job.StateSucceeded)}}},
		{
			name: "nobody knows how it ended", knowledge: knowledge{Jobs: []job.Record{ended(job.ActionBackup, job.StateFailed, func(r *job.Record) { r.OutcomeUnknown = true })}},
			want: []advice{{"bad", "Nobody knows how a backup of HXE ended in HANA", "Look at M_BACKUP_CATALOG, then make a complete backup; deltas are refused until it has succeeded.", again, "bad"}},
		},
		{
			name: "a tenant is stopped", knowledge: knowledge{Jobs: []job.Record{ended(job.ActionRestore, job.StateFailed, func(r *job.Record) { r.TenantStopped = true })}},
			want: []advice{{
				"bad", "Tenant HXE is stopped", "It is not usable until a restore succeeds. See first what a restore takes, then run it without --dry-run.",
				"pipestreamer restore --database HXE --until latest --dry-run", "bad",
			}},
		},
		{
			name: "a verification with errors", knowledge: knowledge{Jobs: []job.Record{ended(job.ActionBackup, job.StateSucceeded), ended(job.ActionVerification, job.StateFailed, found(verify.SeverityError))}},
			want: []advice{{"bad", "Backup 17 of HXE: 1 finding in its verification", "Treat this backup as unusable and make a new one.", again, "bad"}},
		},
		{
			name: "a verification with errors, and a complete backup since", knowledge: knowledge{Jobs: []job.Record{ended(job.ActionVerification, job.StateFailed, found(verify.SeverityError)), ended(job.ActionBackup, job.StateSucceeded)}},
			want: []advice{{"warn", "Backup 17 of HXE: 1 finding in its verification", "A complete backup has succeeded since. Do not restore from the one with findings.", "pipestreamer show job-v", "warn"}},
		},
		{
			name: "the store is asked again", knowledge: knowledge{Jobs: []job.Record{running(func(r *job.Record) {
				r.Streams = []job.Progress{{StoreError: "away", Stalled: true, WaitingFor: job.SideStore}}
			})}},
			want: []advice{{
				"warn", "The store fails, and the backup of HXE asks it again",
				"Look at the store and the network. The job goes on by itself when the store answers in time, and fails otherwise (store.outageTolerance).", "", "warn",
			}},
		},
		{
			name: "HANA stands still", knowledge: knowledge{Jobs: []job.Record{running(func(r *job.Record) { r.Streams = []job.Progress{{Stalled: true, WaitingFor: job.SideHANA}} })}},
			want: []advice{{"warn", "Nothing moves in 1 stream of the backup of HXE", "Look at M_BACKUP_PROGRESS, M_JOB_PROGRESS and the trace of the service.", "", "warn"}},
		},
		{
			name: "the operator is waited for", knowledge: knowledge{Jobs: []job.Record{running(func(r *job.Record) { r.Command = "recoverSys.py" })}},
			want: []advice{{"warn", "A restore waits for you", "Run this now, as <sid>adm in HANA's container, while the streams are served:", "recoverSys.py", "warn"}},
		},
		{
			name: "the volume of the log backups is full", knowledge: knowledge{Logs: logs(func(s *logship.Status) { s.Lasts = ptr(0) })},
			want: []advice{{"bad", "HXE: the volume of the log backups is full", "HANA stands still when its log backups have no room: mend what keeps them from the store, or make room.", "", "bad"}},
		},
		{
			name: "the logs have every trouble", knowledge: knowledge{LogsTrouble: "no directory", Logs: logs(func(s *logship.Status) {
				s.StoreTrouble, s.VolumeTrouble, s.BaseTrouble, s.Lasts = "away", "unseen", "no base", ptr(3600)
				s.Broken = &backup.Break{At: now, Reason: "RECOVERY"}
				s.Gaps = []logship.Gap{{VolumeID: 2, AfterFile: "a", BeforeFile: "b"}}
				s.ConflictFiles, s.ProblemFiles, s.UnconfirmedFiles = 1, 2, 3
				s.Unconfirmed = []logship.Problem{{File: "f", Text: "t", Since: now.Add(-2 * time.Hour)}}
				s.DamagedIndexes = []string{"i"}
			})},
			want: []advice{
				{"bad", "Log backups cannot be found", "See to the directory of log backups: no log backup reaches the store until then.", "", "bad"},
				{"bad", "HXE: log backups do not reach the store", "Look at the store and the network. Log backups wait on the volume, and are tried again by themselves.", "", "bad"},
				{"bad", "HXE: new log backups cannot be seen", "See to the directory of log backups.", "", "bad"},
				{"bad", "HXE: the volume of the log backups is full in about 60 min", "HANA stands still when its log backups have no room: mend what keeps them from the store, or make room.", "", "bad"},
				{"bad", "HXE: the log has no data backup to go on from", "Make a complete backup.", again, "bad"},
				{"bad", "HXE: the history of the log is interrupted", "Nothing after that can be restored: make a complete backup now.", again, "bad"},
				{"bad", "HXE: 1 gap in the log", "Look for the missing files on the volume. If they are gone, make a complete backup now: nothing after a gap can be restored without one.", again, "bad"},
				{"bad", "HXE: 1 log backup with other content than the store has", "Two systems may write to one place in the store: compare hana.sid and store.root of both.", "", "bad"},
				{"warn", "HXE: 2 log backups cannot be read or removed", "See to the owner and the mode of the files.", "", "bad"},
				{"warn", "HXE: HANA's catalog does not confirm 3 log backups", "Look at M_BACKUP_CATALOG and the database's backup.log.", "", "bad"},
				{"warn", "HXE: 1 index file cannot be read", "The log backups in it are left out of recoveries: look at the object.", "", "bad"},
			},
		},
		{
			name: "no log backup for days", knowledge: knowledge{Logs: logs(func(s *logship.Status) { s.RecoveryPoint = now.Add(-72 * time.Hour) })},
			want: []advice{{"warn", "HXE: the newest point that can be restored is 3 d old", "Look at log_mode and log_backup_timeout_s:", "pipestreamer doctor --database HXE", "warn"}},
		},
		{
			name: "the shipper is ahead of the last look at the store",
			knowledge: knowledge{
				Logs:     logs(func(*logship.Status) {}),
				Recovery: map[string]recovery{"HXE": {Data: &job.Recovery{Database: "HXE", Point: now.Add(-time.Hour)}}},
			},
			point: now.Add(-time.Minute),
		},
		{
			name: "the shipper does not know what is missing", knowledge: knowledge{
				Logs:     logs(func(*logship.Status) {}),
				Recovery: map[string]recovery{"HXE": {Data: &job.Recovery{Database: "HXE", Point: now.Add(-time.Hour), Missing: []string{"k"}}}},
			},
			want: []advice{
				{"bad", "HXE: 1 object missing in the store", "Find out who removes objects (a lifecycle rule of the bucket?), then make a complete backup.", again, "bad"},
			},
			point: now.Add(-time.Hour),
		},
		{
			name: "objects are missing", knowledge: knowledge{Recovery: map[string]recovery{"HXE": {Data: &job.Recovery{Database: "HXE", Missing: []string{"k"}, Notes: []string{"n"}}}}},
			want: []advice{
				{"bad", "HXE: 1 object missing in the store", "Find out who removes objects (a lifecycle rule of the bucket?), then make a complete backup.", again, "bad"},
				{"warn", "HXE: 1 description in the store cannot be read", "They are left out of recoveries: look at the objects.", "", "bad"},
			},
		},
		{
			name: "the store does not answer", knowledge: knowledge{
				Recovery: map[string]recovery{"HXE": {Problem: &problem{Status: 504, Text: "late"}}}, Problems: map[string]problem{"v1/backups": {Status: 500, Text: "no", Hint: "h"}, "v1/jobs": {Status: 0}},
			},
			want: []advice{
				{"warn", "HXE: what can be restored is not known", "Look at the store and the network.", "", "warn"},
				{"warn", "v1/backups cannot be read", "h", "", "warn"},
			},
		},
		{
			name: "the connection is lost", knowledge: knowledge{Connection: map[string]any{"state": "lost", "problem": problem{Text: "refused"}}, Problems: map[string]problem{"v1/jobs": {Status: 500}}},
			want: []advice{{
				"bad", "The daemon does not answer",
				"Look at its log (kubectl logs), and whether the port is still forwarded. What is shown here is of before; the page tries again by itself.", "", "ok",
			}},
		},
		{
			name: "starting", knowledge: knowledge{Connection: map[string]any{"state": "lost", "problem": problem{Status: 503, Text: "starting", Hint: "h"}}},
			want: []advice{{"bad", "The daemon is not ready", "h", "", "ok"}},
		},
		{
			name: "not let in, and another version", knowledge: knowledge{
				Connection: map[string]any{"state": "refused", "problem": problem{Status: 401, Text: "no"}}, Daemon: map[string]string{"version": "2"}, First: "1",
			},
			want: []advice{
				{"bad", "The daemon does not let you in", "Reload the page and log in: the password is the token, the user name is of no matter.", "", "ok"},
				{"note", "The daemon is version 2 now", "Reload this page: it came from the version before.", "", "ok"},
			},
		},
		{
			name: "the store is asked again, and the daemon says for how long", knowledge: knowledge{Jobs: []job.Record{running(func(r *job.Record) {
				r.Streams = []job.Progress{{StoreError: "away", StoreErrorSince: now.Add(-5 * time.Minute), StoreErrorUntil: now.Add(10 * time.Minute), WaitingFor: job.SideStore}}
			})}},
			want: []advice{{
				"warn", "The store fails, and the backup of HXE asks it again",
				"Look at the store and the network. It has failed for 5 min. The job goes on by itself when the store answers within about 10 min, and fails otherwise (store.outageTolerance).", "", "warn",
			}},
		},
		{
			name: "a restore that asks for a backup", knowledge: knowledge{Jobs: []job.Record{ended(job.ActionBackup, job.StateSucceeded), ended(job.ActionRestore, job.StateSucceeded, warned), ended(job.ActionBackup, job.StateSucceeded, delta)}},
			want: []advice{{"note", "The last restore of HXE succeeded with 1 warning", "", "", "ok"}},
		},
		{
			name:      "a restore that asked for a backup, which was made",
			knowledge: knowledge{Jobs: []job.Record{ended(job.ActionRestore, job.StateSucceeded, warned), ended(job.ActionBackup, job.StateSucceeded)}},
		},
		{
			name: "the daemon was drained", knowledge: knowledge{
				Daemon: map[string]string{"version": "1", "draining_since": "2026-03-01T02:00:00Z"}, First: "1",
				Jobs: []job.Record{ended(job.ActionBackup, job.StateLost)},
			},
			want: []advice{
				{"bad", "The daemon takes no jobs", "If its pod is not about to end, restart the sidecar: nothing else lets it take jobs again.", "", "bad"},
				{"bad", "A backup of HXE is lost", "Make a complete backup now; deltas are refused until it has succeeded.", again, "bad"},
			},
		},
	}
	var in bytes.Buffer
	for i := range tests {
		tests[i].Now = now
		if err := json.NewEncoder(&in).Encode(tests[i].knowledge); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "node", filepath.Join("node", "attention.mjs"))
	var stderr bytes.Buffer
	cmd.Stdin, cmd.Stderr = &in, &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("node attention.mjs: %v\n%s", err, stderr.String())
	}
	answers := json.NewDecoder(bytes.NewReader(out))
	for _, test := range tests {
		var got struct {
			Advice []advice  `json:"advice"`
			Point  time.Time `json:"point"`
		}
		if err := answers.Decode(&got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(append([]advice{}, test.want...), got.Advice); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
		if !test.point.IsZero() && !got.Point.Equal(test.point) {
			t.Errorf("%s: can be restored to %s, expected %s", test.name, got.Point, test.point)
		}
	}
}
