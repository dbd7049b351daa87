package hanasim

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim/files"
	"github.com/pipestreamer/pipestreamer/e2e/hanasim/landscape"
)

const logRows = "SELECT SOURCE_ID, FIRST_REDO_LOG_POSITION, LAST_REDO_LOG_POSITION, DESTINATION_PATH, BACKUP_SIZE FROM SYS_DATABASES.M_BACKUP_CATALOG_FILES" +
	" WHERE SOURCE_TYPE_NAME = 'volume' AND FIRST_REDO_LOG_POSITION IS NOT NULL ORDER BY BACKUP_ID"

func TestLogBackups(t *testing.T) {
	system := startSystem(t, nil)
	db := connect(t, system, "SYSTEM", password, "SYSTEMDB")
	exec(t, db, "SIM WORK 'HXE' 2")
	exec(t, db, "BACKUP DATA FOR HXE USING FILE ('F')")
	exec(t, db, "SIM WORK 'HXE' 3")
	exec(t, db, "SIM LOGBACKUP 'HXE'")
	exec(t, db, "SIM LOGBACKUP 'HXE'") // nothing new
	exec(t, db, "SIM WORK 'HXE' 1")
	exec(t, db, "SIM LOGBACKUP 'HXE'")

	const begin = 113012992 + 2*64
	dir := filepath.Join(system.config.LogDir, "DB_HXE")
	ids := table(t, db, "SELECT BACKUP_ID FROM SYS_DATABASES.M_BACKUP_CATALOG WHERE ENTRY_TYPE_NAME = 'log backup' AND STATE_NAME = 'successful' AND MESSAGE = '<ok>' ORDER BY 1")
	if len(ids) != 4 {
		t.Fatalf("log backups %v, want one of each of two volumes twice", ids)
	}
	var want []string
	for i, id := range ids {
		first, last := begin, begin+3*64
		if i > 1 {
			first, last = last, last+64
		}
		path := filepath.Join(dir, fmt.Sprintf("log_backup_%d_0_%d_%d.%s", 2+i%2, first, last, id))
		want = append(want, fmt.Sprintf("%d|%d|%d|%s|%d", 2+i%2, first, last, path, files.HeaderSize+last-first))
		if info, err := os.Lstat(path); err != nil || !info.Mode().IsRegular() || info.Mode().Perm() != 0o640 || info.Size() != int64(files.HeaderSize+last-first) {
			t.Errorf("%s: %v, %v", path, info, err)
		}
	}
	if diff := cmp.Diff(want, table(t, db, logRows)); diff != "" {
		t.Error(diff)
	}
	catalogs := table(t, db, "SELECT DESTINATION_PATH FROM SYS_DATABASES.M_BACKUP_CATALOG_FILES WHERE SOURCE_TYPE_NAME = 'catalog' AND BACKUP_ID IN ("+ids[1]+", "+ids[3]+") ORDER BY 1")
	if diff := cmp.Diff([]string{dir + "/log_backup_0_0_0_0." + ids[1], dir + "/log_backup_0_0_0_0." + ids[3]}, catalogs); diff != "" {
		t.Error(diff)
	}
	if left := list(t, dir+"/*"); len(left) != 4+3 {
		t.Errorf("files %v", left)
	}
	rows := table(t, db, "SELECT REDO_LOG_POSITION FROM SYS_DATABASES.M_BACKUP_CATALOG_FILES WHERE SOURCE_ID = 3 AND DESTINATION_PATH LIKE '%F_databackup%'")
	if diff := cmp.Diff([]string{strconv.Itoa(begin)}, rows); diff != "" {
		t.Error(diff)
	}
	same := table(t, db, "SELECT F.SOURCE_ID FROM SYS_DATABASES.M_BACKUP_CATALOG_FILES F JOIN SIM.CONTENT C ON C.LAST_COMMIT = F.UTC_LAST_COMMIT_TIME AND C.VOLUME_ID = F.SOURCE_ID AND C.LOG_POSITION = F.LAST_REDO_LOG_POSITION WHERE C.DATABASE_NAME = 'HXE' ORDER BY 1")
	if diff := cmp.Diff([]string{"2", "3"}, same); diff != "" {
		t.Error(diff)
	}
	for _, line := range table(t, db, "SELECT PATH, SHA256 FROM SIM.FILES WHERE PATH LIKE '%log_backup%'") {
		path, want, _ := strings.Cut(line, "|")
		if data, err := os.ReadFile(path); err != nil || sum(data) != want {
			t.Errorf("%s: %v, another digest than SIM.FILES has", path, err)
		}
	}
}

