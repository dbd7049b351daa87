package hanasim

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// toTime is a RECOVER of HXE to a moment.
func (m moment) toTime(clauses string) string {
	return "RECOVER DATABASE FOR HXE UNTIL TIMESTAMP '" + m.until + "' CLEAR LOG " + clauses
}

// A log backup that is not there ends the recovery early, and nobody says so.
func TestRecoveryStopsEarly(t *testing.T) {
	tests := []struct {
		name    string
		prepare func(t *testing.T, s *story) (clauses string)
		reached int // the moment
	}{
		{"a wrong log path", func(t *testing.T, _ *story) string {
			t.Helper()
			return "USING LOG PATH ('" + t.TempDir() + "')"
		}, 0},
		{"a missing log backup", func(t *testing.T, s *story) string {
			t.Helper()
			for _, volume := range []int{2, 3} {
				paths := list(t, filepath.Join(s.system.config.LogDir, "DB_HXE", fmt.Sprintf("log_backup_%d_*", volume)))
				move(t, paths[1], t.TempDir())
			}
			return ""
		}, 1},
		{"log backups that HANA claims", func(t *testing.T, s *story) string {
			t.Helper()
			for _, fault := range []string{"log-skip:2", "log-skip:3"} {
				exec(t, s.db, "SIM SET 'fail' '"+fault+"'")
			}
			s.then("skipped", "SIM WORK 'HXE' 1", "SIM LOGBACKUP 'HXE'")
			s.then("after it", "SIM WORK 'HXE' 1", "SIM LOGBACKUP 'HXE'")
			return ""
		}, 3},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newStory(t)
			for i := range 3 {
				s.then("log "+strconv.Itoa(i), "SIM WORK 'HXE' 2", "SIM LOGBACKUP 'HXE'")
			}
			clauses := test.prepare(t, s)
			last := s.moments[len(s.moments)-1]
			got := s.recover("HXE", last.toTime(clauses))
			if diff := cmp.Diff(s.moments[test.reached].points, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}

			// It is an error if one wants it to be, or looks before.
			exec(t, s.db, "ALTER SYSTEM STOP DATABASE HXE")
			wantError(t, execOnce(t.Context(), s.db, last.toTime(clauses+" CHECK ACCESS ALL")), 448, "[2000004] Cannot open file")
			exec(t, s.db, "SIM SET 'log-gap' 'fail'")
			wantError(t, execOnce(t.Context(), s.db, last.toTime(clauses)), 448, "recovery could not be completed, volume 2, reached log position "+
				strconv.FormatInt(s.moments[test.reached].points[2].Position, 10)+", the log backup")
			// A time that the log backups before the gap go past does not need it.
			if test.reached == 0 {
				return
			}
			exec(t, s.db, s.moments[test.reached-1].toTime(clauses+" CHECK ACCESS ALL"))
			if diff := cmp.Diff(s.moments[test.reached-1].points, s.system.Points("HXE")); diff != "" {
				t.Errorf("before the gap (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRecoveryRefuses(t *testing.T) {
	s := newStory(t)
	s.then("delta", "SIM WORK 'HXE' 1", "BACKUP DATA DIFFERENTIAL FOR HXE USING FILE ('D')")
	s.then("log", "SIM WORK 'HXE' 1", "SIM LOGBACKUP 'HXE'")
	exec(t, s.db, "SIM RESIZE 'SYSTEMDB' 2 '1KiB'")
	exec(t, s.db, "BACKUP DATA USING FILE ('S')")
	system := table(t, s.db, "SELECT BACKUP_ID FROM SYS.M_BACKUP_CATALOG")[0]
	now := s.moments[2]
	ids := table(t, s.db, "SELECT BACKUP_ID FROM SYS_DATABASES.M_BACKUP_CATALOG WHERE ENTRY_TYPE_NAME LIKE '%data backup' AND DATABASE_NAME = 'HXE' ORDER BY 1")
	logs, data := filepath.Join(s.system.config.LogDir, "DB_HXE"), filepath.Join(s.system.config.BackupDir, "DB_HXE")
	tests := []struct {
		name, statement string
		code            int
		text            string
	}{
		{"before any backup", "RECOVER DATABASE FOR HXE UNTIL TIMESTAMP '2020-01-01 00:00:00' CLEAR LOG", 449, "recovery strategy could not be determined: [111014] The backup with backup id '0' cannot be used for recovery"},
		{"before that backup", s.moments[0].toTime("USING BACKUP_ID " + ids[1]), 449, "[111014] The backup with backup id '" + ids[1] + "' cannot be used"},
		{"an unknown backup", "RECOVER DATA FOR HXE USING BACKUP_ID 7 CLEAR LOG", 449, "[111014] The backup with backup id '7' cannot be used"},
		{"no source", "RECOVER DATA FOR COPY USING BACKUP_ID " + ids[0] + " USING CATALOG PATH ('" + logs + "') CLEAR LOG", 449, "the backup catalog is of database HXE"},
		{"another source", "RECOVER DATA FOR HXE USING BACKUP_ID " + ids[0] + " USING SOURCE 'COPY@HXE' CLEAR LOG", 449, "the backup catalog is of database HXE"},
		{"no catalog", now.toTime("USING CATALOG PATH ('" + t.TempDir() + "')"), 449, "no backup catalog was found in"},
		{"no directory", now.toTime("USING CATALOG PATH ('/nowhere')"), 449, "no backup catalog was found in"},
		{"SYSTEMDB by SQL", "RECOVER DATA FOR SYSTEMDB USING BACKUP_ID 7 CLEAR LOG", 7, "SYSTEMDB"},
		{"other services", "RECOVER DATA FOR HXE USING BACKUP_ID " + system + " USING SOURCE 'SYSTEMDB@HXE' USING CATALOG PATH ('" + filepath.Join(s.system.config.LogDir, "SYSTEMDB") + "') CLEAR LOG", 449, "its volumes are"},
		{"no data", now.toTime("USING DATA PATH ('" + t.TempDir() + "')"), 448, "[2000004] Cannot open file"},
		{"no access to data", now.toTime("USING DATA PATH ('" + t.TempDir() + "') CHECK ACCESS USING FILE"), 448, "[2000004] Cannot open file"},
	}
	exec(t, s.db, "ALTER SYSTEM STOP DATABASE HXE")
	exec(t, s.db, "ALTER SYSTEM STOP DATABASE COPY")
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			wantError(t, execOnce(t.Context(), s.db, test.statement), test.code, test.text)
		})
	}
	for _, path := range slices.Concat(list(t, data+"/D_databackup_differential_*_2_1"), list(t, logs+"/log_backup_3_*"), list(t, logs+"/log_backup_0_*")[2:]) {
		t.Run("altered "+filepath.Base(path), func(t *testing.T) {
			before, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			alter(t, path, 4100)
			wantError(t, execOnce(t.Context(), s.db, now.toTime("")), 448, "wrong checksum of the data")
			if err := os.WriteFile(path, before, 0o600); err != nil {
				t.Fatal(err)
			}
		})
	}
	exec(t, s.db, now.toTime(""))
	if diff := cmp.Diff(now.points, s.system.Points("HXE")); diff != "" {
		t.Error(diff)
	}
}

