package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipestreamer/pipestreamer/internal/doctor/host"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
	"github.com/pipestreamer/pipestreamer/pkg/hdbtrigger"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

const version = "2.00.088.00.1762790000"

// sound are facts with which nothing is wrong.
func sound() *Facts {
	inspection := func(database string) hdbtrigger.Inspection {
		return hdbtrigger.Inspection{
			Database: database, CurrentUser: "PS", PortDatabase: "SYSTEMDB", SID: "HXE", Version: version, Status: "YES", Primary: true,
			Privileges: []string{backupOperator, catalogRead, databaseBackup, databaseRecovery, databaseStart, databaseStop},
			Parameters: map[string]hdbtrigger.Parameter{
				"persistence/log_mode": {Value: "normal"}, "persistence/enable_auto_log_backup": {Value: "yes"}, "persistence/log_backup_timeout_s": {Value: "900"},
				"persistence/basepath_logbackup": {Value: "/backup/log"}, "persistence/basepath_catalogbackup": {Value: "/backup/log/"},
				"backup/data_backup_max_chunk_size": {Value: "0"},
			},
			NewestComplete: &backup.CatalogEntry{BackupID: 1, StartedAt: now.Add(-time.Hour), State: backup.CatalogSuccessful},
			NewestLog:      &backup.CatalogEntry{BackupID: 2, StartedAt: now.Add(-time.Minute), State: backup.CatalogSuccessful},
			Clock:          hdbtrigger.Clock{Ahead: time.Millisecond, RoundTrip: 2 * time.Millisecond}, Unreadable: map[string]error{},
		}
	}
	return &Facts{
		Settings: Settings{
			SID: "HXE", Host: "localhost", LogDirectory: "/backup/log", Door: "auto", SpoolOwner: -1,
			Logs:         []host.LogDirectory{{Path: "/backup/log/SYSTEMDB", UID: 12000}},
			MemoryBudget: 512 << 20,
		},
		Databases: []string{"SYSTEMDB", "HXE"}, HANA: []hdbtrigger.Inspection{inspection("SYSTEMDB"), inspection("HXE")},
		Directory: host.Directory{
			Path: "/backup/data", Mode: fs.ModeDir | fs.ModeSetgid | 0o770, UID: 12000, GID: 79, OwnUID: 12001, OwnGroups: []int{79},
			FileSystem: "xfs", Free: 50 << 30, Total: 100 << 30, Inodes: 10, FreeInodes: 5, Events: true,
		},
		State:  host.State{Path: "/state"},
		Kernel: host.Kernel{PipeMaxSize: 1 << 20, PipeUserPagesSoft: 16384, ProtectedFIFOs: 1}, Memory: host.Memory{Limit: 1 << 30},
		Store: Store{Within: time.Second},
		Doors: map[string]Door{version: {Job: "j", At: now, Recommendation: "fifo", Summary: "It uses pipes."}}, Now: now,
	}
}

func TestNothingIsWrong(t *testing.T) {
	t.Parallel()
	findings := Judge(sound())
	for i := range findings {
		if findings[i].Severity != OK || findings[i].Hint != "" || findings[i].Message == "" {
			t.Errorf("%+v", findings[i])
		}
	}
	if len(findings) < 35 {
		t.Errorf("%d findings", len(findings))
	}
}