func TestLogFaults(t *testing.T) {
	system := startSystem(t, nil)
	db := connect(t, system, "SYSTEM", password, "SYSTEMDB")
	exec(t, db, "BACKUP DATA FOR HXE USING FILE ('F')")
	exec(t, db, "SIM WORK 'HXE' 1")
	exec(t, db, "SIM SET 'fail' 'log-write:3:4KiB:ENOSPC'")
	exec(t, db, "SIM SET 'fail' 'log-skip:2'")
	exec(t, db, "SIM LOGBACKUP 'HXE'")
	exec(t, db, "SIM WORK 'HXE' 1")
	exec(t, db, "SIM LOGBACKUP 'HXE'")
	messages := table(t, db, "SELECT MESSAGE FROM SYS_DATABASES.M_BACKUP_CATALOG WHERE ENTRY_TYPE_NAME = 'log backup' AND STATE_NAME = 'failed'")
	if len(messages) != 1 || !strings.Contains(messages[0], "rc=28: No space left on device") {
		t.Errorf("failed log backups %v", messages)
	}
	const begin = 113012992
	var there []string
	pattern := regexp.MustCompile(`log_backup_[0-9]_0_\d+_\d+`)
	for _, line := range table(t, db, logRows) {
		path := strings.Split(line, "|")[3]
		_, err := os.Stat(path)
		there = append(there, fmt.Sprint(pattern.FindString(path), err == nil))
	}
	want := []string{
		fmt.Sprintf("log_backup_2_0_%d_%dfalse", begin, begin+64),
		fmt.Sprintf("log_backup_2_0_%d_%dtrue", begin+64, begin+128),
		fmt.Sprintf("log_backup_3_0_%d_%dtrue", begin, begin+128),
	}
	if diff := cmp.Diff(want, there); diff != "" {
		t.Error(diff)
	}
	if left := list(t, filepath.Join(system.config.LogDir, "DB_HXE", "*")); len(left) != 2+3 {
		t.Errorf("files %v", left)
	}
	if hidden, err := filepath.Glob(filepath.Join(system.config.LogDir, "DB_HXE", ".*")); err != nil || len(hidden) > 0 {
		t.Errorf("left %v, %v", hidden, err)
	}
}

func TestBurstOfLogBackups(t *testing.T) {
	system := startSystem(t, nil)
	if err := system.land.Backup(t.Context(), "HXE", landscape.Request{Kind: "complete", Path: "F"}); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	if err := system.LogBurst(t.Context(), "HXE", 2500); err != nil {
		t.Fatal(err)
	}
	t.Logf("5000 log backups in %s", time.Since(begun))
	shot, err := system.land.Snapshot("HXE") // what the views show, which would take the race detector seconds
	if err != nil {
		t.Fatal(err)
	}
	last := map[int]int64{2: 113012992, 3: 113012992}
	count := 0
	for _, entry := range shot.Entries {
		if entry.Type != landscape.TypeLog {
			continue
		}
		count++
		file := entry.Files[0]
		if log := file.Header.Log; entry.State != "successful" || log.First != last[file.Volume] || log.Last != log.First+64 {
			t.Fatalf("after position %d of volume %d comes %+v, %s", last[file.Volume], file.Volume, log, entry.State)
		}
		last[file.Volume] += 64
	}
	if names := list(t, filepath.Join(system.config.LogDir, "DB_HXE", "log_backup_[23]_*")); count != 5000 || len(names) != count {
		t.Errorf("%d entries and %d files", count, len(names))
	}
	if catalogs := list(t, filepath.Join(system.config.LogDir, "DB_HXE", "log_backup_0_*")); len(catalogs) != 2 {
		t.Errorf("catalog backups %v", catalogs)
	}
}

func TestCatalogAfterEachLogBackup(t *testing.T) {
	system := startSystem(t, nil)
	db := connect(t, system, "SYSTEM", password, "SYSTEMDB")
	exec(t, db, "BACKUP DATA FOR HXE USING FILE ('F')")
	exec(t, db, "SIM SET 'catalog-each' 'true'")
	exec(t, db, "SIM LOGBURST 'HXE' 4")
	if catalogs := list(t, filepath.Join(system.config.LogDir, "DB_HXE", "log_backup_0_*")); len(catalogs) != 1+4 {
		t.Errorf("catalog backups %v", catalogs)
	}
}

