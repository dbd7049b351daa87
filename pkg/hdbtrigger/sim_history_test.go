package hdbtrigger

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// simulated is a system whose backups a test makes one by one.
type simulated struct {
	*hanasim.System

	trigger      *Trigger
	dir, logDir  string
	dataBackups  int
	logDirectory string // of the log backups of HXE
}

func startSimulated(t *testing.T) *simulated {
	t.Helper()
	s := &simulated{dir: t.TempDir()}
	var config Config
	s.System, config = startSimulator(t, func(c *hanasim.Config) { s.logDir = c.LogDir })
	s.logDirectory = s.logDir + "/DB_HXE"
	config.AllowParts = true
	s.trigger = newTrigger(t, config)
	return s
}

// backUp makes a data backup and gives its entry.
func (s *simulated) backUp(t *testing.T, database string, kind backup.Kind) backup.CatalogEntry {
	t.Helper()
	plan, err := s.trigger.Plan(t.Context(), database, kind)
	if err != nil {
		t.Fatal(err)
	}
	s.dataBackups++
	plan.JobID, plan.Directory, plan.Prefix = fmt.Sprint("job-", s.dataBackups), s.dir, fmt.Sprint("PS_", s.dataBackups)
	if err := s.trigger.Backup(t.Context(), plan); err != nil {
		t.Fatal(err)
	}
	entry, err := s.trigger.Entry(t.Context(), plan)
	if err != nil {
		t.Fatal(err)
	}
	return entry
}

// work commits records and backs up the log of HXE.
func (s *simulated) work(t *testing.T) {
	t.Helper()
	if err := errors.Join(s.Work("HXE", 3), s.LogBackup(t.Context(), "HXE")); err != nil {
		t.Fatal(err)
	}
}

func TestSimulatorBases(t *testing.T) {
	s := startSimulated(t)
	expect := func(kind backup.Kind, want backup.CatalogEntry) {
		t.Helper()
		got, err := s.trigger.Base(t.Context(), "HXE", kind)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", kind, diff)
		}
	}
	for _, kind := range []backup.Kind{backup.KindDifferential, backup.KindIncremental} {
		if _, err := s.trigger.Base(t.Context(), "HXE", kind); !errors.Is(err, backup.ErrNotFound) {
			t.Errorf("%s: %v", kind, err)
		}
		// A plan is possible, without sizes.
		plan, err := s.trigger.Plan(t.Context(), "HXE", kind)
		if err != nil || len(plan.Streams) != 3 || sizeOf(plan) != 0 {
			t.Errorf("%+v, %v", plan, err)
		}
	}
	complete := s.backUp(t, "HXE", backup.KindComplete)
	s.work(t)
	expect(backup.KindDifferential, complete)
	expect(backup.KindIncremental, complete)
	if plan, err := s.trigger.Plan(t.Context(), "HXE", backup.KindIncremental); err != nil || sizeOf(plan) == 0 {
		t.Errorf("%+v, %v", plan, err)
	}
	incremental := s.backUp(t, "HXE", backup.KindIncremental)
	expect(backup.KindDifferential, complete)
	expect(backup.KindIncremental, incremental)
	for i := range incremental.Files {
		if f := &incremental.Files[i]; f.SourceType == backup.SourceVolume && f.RedoLogPosition <= complete.Files[i].RedoLogPosition {
			t.Errorf("%+v begins to replay no later than its base", f)
		}
	}
}

func sizeOf(plan backup.Plan) (size int64) {
	for _, s := range plan.Streams {
		size += s.EstimatedSize
	}
	return size
}

// The log backups of a volume follow one another without a gap.
func TestSimulatorLogs(t *testing.T) {
	s := startSimulated(t)
	complete := s.backUp(t, "HXE", backup.KindComplete)
	const rounds = 50
	if err := s.LogBurst(t.Context(), "HXE", rounds); err != nil {
		t.Fatal(err)
	}
	logs, err := s.trigger.Logs(t.Context(), "HXE", complete.BackupID, maxBackupID)
	if err != nil {
		t.Fatal(err)
	}
	if len(logs) != 2*rounds {
		t.Errorf("%d log backups of two volumes, expected %d", len(logs), 2*rounds)
	}
	position := map[int]int64{}
	for i := range complete.Files {
		position[complete.Files[i].VolumeID] = complete.Files[i].RedoLogPosition
	}
	catalogs, id := 0, int64(0)
	for _, entry := range logs {
		if entry.BackupID <= id || entry.EntryType != backup.EntryLog || entry.State != backup.CatalogSuccessful {
			t.Errorf("after backup id %d: %+v", id, entry)
		}
		id = entry.BackupID
		for i := range entry.Files {
			f := &entry.Files[i]
			if f.SourceType == backup.SourceCatalog {
				catalogs++
				continue
			}
			name, err := backup.ParseLogName(f.Path[len(s.logDirectory)+1:])
			want := backup.LogName{VolumeID: f.VolumeID, First: position[f.VolumeID], Last: f.LastLogPosition, BackupID: id}
			if err != nil || name != want || name.First != f.FirstLogPosition || f.LastCommit.IsZero() || time.Since(f.LastCommit).Abs() > time.Minute {
				t.Errorf("%+v, %v, expected %+v", f, err, want)
			}
			position[f.VolumeID] = f.LastLogPosition
		}
	}
	if catalogs == 0 {
		t.Error("no backup of the catalog")
	}
	for volume, point := range s.Points("HXE") {
		if position[volume] != point.Position {
			t.Errorf("volume %d: log backups up to %d, the log is at %d", volume, position[volume], point.Position)
		}
	}
	middle := logs[7:31]
	got, err := s.trigger.Logs(t.Context(), "HXE", middle[0].BackupID, middle[len(middle)-1].BackupID)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(middle, got); diff != "" {
		t.Error(diff)
	}
}