// TestFindings changes one fact at a time. All findings but the expected ones
// stay as they were.
func TestFindings(t *testing.T) {
	t.Parallel()
	failed := errors.New("it failed")
	parameter := func(name, value string) func(*Facts) {
		return func(f *Facts) { f.HANA[1].Parameters[name] = hdbtrigger.Parameter{Value: value} }
	}
	unreadable := func(question string) func(*Facts) {
		return func(f *Facts) { f.HANA[1].Unreadable[question] = failed }
	}
	all := func(changes ...func(*Facts)) func(*Facts) {
		return func(f *Facts) {
			for _, change := range changes {
				change(f)
			}
		}
	}
	noLogs := func(f *Facts) { f.Settings.LogDirectory = "" }
	door := func(name string) func(*Facts) { return func(f *Facts) { f.Settings.Door = name } }
	without := func(names ...string) func(*Facts) {
		return func(f *Facts) {
			for i := range f.HANA {
				f.HANA[i].Privileges = slices.DeleteFunc(f.HANA[i].Privileges, func(p string) bool { return slices.Contains(names, p) })
			}
		}
	}
	// want is "<severity> <check>[ <database>]" and what message or hint mentions.
	tests := []struct {
		name   string
		change func(*Facts)
		want   map[string]string
	}{
		{"HANA is down", func(f *Facts) { f.HANA, f.HANAError = nil, failed }, map[string]string{"error hana": "hana.host"}},
		{"HANA goes away", func(f *Facts) { f.HANA, f.HANAError = f.HANA[:1], failed }, map[string]string{"error hana": "it failed"}},
		{"port of a tenant", func(f *Facts) { f.HANA[0].PortDatabase = "HXE" }, map[string]string{"error hana": "3<instance>13"}},
		{"other system", func(f *Facts) { f.HANA[0].SID = "PRD" }, map[string]string{"error hana": "PRD"}},
		{"system unreadable", func(f *Facts) { f.HANA[0].Unreadable[hdbtrigger.AskSystem] = failed }, map[string]string{"warning hana": "it failed"}},
		{"no TLS", func(f *Facts) { f.Settings.Host = "hana.example.com" }, map[string]string{"warning hana-tls": "hana.tls.enabled"}},
		{"TLS unchecked", func(f *Facts) { f.Settings.TLS, f.Settings.Insecure = true, true }, map[string]string{"warning hana-tls": "insecureSkipVerify"}},
		{"TLS", func(f *Facts) { f.Settings.TLS, f.Settings.Host = true, "hana.example.com" }, map[string]string{"ok hana-tls": "has TLS"}},
		{"no TLS on a loopback address", func(f *Facts) { f.Settings.Host = "::1" }, map[string]string{}},
		{"clock ahead", func(f *Facts) { f.HANA[0].Clock.Ahead = 3 * time.Second }, map[string]string{"warning hana-clock": "3s ahead"}},
		{"clock behind", func(f *Facts) { f.HANA[0].Clock.Ahead = -time.Hour }, map[string]string{"warning hana-clock": "-1h0m0s ahead"}},
		{"slow answer", func(f *Facts) { f.HANA[0].Clock = hdbtrigger.Clock{Ahead: 3 * time.Second, RoundTrip: 4 * time.Second} }, map[string]string{"ok hana-clock": "within 4s"}},
		{"clock unreadable", func(f *Facts) { f.HANA[0].Unreadable[hdbtrigger.AskClock] = failed }, map[string]string{"warning hana-clock": "it failed"}},

		{"unknown database", func(f *Facts) { f.HANA[1].Unreadable[hdbtrigger.AskStatus] = fmt.Errorf("HXE: %w", backup.ErrNotFound) }, map[string]string{"error database-online HXE": "Check the name"}},
		{"status unreadable", unreadable(hdbtrigger.AskStatus), map[string]string{"warning database-online HXE": "it failed"}},
		{"stopped by a restore", func(f *Facts) { f.HANA[1].Status, f.Stopped = "NO", map[string]string{"HXE": "j"} }, map[string]string{"error database-online HXE": "Restore it again"}},
		{"stopped", func(f *Facts) { f.HANA[1].Status = "NO" }, map[string]string{"error database-online HXE": `START DATABASE "HXE";`}},
		{"secondary", func(f *Facts) { f.HANA[1].Primary, f.HANA[1].Mode = false, "mode is sync" }, map[string]string{"error system-replication HXE": "mode is sync"}},
		{"role unreadable", unreadable(hdbtrigger.AskRole), map[string]string{"warning system-replication HXE": "it failed"}},
		{"parameters unreadable", unreadable(hdbtrigger.AskParameters), map[string]string{"warning log-mode HXE": "it failed"}},
		{"overwrite", parameter("persistence/log_mode", "overwrite"), map[string]string{"error log-mode HXE": "overwrite"}},
		{"overwrite, logs not wanted", all(noLogs, parameter("persistence/log_mode", "overwrite")), map[string]string{
			"ok log-directory":     "not shipped",
			"warning log-mode HXE": "overwrite", "warning log-backup-path HXE": "/backup/log", "warning catalog-backup-path HXE": "logs.directory",
			"warning log-backup-path SYSTEMDB": "nobody", "warning catalog-backup-path SYSTEMDB": "nobody",
		}},
		{"no log backups", parameter("persistence/enable_auto_log_backup", "no"), map[string]string{"error auto-log-backup HXE": "SET ('persistence', 'enable_auto_log_backup') = 'yes'"}},
		{"log timeout off", parameter("persistence/log_backup_timeout_s", "0"), map[string]string{"warning log-backup-timeout HXE": "any amount"}},
		{"log timeout long", parameter("persistence/log_backup_timeout_s", "7200"), map[string]string{"warning log-backup-timeout HXE": "2h0m0s"}},
		{"log timeout odd", parameter("persistence/log_backup_timeout_s", "900, 600"), map[string]string{"warning log-backup-timeout HXE": "not a number"}},
		{"log timeout unset", func(f *Facts) { delete(f.HANA[1].Parameters, "persistence/log_backup_timeout_s") }, map[string]string{"ok log-backup-timeout HXE": "default is 900 s"}},
		{"chunks", parameter("backup/data_backup_max_chunk_size", "1024"), map[string]string{"warning chunk-size HXE": "1024"}},
		{"chunks, pipes only", all(door("fifo"), parameter("backup/data_backup_max_chunk_size", "1024")), map[string]string{
			"error chunk-size HXE": "set door to auto", "ok spool-owner": "no files", "ok door": "fifo",
		}},
		{"log path elsewhere", parameter("persistence/basepath_logbackup", "/other"), map[string]string{"error log-backup-path HXE": "'basepath_logbackup') = '/backup/log'"}},
		{"log path of the instance", parameter("persistence/basepath_logbackup", "$(DIR_INSTANCE)/backup/log"), map[string]string{"warning log-backup-path HXE": "only HANA's container can resolve"}},
		{"catalog path unset", parameter("persistence/basepath_catalogbackup", ""), map[string]string{"warning catalog-backup-path HXE": "default directory"}},
		{"logs to Backint", parameter("backup/log_backup_using_backint", "true"), map[string]string{"error log-backup-path HXE": "Backint"}},
		{"catalog to Backint, logs not wanted", all(noLogs, parameter("backup/catalog_backup_using_backint", "true")), map[string]string{
			"ok log-directory": "not shipped", "ok catalog-backup-path HXE": "Backint", "warning log-backup-path HXE": "", "warning log-backup-path SYSTEMDB": "", "warning catalog-backup-path SYSTEMDB": "",
		}},
		{"no log directory", func(f *Facts) { f.Settings.LogDirectoryError = errors.New("no such file or directory") }, map[string]string{"error log-directory": "Mount HANA's basepath_logbackup"}},
		{"no directory of a database", func(f *Facts) { f.Settings.Logs = nil }, map[string]string{"warning log-directory": "no directory of a database"}},
		{"a log directory without rights", func(f *Facts) { f.Settings.Logs[0].Error = errors.New("write /backup/log/SYSTEMDB: permission denied") }, map[string]string{"error log-directory": "permission denied"}},
		{"a sticky log directory", func(f *Facts) { f.Settings.Logs[0].Sticky = true }, map[string]string{"error log-directory": "is sticky"}},
		{"a sticky log directory of ours", func(f *Facts) { f.Settings.Logs[0].Sticky, f.Settings.Logs[0].UID = true, 12001 }, map[string]string{}},
		{"no log backup yet", func(f *Facts) { f.HANA[1].NewestLog, f.HANA[1].NewestComplete.StartedAt = nil, now.Add(-time.Minute) }, map[string]string{"ok log-backup HXE": "none yet", "ok complete-backup HXE": "1m0s old"}},
		{"running", func(f *Facts) { f.HANA[1].Running = 7 }, map[string]string{"warning data-backup-running HXE": "data backup 7 runs"}},
		{"running unreadable", unreadable(hdbtrigger.AskRunning), map[string]string{"warning data-backup-running HXE": "it failed"}},
		{"no complete backup", func(f *Facts) { f.HANA[1].NewestComplete, f.HANA[1].NewestLog = nil, nil }, map[string]string{"warning complete-backup HXE": "Make a complete backup", "ok log-backup HXE": "no complete backup yet"}},
		{"complete backup unreadable", unreadable(hdbtrigger.AskNewestComplete), map[string]string{"warning complete-backup HXE": "it failed"}},
		{"broken", func(f *Facts) { f.HANA[1].Broken = &backup.Break{At: now, Reason: "log mode overwrite"} }, map[string]string{"warning history HXE": "log mode overwrite"}},
		{"broken long ago", func(f *Facts) { f.HANA[1].Broken = &backup.Break{At: now.Add(-2 * time.Hour)} }, map[string]string{"ok history HXE": "since the newest"}},
		{"history unreadable", unreadable(hdbtrigger.AskBroken), map[string]string{"warning history HXE": "it failed"}},
		{"no log backup", func(f *Facts) { f.HANA[1].NewestLog = nil }, map[string]string{"warning log-backup HXE": "backup.log"}},
		{"failed log backup", func(f *Facts) { f.HANA[1].NewestLog.State, f.HANA[1].NewestLog.Message = "failed", "no space" }, map[string]string{"warning log-backup HXE": "no space"}},
		{"log backup unreadable", unreadable(hdbtrigger.AskNewestLog), map[string]string{"warning log-backup HXE": "it failed"}},
		{"blind", all(without(catalogRead), func(f *Facts) {
			f.HANA[0].Mode = "actual_mode is primary"
			f.HANA[1].NewestComplete, f.HANA[1].NewestLog, f.HANA[1].Parameters = nil, nil, nil
		}), map[string]string{
			"error privileges-backup": `GRANT CATALOG READ TO "PS";`, "warning data-backup-running SYSTEMDB": "looks empty", "warning data-backup-running HXE": "looks empty",
			"ok system-replication SYSTEMDB": "actual_mode is primary", "warning system-replication HXE": "looks empty", "warning log-mode HXE": "looks empty",
			"warning complete-backup HXE": "looks empty", "warning log-backup HXE": "looks empty", "warning history SYSTEMDB": "looks empty", "warning history HXE": "looks empty",
		}},

		{"no directory", func(f *Facts) { f.Directory = host.Directory{Error: failed} }, map[string]string{"error directory": "same path"}},
		{"sticky", func(f *Facts) { f.Directory.Mode |= fs.ModeSticky }, map[string]string{"error directory-mode": "protected_fifos"}},
		{"sticky, of one user", func(f *Facts) { f.Directory.Mode, f.Settings.SpoolOwner = fs.ModeSticky|0o700, 12000 }, map[string]string{"ok directory-mode": "12000", "ok spool-owner": "12000"}},
		{"of one user", func(f *Facts) { f.Directory.Mode = 0o755 }, map[string]string{"warning directory-mode": "2770"}},
		{"pipe fails", func(f *Facts) { f.Directory.PipeError = failed }, map[string]string{"error directory-pipes": "it failed"}},
		{"overlay", func(f *Facts) { f.Directory.FileSystem = "overlay" }, map[string]string{"warning directory-file-system": "Mount a volume"}},
		{"nfs", func(f *Facts) { f.Directory.FileSystem, f.Directory.Events = "nfs", false }, map[string]string{"warning directory-file-system": "same node", "warning inotify": "no events"}},
		{"no inotify", func(f *Facts) { f.Directory.WatchError = failed }, map[string]string{"error inotify": "max_user_instances"}},
		{"little room", func(f *Facts) { f.Directory.Free = 9 << 30 }, map[string]string{"warning directory-space": "9.0 GiB of 100.0 GiB"}},
		{"little room, pipes only", all(door("fifo"), func(f *Facts) { f.Directory.Free = 1 }), map[string]string{"ok directory-space": "1 B", "ok spool-owner": "no files", "ok door": "fifo"}},
		{"no inode", func(f *Facts) { f.Directory.FreeInodes = 0 }, map[string]string{"error directory-space": "inode"}},
		{"root's volume", func(f *Facts) { f.Directory.UID = 0 }, map[string]string{"warning spool-owner": "spool.owner", "ok directory-mode": "user id 0"}},
		{"root's volume, owner named", func(f *Facts) { f.Directory.UID, f.Settings.SpoolOwner = 0, 12000 }, map[string]string{"ok spool-owner": "12000", "ok directory-mode": "user id 0"}},
		{"small pipes", func(f *Facts) { f.Kernel.PipeMaxSize = 65536 }, map[string]string{"warning pipe-limits": "fs.pipe-max-size to 1048576"}},
		{"few pipe pages", func(f *Facts) { f.Kernel.PipeUserPagesSoft = 1024 }, map[string]string{"warning pipe-limits": "pipe-user-pages-soft"}},
		{"limits unknown", func(f *Facts) { f.Kernel = host.Kernel{PipeMaxSize: -1, PipeUserPagesSoft: -1, ProtectedFIFOs: -1} }, map[string]string{"ok pipe-limits": "not known", "ok protected-fifos": "not known"}},
		{"no state yet", func(f *Facts) { f.State.Missing = true }, map[string]string{"warning state-directory": "does not exist"}},
		{"state read-only", func(f *Facts) { f.State.Error = failed }, map[string]string{"error state-directory": "it failed"}},
		{"state with HANA", func(f *Facts) { f.State.Inside = true }, map[string]string{"error state-directory": "journal"}},
		{"memory too small", func(f *Facts) { f.Memory.Limit = 512 << 20 }, map[string]string{"error memory": "512.0 MiB"}},
		{"memory tight", func(f *Facts) { f.Memory.Limit = 600 << 20 }, map[string]string{"warning memory": "256.0 MiB"}},
		{"memory unlimited", func(f *Facts) { f.Memory.Limit = 0 }, map[string]string{"ok memory": "no memory limit"}},
		{"memory unknown", func(f *Facts) { f.Memory.Error = failed }, map[string]string{"warning memory": "it failed"}},
		{"store fails", func(f *Facts) { f.Store.Error = failed }, map[string]string{"error store": "store.root"}},
		{"store's clock", func(f *Facts) { f.Store.Ahead = -5 * time.Minute }, map[string]string{"warning store-clock": "-5m0s ahead"}},
		{"store without times", func(f *Facts) { f.Store.ClockError = failed }, map[string]string{"warning store-clock": "it failed"}},
		{"not probed", func(f *Facts) { f.Doors = nil }, map[string]string{"warning door": "pipestreamer probe"}},
		{"not probed, files", all(door("spool"), func(f *Facts) { f.Doors = nil }), map[string]string{"ok door": "not used"}},
		{"doors unreadable", func(f *Facts) { f.DoorsError = failed }, map[string]string{"error door": "it failed"}},
		{"refused, known without a probe", func(f *Facts) { f.Doors[version] = Door{Refused: true, Job: "j", At: now} }, map[string]string{"ok door": "refuses pipes. (seen by job j on 2026-01-02)"}},
		{"refused, pipes only", all(door("fifo"), func(f *Facts) { f.Doors[version] = Door{Refused: true} }), map[string]string{"error door": "Set door to auto or spool", "ok spool-owner": "no files"}},
		{"bypassed, pipes only", all(door("fifo"), func(f *Facts) { f.Doors[version] = Door{Recommendation: "auto", Summary: "It bypasses."} }), map[string]string{"error door": "It bypasses.", "ok spool-owner": "no files"}},
		{"files though pipes work", door("spool"), map[string]string{"warning door": "Set door to fifo"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			f := sound()
			test.change(f)
			expect(t, Judge(f), test.want)
		})
	}
}