func TestLogBackupsByThemselves(t *testing.T) {
	system := startSystem(t, nil)
	db := connect(t, system, "SYSTEM", password, "SYSTEMDB")
	count := func() string {
		return table(t, db, "SELECT COUNT(*) FROM SYS_DATABASES.M_BACKUP_CATALOG WHERE ENTRY_TYPE_NAME = 'log backup'")[0]
	}
	exec(t, db, "SIM SET 'log-backups' '1ms'")
	exec(t, db, "SIM WORK 'HXE' 1")
	exec(t, db, "BACKUP DATA FOR HXE USING FILE ('F')")
	if got := count(); got != "0" {
		t.Errorf("%s log backups of what the data backup has", got)
	}
	exec(t, db, "SIM WORK 'HXE' 1")
	wait(t, "both volumes have a log backup", func() bool { return count() == "2" })

	// Another database goes on when this one is switched off.
	exec(t, db, "ALTER SYSTEM ALTER CONFIGURATION ('global.ini', 'DATABASE', 'HXE') SET ('persistence', 'enable_auto_log_backup') = 'no' WITH RECONFIGURE")
	exec(t, db, "BACKUP DATA USING FILE ('S')")
	exec(t, db, "SIM WORK 'HXE' 1")
	for i := range 3 { // HXE had its turn between two of these
		exec(t, db, "SIM WORK 'SYSTEMDB' 1")
		wait(t, "SYSTEMDB has a log backup", func() bool {
			return table(t, db, "SELECT COUNT(*) FROM SYS.M_BACKUP_CATALOG WHERE ENTRY_TYPE_NAME = 'log backup'")[0] == strconv.Itoa(i+1)
		})
	}
	if got := count(); got != "5" {
		t.Errorf("%s log backups of HXE and SYSTEMDB, want 2 and 3", got)
	}

	exec(t, db, "SIM SET 'log-backups' '1h'")
	exec(t, db, "SIM SET 'log-backups' '0'")
	if err := errors.Join(system.Crash(), system.Restart()); err != nil {
		t.Fatal(err)
	}
	exec(t, db, "SIM WORK 'SYSTEMDB' 1")
	exec(t, db, "SIM LOGBACKUP 'SYSTEMDB'") // by hand, and nothing else does
	if got := count(); got != "6" {
		t.Errorf("%s log backups after they were switched off", got)
	}
}

func TestLogModeOverwriteBreaksTheHistory(t *testing.T) {
	system := startSystem(t, nil)
	db := connect(t, system, "SYSTEM", password, "SYSTEMDB")
	const broken = "SELECT DATABASE_NAME, REASON, SERVICE_TYPE_NAME FROM SYS_DATABASES.M_BACKUP_HISTORY_BROKEN"
	configure := func(mode string) {
		t.Helper()
		exec(t, db, "ALTER SYSTEM ALTER CONFIGURATION ('global.ini', 'DATABASE', 'HXE') SET ('persistence', 'log_mode') = '"+mode+"' WITH RECONFIGURE")
	}
	exec(t, db, "BACKUP DATA FOR HXE USING FILE ('F')")
	exec(t, db, "SIM WORK 'HXE' 1")
	configure("overwrite")
	configure("overwrite")
	wantError(t, execOnce(t.Context(), db, "SIM LOGBACKUP 'HXE'"), 2, "log_mode overwrite")
	if diff := cmp.Diff([]string{"HXE|log mode overwrite|indexserver"}, table(t, db, broken)); diff != "" {
		t.Error(diff)
	}
	configure("normal")
	wantError(t, execOnce(t.Context(), db, "SIM LOGBACKUP 'HXE'"), 2, "before the first complete backup")
	wantError(t, execOnce(t.Context(), db, "BACKUP DATA INCREMENTAL FOR HXE USING FILE ('I')"), 447, "No data backups found.")
	exec(t, db, "BACKUP DATA FOR HXE USING FILE ('G')")
	exec(t, db, "SIM LOGBACKUP 'HXE'")
	exec(t, db, "ALTER SYSTEM STOP DATABASE HXE")
	exec(t, db, "RECOVER DATA FOR HXE USING FILE ('G') CLEAR LOG")
	if diff := cmp.Diff([]string{"HXE|log mode overwrite|indexserver", "HXE|recovery|indexserver"}, table(t, db, broken)); diff != "" {
		t.Error(diff)
	}
	wantError(t, execOnce(t.Context(), db, "BACKUP DATA DIFFERENTIAL FOR HXE USING FILE ('D')"), 447, "No data backups found.")
}

