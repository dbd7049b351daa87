package hanasim

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

func TestLogin(t *testing.T) {
	system := startSystem(t, nil)
	if err := system.Set("lock-after", "2"); err != nil {
		t.Fatal(err)
	}
	for _, code := range []int{10, 10, 416} {
		wrong := connect(t, system, "BACKUP", "wrong", "")
		wantError(t, wrong.PingContext(t.Context()), code, map[int]string{10: "authentication failed", 416: "user is locked; try again later: lock time is 1440 minutes"}[code])
	}
	wantError(t, connect(t, system, "NOBODY", "x", "").PingContext(t.Context()), 10, "authentication failed")
	wantError(t, connect(t, system, "BACKUP", password, "").PingContext(t.Context()), 416, "user is locked")
	if err := system.Set("unlock", "BACKUP"); err != nil {
		t.Fatal(err)
	}
	if err := connect(t, system, "BACKUP", password, "").PingContext(t.Context()); err != nil {
		t.Error(err)
	}
	if err := connect(t, system, "BACKUP", password, "NONE").PingContext(t.Context()); err == nil {
		t.Error("connected to a database that does not exist")
	}
}

func TestPrivileges(t *testing.T) {
	system := startSystem(t, nil)
	db := connect(t, system, "BACKUP", password, "SYSTEMDB")
	exec(t, db, "BACKUP DATA FOR HXE USING FILE ('A')")
	wantError(t, execOnce(t.Context(), db, "ALTER SYSTEM STOP DATABASE HXE"), 258, "insufficient privilege")
	for _, privilege := range []string{"DATABASE BACKUP OPERATOR", "DATABASE BACKUP ADMIN", "CATALOG READ"} {
		if err := system.Set("revoke", "BACKUP:"+privilege); err != nil {
			t.Fatal(err)
		}
	}
	wantError(t, execOnce(t.Context(), db, "BACKUP DATA FOR HXE USING FILE ('A')"), 258, "insufficient privilege: Detailed info for this error can be found with guid '")
	if got := table(t, db, "SELECT COUNT(*) FROM SYS_DATABASES.M_BACKUP_CATALOG"); got[0] != "0" {
		t.Errorf("without CATALOG READ %s rows are seen", got[0])
	}
	if err := system.Set("grant", "BACKUP:DATABASE STOP"); err != nil {
		t.Fatal(err)
	}
	exec(t, db, "ALTER SYSTEM STOP DATABASE HXE")
}

func TestStatementsRefused(t *testing.T) {
	system := startSystem(t, nil)
	db := connect(t, system, "SYSTEM", password, "SYSTEMDB")
	tenant := connect(t, system, "SYSTEM", password, "HXE")
	tests := []struct {
		inTenant  bool
		statement string
		code      int
		text      string
	}{
		{false, "BACKUP DATA FOR NONE USING FILE ('A')", 2, `database "NONE" does not exist`},
		{false, "BACKUP DATA DIFFERENTIAL USING FILE ('A')", 447, "No data backups found."},
		{false, "BACKUP DATA INCREMENTAL FOR HXE USING FILE ('A')", 447, "No data backups found."},
		{false, "SIM WORK 'HXE' 0", 2, "expected at least one"},
		{false, "SIM WORK 'HXE' 'x'", 2, "invalid syntax"},
		{false, "SIM WORK 'NONE' 1", 2, `database "NONE" does not exist`},
		{false, "SIM LOGBACKUP 'HXE'", 2, "no log backups before the first complete backup"},
		{false, "SIM LOGBURST 'NONE' 1", 2, `database "NONE" does not exist`},
		{false, "BACKUP CANCEL 7", 2, "there is no running backup with id 7"},
		{false, "ALTER SYSTEM STOP DATABASE SYSTEMDB", 7, "SYSTEMDB cannot be stopped"},
		{false, "ALTER SYSTEM START DATABASE HXE", 2, "already started"},
		{false, "RECOVER DATA FOR HXE USING FILE ('A') CLEAR LOG", 448, "recovery could not be completed: database HXE is not stopped"},
		{true, "RECOVER DATA USING FILE ('A') CLEAR LOG", 7, "only allowed in SYSTEMDB"},
		{true, "BACKUP DATA FOR SYSTEMDB USING FILE ('A')", 7, "feature not supported"},
		{true, "SELECT * FROM SYS_DATABASES.M_VOLUMES", 259, "invalid table name"},
		{false, "SELECT * FROM SYS.X", 259, "invalid table name:  Could not find table/view X in schema SYS: line 1 col 15 (at pos 14)"},
		{false, "BACKUP LOG", 257, "sql syntax error: incorrect syntax near"},
		{false, "SIM SET 'fail' 'nonsense'", 2, "expected <what>"},
		{false, "SIM SET 'nonsense' ''", 2, "unknown"},
		{false, "SIM RESIZE 'HXE' 2 '0'", 2, "expected a positive number"},
		{false, "ALTER SYSTEM CANCEL SESSION '7'", 2, "does not exist"},
	}
	for _, test := range tests {
		t.Run(test.statement, func(t *testing.T) {
			on := db
			if test.inTenant {
				on = tenant
			}
			wantError(t, execOnce(t.Context(), on, test.statement), test.code, test.text)
		})
	}
	if _, err := db.ExecContext(t.Context(), "BACKUP DATA USING FILE (?)", "A"); err == nil {
		t.Error("BACKUP took a parameter")
	} else {
		wantError(t, err, 257, `incorrect syntax near "?"`)
	}
}