// Without CLEAR LOG what is in no log backup yet comes from the log area.
func TestLogArea(t *testing.T) {
	s := newStory(t)
	s.then("log", "SIM WORK 'HXE' 2", "SIM LOGBACKUP 'HXE'")
	s.then("no log backup", "SIM WORK 'HXE' 2")
	for _, clearLog := range []bool{false, true} {
		exec(t, s.db, "ALTER SYSTEM STOP DATABASE HXE")
		statement, want := s.moments[2].toTime(""), s.moments[1].points
		if !clearLog {
			statement, want = strings.Replace(statement, "CLEAR LOG", "", 1), s.moments[2].points
		}
		exec(t, s.db, statement)
		if diff := cmp.Diff(want, s.system.Points("HXE")); diff != "" {
			t.Errorf("clear log %t (-want +got):\n%s", clearLog, diff)
		}
	}
	// What is in the log area now is of the history that the recovery began.
	exec(t, s.db, "SIM WORK 'HXE' 1")
	exec(t, s.db, "ALTER SYSTEM STOP DATABASE HXE")
	exec(t, s.db, "RECOVER DATABASE FOR HXE UNTIL TIMESTAMP '2999-01-01 00:00:00'")
	if diff := cmp.Diff(s.moments[1].points, s.system.Points("HXE")); diff != "" {
		t.Errorf("another history (-want +got):\n%s", diff)
	}
}

// After a recovery there is another history: its log backups go on from the
// position reached and never mix with those of the history before.
func TestHistories(t *testing.T) {
	s := newStory(t)
	s.then("first", "SIM WORK 'HXE' 2", "SIM LOGBACKUP 'HXE'")
	s.then("lost", "SIM WORK 'HXE' 2", "SIM LOGBACKUP 'HXE'")
	exec(t, s.db, "ALTER SYSTEM STOP DATABASE HXE")
	s.then("recovered", s.moments[1].toTime(""))
	if diff := cmp.Diff(s.moments[1].points, s.moments[3].points); diff != "" {
		t.Fatal(diff)
	}
	s.then("second", "BACKUP DATA FOR HXE USING FILE ('SECOND')", "SIM WORK 'HXE' 1", "SIM LOGBACKUP 'HXE'", "SIM WORK 'HXE' 1", "BACKUP DATA DIFFERENTIAL FOR HXE USING FILE ('D')")
	for _, i := range []int{4, 2} { // each from the catalog of the recovery before
		if diff := cmp.Diff(s.moments[i].points, s.recover("HXE", s.moments[i].toTime(""))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", s.moments[i].what, diff)
		}
	}
}