func key(f *Finding) string {
	return strings.TrimSpace(string(f.Severity) + " " + f.Check + " " + f.Database)
}

// expect compares the findings that differ from those of sound facts.
func expect(t *testing.T, findings []Finding, want map[string]string) {
	t.Helper()
	usual := Judge(sound())
	gone := len(findings) < len(usual) // what is not known cannot be judged
	got := map[string]string{}
	for i := range findings {
		f := &findings[i]
		if slices.Contains(usual, *f) {
			continue
		}
		got[key(f)] = f.Message + " → " + f.Hint
		if (f.Severity == OK) != (f.Hint == "") {
			t.Errorf("severity and hint do not fit: %+v", f)
		}
	}
	for k, mention := range want {
		if text, found := got[k]; found && strings.Contains(text, mention) {
			got[k] = mention
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("findings that are not as usual (-want +got):\n%s", diff)
	}
	if len(findings) == 0 || gone && Count(findings, OK) == len(findings) {
		t.Errorf("%d findings", len(findings))
	}
}

// TestPrivileges names what is missing, by version and databases.
func TestPrivileges(t *testing.T) {
	t.Parallel()
	both := []string{"SYSTEMDB", "HXE"}
	const old = "2.00.047.00.1581511361"
	for _, test := range []struct {
		name      string
		databases []string
		version   string
		has       []string
		delete    bool
		want      []string // check, what is missing
	}{
		{"nothing", both, version, nil, true, []string{
			"privileges-backup: CATALOG READ, BACKUP OPERATOR, DATABASE BACKUP OPERATOR",
			"privileges-restore: DATABASE RECOVERY OPERATOR, DATABASE START, DATABASE STOP",
			"privileges-catalog-delete: BACKUP ADMIN, DATABASE BACKUP ADMIN",
		}},
		{"SYSTEMDB only", []string{"SYSTEMDB"}, version, nil, true, []string{
			"privileges-backup: CATALOG READ, BACKUP OPERATOR", "privileges-catalog-delete: BACKUP ADMIN",
		}},
		{"tenant only", []string{"HXE"}, version, []string{catalogRead}, false, []string{
			"privileges-backup: DATABASE BACKUP OPERATOR", "privileges-restore: DATABASE RECOVERY OPERATOR, DATABASE START, DATABASE STOP",
		}},
		{"the greater ones do, too", both, version, []string{catalogRead, backupAdmin, databaseBackups, databaseAdmin}, true, nil},
		{"before SPS05", both, old, nil, false, []string{
			"privileges-backup: CATALOG READ, BACKUP OPERATOR, DATABASE ADMIN, BACKUP ADMIN", "privileges-restore: DATABASE ADMIN, DATABASE START, DATABASE STOP",
		}},
		{"before SPS05, with all", both, old, []string{catalogRead, backupAdmin, databaseAdmin, databaseStart, databaseStop}, true, nil},
		{"SPS05", []string{"HXE"}, "2.00.050", []string{catalogRead, databaseBackup, databaseRecovery, databaseStart, databaseStop}, false, nil},
		{"a later product", []string{"HXE"}, "4.00.000.00", []string{catalogRead, databaseBackup, databaseRecovery, databaseStart, databaseStop}, false, nil},
		{"no version", []string{"HXE"}, "", []string{catalogRead, databaseBackup, databaseRecovery, databaseStart, databaseStop}, false, nil},
		{"a version of other words", []string{"HXE"}, "a.b.c", []string{catalogRead, databaseBackup, databaseRecovery, databaseStart, databaseStop}, false, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			f := sound()
			f.Databases, f.Settings.DeleteLost = test.databases, test.delete
			i := &f.HANA[0]
			i.Version, i.Privileges, i.CurrentUser = test.version, test.has, `P"S`
			var got []string
			for _, finding := range judgePrivileges(f) {
				_, missing, _ := strings.Cut(finding.Message, "it lacks ")
				if (finding.Severity == OK) != (missing == "") {
					t.Errorf("%+v", finding)
				}
				if missing == "" {
					continue
				}
				got = append(got, finding.Check+": "+missing)
				if grant := "GRANT " + missing + ` TO "P""S";`; !strings.HasSuffix(finding.Hint, grant) {
					t.Errorf("hint %q, expected %s", finding.Hint, grant)
				}
				if want := map[bool]Severity{true: Error, false: Warning}[finding.Check == CheckBackupPrivileges]; finding.Severity != want {
					t.Errorf("severity %s of %s", finding.Severity, finding.Check)
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
	f := sound()
	f.HANA[0].Unreadable[hdbtrigger.AskPrivileges] = errors.New("it failed")
	if got := judgePrivileges(f); len(got) != 1 || got[0].Severity != Warning {
		t.Errorf("unreadable privileges: %+v", got)
	}
}