// The clock of HANA may differ from the machine's.
func TestClock(t *testing.T) {
	system := startSystem(t, nil)
	db := connect(t, system, "SYSTEM", password, "SYSTEMDB")
	for _, ahead := range []time.Duration{0, time.Hour, -time.Hour} {
		if err := system.Set("clock", ahead.String()); err != nil {
			t.Fatal(err)
		}
		var now time.Time
		if err := db.QueryRowContext(t.Context(), "SELECT CURRENT_UTCTIMESTAMP FROM DUMMY").Scan(&now); err != nil {
			t.Fatal(err)
		}
		if off := time.Until(now) - ahead; off.Abs() > 10*time.Second {
			t.Errorf("clock %s: %s is off by %s", ahead, now, off)
		}
	}
}

func TestBasePaths(t *testing.T) {
	system := startSystem(t, func(c *Config) { c.LogDir = "" })
	db := connect(t, system, "SYSTEM", password, "SYSTEMDB")
	exec(t, db, "BACKUP DATA FOR HXE USING FILE ('F')")
	exec(t, db, "SIM WORK 'HXE' 1")
	wantError(t, execOnce(t.Context(), db, "SIM LOGBACKUP 'HXE'"), 2, "no directory for log backups")
	logs, catalogs := t.TempDir(), t.TempDir()
	exec(t, db, "ALTER SYSTEM ALTER CONFIGURATION ('global.ini', 'SYSTEM') SET ('persistence', 'basepath_logbackup') = '"+logs+"', ('persistence', 'basepath_catalogbackup') = '"+catalogs+"' WITH RECONFIGURE")
	exec(t, db, "SIM LOGBACKUP 'HXE'")
	if len(list(t, logs+"/DB_HXE/log_backup_[23]_*")) != 2 || len(list(t, catalogs+"/DB_HXE/log_backup_0_*")) != 1 {
		t.Error("files are not where the parameters say")
	}
	const query = "SELECT KEY, VALUE FROM M_INIFILE_CONTENTS WHERE LAYER_NAME = 'DEFAULT' AND SECTION = 'persistence' ORDER BY KEY"
	want := []string{
		"basepath_catalogbackup|$(DIR_INSTANCE)/backup/log", "basepath_databackup|$(DIR_INSTANCE)/backup/data", "basepath_logbackup|$(DIR_INSTANCE)/backup/log",
		"enable_auto_log_backup|yes", "log_backup_timeout_s|900", "log_mode|normal",
	}
	if diff := cmp.Diff(want, table(t, db, query)); diff != "" {
		t.Error(diff)
	}
}

// A crash in a burst loses no log that is not in the catalog, and what comes
// after goes on where the catalog ends.
func TestCrashDuringABurst(t *testing.T) {
	system := startSystem(t, nil)
	db := connect(t, system, "SYSTEM", password, "SYSTEMDB")
	exec(t, db, "BACKUP DATA FOR HXE USING FILE ('F')")
	done := make(chan error, 1)
	go func() { done <- system.LogBurst(t.Context(), "HXE", 1_000_000) }()
	dir := filepath.Join(system.config.LogDir, "DB_HXE")
	wait(t, "log backups are written", func() bool {
		paths, err := filepath.Glob(dir + "/log_backup_2_*")
		return err == nil && len(paths) > 10
	})
	if err := system.Crash(); err != nil {
		t.Fatal(err)
	}
	before := list(t, dir+"/*")
	if err := <-done; err == nil {
		t.Error("the burst went on through the crash")
	}
	if err := system.Restart(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, list(t, dir+"/*")); diff != "" {
		t.Errorf("files changed after the crash:\n%s", diff)
	}
	exec(t, db, "SIM LOGBACKUP 'HXE'")
	last := map[string]string{"2": "113012992", "3": "113012992"}
	for _, row := range table(t, db, logRows) {
		fields := strings.Split(row, "|")
		if fields[1] != last[fields[0]] {
			t.Fatalf("after position %s comes %s", last[fields[0]], row)
		}
		last[fields[0]] = fields[2]
		if _, err := os.Stat(fields[3]); err != nil {
			t.Error(err)
		}
	}
	for volume, point := range system.Points("HXE") {
		if got := last[strconv.Itoa(volume)]; got != strconv.FormatInt(point.Position, 10) {
			t.Errorf("log backups of volume %d reach %s of %d", volume, got, point.Position)
		}
	}
}