// SYSTEMDB is recovered to a point in time by recoverSys.py, which stops it.
func TestRecoverSystemDBToATime(t *testing.T) {
	s := newStory(t)
	s.then("system", "SIM WORK 'SYSTEMDB' 1", "BACKUP DATA USING FILE ('S')", "SIM WORK 'SYSTEMDB' 1", "SIM LOGBACKUP 'SYSTEMDB'")
	want := s.system.Points("SYSTEMDB")
	exec(t, s.db, "SIM DESTROY 'SYSTEMDB'")
	order := func(command string) error {
		statement := "SIM RECOVER SYSTEMDB '" + strings.ReplaceAll(command, "'", "''") + "'"
		return Send(t.Context(), s.system.Control(), Order{User: "SYSTEM", Password: password, Statement: statement})
	}
	for command, want := range map[string]string{
		"RECOVER DATABASE FOR HXE UNTIL TIMESTAMP '2999-01-01 00:00:00'": "feature not supported",
		"recover everything": "sql syntax error",
	} {
		if err := order(command); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", command, err, want)
		}
	}
	if err := order("RECOVER DATABASE UNTIL TIMESTAMP '" + s.moments[1].until + "' CLEAR LOG"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, s.system.Points("SYSTEMDB")); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"HXE|YES"}, table(t, s.db, "SELECT DATABASE_NAME, ACTIVE_STATUS FROM M_DATABASES WHERE DATABASE_NAME = 'HXE'")); diff != "" {
		t.Error(diff)
	}
}

// With several complete backups the point in time chooses one, unless the
// statement does.
func TestWhichCompleteBackup(t *testing.T) {
	s := newStory(t)
	s.then("log", "SIM WORK 'HXE' 1", "SIM LOGBACKUP 'HXE'")
	s.then("second", "SIM WORK 'HXE' 1", "BACKUP DATA FOR HXE USING FILE ('SECOND')", "SIM LOGBACKUP 'HXE'")
	first := table(t, s.db, "SELECT MIN(BACKUP_ID) FROM SYS_DATABASES.M_BACKUP_CATALOG")[0]
	hide := func(name string) { // what must not be needed
		t.Helper()
		aside := t.TempDir()
		for _, path := range list(t, filepath.Join(s.system.config.BackupDir, "DB_HXE", name+"_*")) {
			move(t, path, aside)
		}
	}
	hide("SECOND")
	for i, clauses := range []string{"", "", "USING BACKUP_ID " + first} {
		if diff := cmp.Diff(s.moments[i].points, s.recover("HXE", s.moments[i].toTime(clauses))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", s.moments[i].what, diff)
		}
	}
	exec(t, s.db, "ALTER SYSTEM STOP DATABASE HXE")
	wantError(t, execOnce(t.Context(), s.db, s.moments[2].toTime("")), 448, "SECOND_databackup_")
}

func TestDestroyChangesTheState(t *testing.T) {
	s := newStory(t)
	exec(t, s.db, "SIM DESTROY 'HXE'")
	for volume, before := range s.moments[0].points {
		now := s.system.Points("HXE")[volume]
		if now.State == before.State || now.Position != before.Position {
			t.Errorf("volume %d had %d, %s and has %d, %s", volume, before.Position, before.Hex(), now.Position, now.Hex())
		}
	}
}

// A backup that the catalog calls failed is none for a recovery either.
func TestFailedInTheCatalog(t *testing.T) {
	s := newStory(t)
	exec(t, s.db, "SIM SET 'fail' 'catalog-failed'")
	exec(t, s.db, "BACKUP DATA FOR HXE USING FILE ('SECOND')")
	id := table(t, s.db, "SELECT BACKUP_ID FROM SYS_DATABASES.M_BACKUP_CATALOG WHERE STATE_NAME = 'failed'")[0]
	exec(t, s.db, "ALTER SYSTEM STOP DATABASE HXE")
	wantError(t, execOnce(t.Context(), s.db, "RECOVER DATA FOR HXE USING BACKUP_ID "+id+" CLEAR LOG"), 449, "backup id '"+id+"' cannot be used")
}