func TestOneBackupAtATime(t *testing.T) {
	system := startSystem(t, nil)
	db := connect(t, system, "SYSTEM", password, "SYSTEMDB")
	exec(t, db, "SIM SET 'fail' 'stall:2:64KiB'")
	exec(t, db, "BACKUP DATA FOR HXE USING FILE ('A') ASYNCHRONOUS COMMENT 'async'")
	progress := func() []string {
		return table(t, db, "SELECT SERVICE_NAME, STATE_NAME FROM SYS_DATABASES.M_BACKUP_PROGRESS WHERE TRANSFERRED_SIZE < BACKUP_SIZE AND UTC_END_TIME IS NULL")
	}
	wait(t, "only volume 2 is not done", func() bool { return strings.Join(progress(), ",") == "indexserver|running" })
	wantError(t, execOnce(t.Context(), db, "BACKUP DATA FOR HXE USING FILE ('B')"), 447, "Conflicting operation in progress")
	exec(t, db, "BACKUP DATA USING FILE ('C')") // another database
	id := table(t, db, "SELECT BACKUP_ID FROM SYS_DATABASES.M_BACKUP_CATALOG WHERE \"COMMENT\" = 'async'")[0]
	exec(t, db, "BACKUP CANCEL "+id)
	wait(t, "the backup is canceled", func() bool {
		return len(table(t, db, "SELECT 1 FROM SYS_DATABASES.M_BACKUP_CATALOG WHERE STATE_NAME = 'canceled' AND BACKUP_ID = "+id)) == 1
	})
	exec(t, db, "BACKUP DATA FOR HXE USING FILE ('B')")
}

// Each fault has its effect on the next backup, and on that only.
func TestFaults(t *testing.T) {
	tests := []struct {
		fault string
		code  int
		text  string
	}{
		{"open:2:0:EACCES", 447, `backup could not be completed: [2000004] Cannot open file "<root>/.F_databackup_2_1"`},
		{"write:0:8KiB:ENOSPC", 447, "rc=28: No space left on device"},
		{"refuse", 447, "[1000002] Allocation failed; $size$=426870912; $name$=ChannelUtils::copy"},
		{"truncate:2:5KiB", 0, ""},
		{"header:3", 0, ""},
		{"extra:9:1KiB", 0, ""},
	}
	for _, test := range tests {
		t.Run(test.fault, func(t *testing.T) {
			system := startSystem(t, func(c *Config) { c.WriteSize = 4096 })
			db := connect(t, system, "SYSTEM", password, "HXE")
			exec(t, db, "SIM SET 'fail' '"+test.fault+"'")
			err := execOnce(t.Context(), db, "BACKUP DATA USING FILE ('F')")
			if test.code == 0 && err != nil {
				t.Error(err)
			}
			if test.code != 0 {
				wantError(t, err, test.code, test.text)
			}
			exec(t, db, "BACKUP DATA USING FILE ('G')")
			sizes := table(t, db, "SELECT SOURCE_ID, BACKUP_SIZE FROM M_BACKUP_CATALOG_FILES WHERE DESTINATION_PATH LIKE '%F_databackup_%' ORDER BY 1")
			want := map[bool]string{true: "", false: "0|155648,2|3149824,3|4097"}[test.code != 0]
			if strings.HasPrefix(test.fault, "extra") {
				want += ",9|5120"
			}
			if got := strings.Join(sizes, ","); got != want {
				t.Errorf("catalog has %s, want %s", got, want)
			}
		})
	}
}

func TestHangUpAfterSuccess(t *testing.T) {
	system := startSystem(t, nil)
	db := connect(t, system, "SYSTEM", password, "SYSTEMDB")
	exec(t, db, "SIM SET 'fail' 'hangup'")
	if err := execOnce(t.Context(), db, "BACKUP DATA FOR HXE USING FILE ('A')"); err == nil {
		t.Error("the answer came")
	}
	if got := table(t, db, "SELECT STATE_NAME FROM SYS_DATABASES.M_BACKUP_CATALOG"); strings.Join(got, ",") != "successful" {
		t.Errorf("catalog has %v", got)
	}
}