func TestSimulatorBreaks(t *testing.T) {
	s := startSimulated(t)
	if got, err := s.trigger.Breaks(t.Context(), "HXE"); err != nil || len(got) > 0 {
		t.Fatalf("%+v, %v", got, err)
	}
	conn, err := s.trigger.long.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, errSet := conn.ExecContext(t.Context(), "ALTER SYSTEM ALTER CONFIGURATION ('global.ini', 'SYSTEM') SET ('persistence', 'log_mode') = 'overwrite' WITH RECONFIGURE")
	if err := errors.Join(errSet, conn.Close()); err != nil {
		t.Fatal(err)
	}
	got, err := s.trigger.Breaks(t.Context(), "HXE")
	if err != nil || len(got) != 1 || time.Since(got[0].At).Abs() > time.Minute || !strings.Contains(got[0].Reason, "overwrite") {
		t.Errorf("%+v, %v", got, err)
	}
}

// Every form of RECOVER that is built is one that the simulator carries out as
// meant; whether HANA agrees was never tried.
func TestSimulatorRecoverTo(t *testing.T) {
	s := startSimulated(t)
	complete := s.backUp(t, "HXE", backup.KindComplete)
	s.work(t)
	atLog := s.Points("HXE")
	incremental := s.backUp(t, "HXE", backup.KindIncremental)
	atIncremental := s.Points("HXE")
	s.work(t)
	atEnd := s.Points("HXE")

	recovery := backup.Recovery{
		JobID: "job", SID: "HXE", Database: "HXE", CatalogPath: s.logDirectory, LogPaths: []string{s.dir, s.logDirectory}, DataPath: s.dir,
	}
	future := time.Date(2999, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		name  string
		until time.Time
		id    int64
		want  map[int]hanasim.Point
	}{
		{"all there is", future, 0, atEnd},
		{"all there is, from a backup that is named", future, complete.BackupID, atEnd},
		{"one delta", time.Time{}, incremental.BackupID, atIncremental},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := s.Destroy("HXE"); err != nil {
				t.Fatal(err)
			}
			plan := samplePlan(nil)
			if err := errors.Join(s.trigger.CheckRecovery(t.Context(), plan), s.trigger.Stop(t.Context(), plan)); err != nil {
				t.Fatal(err)
			}
			r := recovery
			r.Until, r.BackupID = tt.until, tt.id
			if err := s.trigger.RecoverTo(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			if err := s.trigger.Start(t.Context(), plan); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, s.Points("HXE")); diff != "" {
				t.Error(diff)
			}
		})
	}
	if cmp.Equal(atLog, atEnd) || len(atEnd) == 0 {
		t.Errorf("points %v and %v", atLog, atEnd)
	}
}

func TestSimulatorRecoverToFails(t *testing.T) {
	s := startSimulated(t)
	s.backUp(t, "HXE", backup.KindComplete)
	if err := s.StopDatabase("HXE"); err != nil {
		t.Fatal(err)
	}
	r := sampleRecovery(func(r *backup.Recovery) {
		r.CatalogPath, r.LogPaths, r.DataPath = t.TempDir(), []string{s.logDirectory}, s.dir
	})
	err := s.trigger.RecoverTo(t.Context(), r)
	hana, found := errors.AsType[*backup.HANAError](err)
	if !found || hana.Code != 449 || hana.Statement != "RECOVER DATABASE" || Hint(err) == "" {
		t.Errorf("no catalog: %v, hint %q", err, Hint(err))
	}
}