func TestRecoverRefusesAWrongBackup(t *testing.T) {
	tests := []struct {
		name   string
		change func(t *testing.T, path, other string)
		code   int
		text   string
	}{
		{"short", func(t *testing.T, path, _ string) {
			t.Helper()
			truncate(t, path+"_databackup_2_1", 1<<20)
		}, 448, "recovery could not be completed, volume 2, reached log position 0, [110088] Error reading backup file"},
		{"empty", func(t *testing.T, path, _ string) { t.Helper(); truncate(t, path+"_databackup_0_1", 0) }, 448, "volume 0, "},
		{"altered", func(t *testing.T, path, _ string) { t.Helper(); alter(t, path+"_databackup_2_1", 2<<20) }, 448, "at offset 2097152: wrong checksum"},
		{"another volume", func(t *testing.T, path, _ string) { t.Helper(); replace(t, path, 2, path, 3) }, 448, "expected volume 2 from byte 0 but found volume 3"},
		{"another backup", func(t *testing.T, path, other string) { t.Helper(); replace(t, path, 2, other, 2) }, 449, "recovery strategy could not be determined: [111014] The backup with backup id"},
		{"missing", func(t *testing.T, path, _ string) {
			t.Helper()
			if err := os.Remove(path + "_databackup_3_1"); err != nil {
				t.Error(err)
			}
		}, 448, `[2000004] Cannot open file "<root>/FULL_databackup_3_1"`},
	}
	for _, headerPass := range []bool{false, true} {
		for _, test := range tests {
			t.Run(fmt.Sprintf("%s, header pass %t", test.name, headerPass), func(t *testing.T) {
				system := startSystem(t, func(c *Config) { c.HeaderPass = headerPass })
				db := connect(t, system, "SYSTEM", password, "SYSTEMDB")
				path, other := prefix(t), prefix(t)
				exec(t, db, "BACKUP DATA FOR HXE USING FILE ('"+path+"')")
				exec(t, db, "BACKUP DATA FOR HXE USING FILE ('"+other+"')")
				test.change(t, path, other)
				exec(t, db, "ALTER SYSTEM STOP DATABASE HXE")
				wantError(t, execOnce(t.Context(), db, "RECOVER DATA FOR HXE USING FILE ('"+path+"') CLEAR LOG"), test.code, test.text)
				wantError(t, execOnce(t.Context(), db, "ALTER SYSTEM START DATABASE HXE"), 2, "its recovery has not succeeded")
				exec(t, db, "RECOVER DATA FOR HXE USING FILE ('"+other+"') CLEAR LOG")
				if got := table(t, db, "SELECT ACTIVE_STATUS FROM M_DATABASES WHERE DATABASE_NAME = 'HXE'"); got[0] != "YES" {
					t.Error("the tenant is not online after a good recovery")
				}
			})
		}
	}
}

func truncate(t *testing.T, path string, size int64) {
	t.Helper()
	if err := os.Truncate(path, size); err != nil {
		t.Error(err)
	}
}

func alter(t *testing.T, path string, at int) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[at] ^= 0x40
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Error(err)
	}
}

func replace(t *testing.T, path string, volume int, from string, fromVolume int) {
	t.Helper()
	source, target := fmt.Sprintf("%s_databackup_%d_1", from, fromVolume), fmt.Sprintf("%s_databackup_%d_1", path, volume)
	data, err := os.ReadFile(source)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(target, data, 0o600); err != nil {
		t.Error(err)
	}
}

func TestRecoverFault(t *testing.T) {
	system := startSystem(t, nil)
	db := connect(t, system, "SYSTEM", password, "SYSTEMDB")
	path := prefix(t)
	exec(t, db, "BACKUP DATA FOR HXE USING FILE ('"+path+"')")
	exec(t, db, "SIM SET 'fail' 'recover'")
	exec(t, db, "ALTER SYSTEM STOP DATABASE HXE")
	wantError(t, execOnce(t.Context(), db, "RECOVER DATA FOR HXE USING FILE ('"+path+"') CLEAR LOG"), 448, "[71000018] ptime::PtimeException")
}

func TestSecondaryCannotBackUp(t *testing.T) {
	system := startSystem(t, nil)
	db := connect(t, system, "SYSTEM", password, "SYSTEMDB")
	exec(t, db, "SIM SET 'replication' 'secondary'")
	wantError(t, execOnce(t.Context(), db, "BACKUP DATA USING FILE ('A')"), 447, "secondary")
	if got := table(t, db, "SELECT VALUE FROM M_INIFILE_CONTENTS WHERE SECTION='system_replication' AND KEY='actual_mode'"); strings.Join(got, "") != "sync" {
		t.Errorf("actual_mode %v", got)
	}
}

// Close ends what runs, however it blocks.
func TestCloseEndsEverything(t *testing.T) {
	system := startSystem(t, nil)
	db := connect(t, system, "SYSTEM", password, "SYSTEMDB")
	path := prefix(t)
	mkfifo(t, path, ".", 0, 2, 3)
	exec(t, db, "BACKUP DATA FOR HXE USING FILE ('"+path+"') ASYNCHRONOUS")
	exec(t, db, "SIM SET 'delay-answer' '1h'")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- execOnce(ctx, db, "BACKUP DATA USING FILE ('S')") }()
	wait(t, "SYSTEMDB's backup waits with its answer", func() bool {
		return len(table(t, db, "SELECT 1 FROM M_BACKUP_CATALOG WHERE STATE_NAME = 'successful'")) == 1
	})
	closed := make(chan error, 1)
	go func() { closed <- system.Close() }()
	select {
	case err := <-closed:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("Close hangs")
	}
	if err := <-done; err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