// What recoverSys.py is handed for SYSTEMDB.
func TestSimulatorRecoverTextOfSystemDB(t *testing.T) {
	s := startSimulated(t)
	entry := s.backUp(t, "SYSTEMDB", backup.KindComplete)
	saved := s.Content("SYSTEMDB")
	r := backup.Recovery{
		SID: "HXE", Database: "SYSTEMDB", CatalogPath: s.logDir + "/SYSTEMDB", LogPaths: []string{s.logDir + "/SYSTEMDB"}, DataPath: s.dir,
	}
	for _, until := range []time.Time{{}, time.Date(2999, 1, 1, 0, 0, 0, 0, time.UTC)} {
		if err := s.Destroy("SYSTEMDB"); err != nil {
			t.Fatal(err)
		}
		r.Until, r.BackupID = until, entry.BackupID
		text, err := RecoverText(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.RecoverSystemDB(t.Context(), text); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if diff := cmp.Diff(saved, s.Content("SYSTEMDB")); diff != "" {
			t.Error(diff)
		}
	}
}

// With AllowParts a system that splits its files is backed up, and the catalog
// lists every part.
func TestSimulatorParts(t *testing.T) {
	s := startSimulated(t)
	set(t, s.System, "chunk-size", "64KiB")
	entry := s.backUp(t, "HXE", backup.KindComplete)
	parts := 0
	for i := range entry.Files {
		if f := &entry.Files[i]; f.VolumeID == 3 && f.SourceType == backup.SourceVolume {
			parts++
		}
	}
	if parts < 3 {
		t.Errorf("%d parts of 200 kB, expected several: %+v", parts, entry.Files)
	}
}

func TestSimulatorInspect(t *testing.T) {
	s := startSimulated(t)
	complete := s.backUp(t, "HXE", backup.KindComplete)
	s.work(t)
	set(t, s.System, "clock", "-90s")
	i, err := s.trigger.Inspect(t.Context(), "HXE")
	if err != nil {
		t.Fatal(err)
	}
	logs, err := s.trigger.Logs(t.Context(), "HXE", complete.BackupID, maxBackupID)
	if err != nil || len(logs) != 2 {
		t.Fatal(logs, err)
	}
	withoutFiles := cmpopts.IgnoreFields(backup.CatalogEntry{}, "Files")
	if diff := cmp.Diff([]*backup.CatalogEntry{&complete, &logs[1]}, []*backup.CatalogEntry{i.NewestComplete, i.NewestLog}, withoutFiles); diff != "" {
		t.Error(diff)
	}
	if off := i.Clock.Ahead + 90*time.Second; off.Abs() > i.Clock.RoundTrip+time.Millisecond {
		t.Errorf("clock %+v, expected 90 s behind", i.Clock)
	}
	for parameter, want := range map[string]Parameter{
		"persistence/log_mode": {"normal", "DEFAULT"}, "persistence/enable_auto_log_backup": {"yes", "DEFAULT"},
		"persistence/basepath_logbackup": {s.logDir, "SYSTEM"}, "backup/data_backup_max_chunk_size": {"0", "DEFAULT"},
	} {
		if got := i.Parameters[parameter]; got != want {
			t.Errorf("%s: %+v, expected %+v", parameter, got, want)
		}
	}
	if i.CurrentUser != "BACKUP" || !i.IsSystemDB() || i.SID != "HXE" || i.Version != hanasim.Version || i.Status != "YES" || !i.Primary ||
		i.Running != 0 || i.Broken != nil || !slices.Contains(i.Privileges, "CATALOG READ") || len(i.Unreadable) > 0 {
		t.Errorf("%+v", i)
	}
}

// Of its user HANA tells what it lacks, and little else; at the port of a tenant
// there is no word of the system.
func TestSimulatorInspectFindsLittle(t *testing.T) {
	system, config := startSimulator(t, nil)
	tenant := config
	tenant.Host, tenant.Port = splitAddress(t, system.Addr("HXE"))
	i := inspect(t, tenant, "HXE")
	want := []string{AskNewestComplete, AskNewestLog, AskRunning, AskStatus}
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(i.Unreadable))); diff != "" {
		t.Error(diff)
	}
	if i.IsSystemDB() || i.PortDatabase != "HXE" {
		t.Errorf("%+v", i)
	}
	set(t, system, "revoke", "BACKUP:CATALOG READ")
	i = inspect(t, config, "HXE")
	if diff := cmp.Diff([]string{AskStatus}, slices.Sorted(maps.Keys(i.Unreadable))); diff != "" {
		t.Error(diff)
	}
	if i.CurrentUser != "BACKUP" || slices.Contains(i.Privileges, "CATALOG READ") || !slices.Contains(i.Privileges, "BACKUP OPERATOR") {
		t.Errorf("%+v", i)
	}
}
