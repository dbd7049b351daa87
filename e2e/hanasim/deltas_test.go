package hanasim

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim/files"
)

func TestDeltaBackups(t *testing.T) {
	for _, profile := range files.Profiles() {
		t.Run(string(profile), func(t *testing.T) {
			system := startSystem(t, func(c *Config) {
				c.Profile = profile
				c.Databases[1].Volumes[0].Size = 100_000
			})
			db := connect(t, system, "SYSTEM", password, "HXE")
			exec(t, db, "SIM SET 'delta-size' '300KiB'")
			for i, kind := range []string{"", "INCREMENTAL", "INCREMENTAL", "DIFFERENTIAL", "INCREMENTAL"} {
				exec(t, db, "SIM WORK 'HXE' 2")
				exec(t, db, fmt.Sprintf("BACKUP DATA %s USING FILE ('B%d')", kind, i))
			}
			ids := table(t, db, "SELECT BACKUP_ID FROM M_BACKUP_CATALOG ORDER BY 1")
			var want, got []string
			for i, kind := range []string{"", "incremental", "incremental", "differential", "incremental"} {
				for _, volume := range []string{"0|155648", "2|311296", "3|311296"} {
					id, size, _ := strings.Cut(volume, "|")
					name := fmt.Sprintf("B%d_databackup_%s_%s_%s_%s_1", i, kind, ids[[]int{0, 0, 1, 0, 3}[i]], ids[i], id)
					if i > 0 {
						want = append(want, name+"|"+kind+" data backup|"+size)
					}
				}
			}
			const query = "SELECT F.DESTINATION_PATH, C.ENTRY_TYPE_NAME, F.BACKUP_SIZE FROM M_BACKUP_CATALOG_FILES F JOIN M_BACKUP_CATALOG C ON C.ENTRY_ID = F.ENTRY_ID" +
				" WHERE F.SOURCE_TYPE_NAME <> 'catalog' AND C.ENTRY_TYPE_NAME <> 'complete data backup' ORDER BY C.ENTRY_ID, F.SOURCE_ID"
			for _, row := range table(t, db, query) {
				path, _, _ := strings.Cut(row, "|")
				got = append(got, strings.TrimPrefix(row, filepath.Join(system.config.BackupDir, "DB_HXE")+"/"))
				if info, err := os.Lstat(path); err != nil || !strings.HasSuffix(row, fmt.Sprintf("|%d", info.Size())) {
					t.Errorf("%s: %v, %v", row, info, err)
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			positions := table(t, db, "SELECT REDO_LOG_POSITION FROM M_BACKUP_CATALOG_FILES WHERE SOURCE_ID = 2 ORDER BY BACKUP_ID")
			if diff := cmp.Diff([]string{"113013120", "113013248", "113013376", "113013504", "113013632"}, positions); diff != "" {
				t.Error(diff)
			}
			recoverBackup(t, system, ids[4])
		})
	}
}

// recoverBackup recovers HXE from a backup that has all that there is now.
func recoverBackup(t *testing.T, system *System, id string) {
	t.Helper()
	db := connect(t, system, "SYSTEM", password, "SYSTEMDB")
	points, content := system.Points("HXE"), system.Content("HXE")
	exec(t, db, "SIM DESTROY 'HXE'")
	exec(t, db, "ALTER SYSTEM STOP DATABASE HXE")
	exec(t, db, "RECOVER DATA FOR HXE USING BACKUP_ID "+id+" CLEAR LOG")
	if diff := cmp.Diff(points, system.Points("HXE")); diff != "" {
		t.Errorf("points (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(content, system.Content("HXE")); diff != "" {
		t.Errorf("content (-want +got):\n%s", diff)
	}
}

// Records of any number come back, also when they do not fit into one part.
func TestDeltaInParts(t *testing.T) {
	system := startSystem(t, nil)
	db := connect(t, system, "SYSTEM", password, "HXE")
	exec(t, db, "BACKUP DATA USING FILE ('F')")
	exec(t, db, "SIM WORK 'HXE' 5000")
	exec(t, db, "SIM SET 'delta-size' '100KiB'")
	exec(t, db, "SIM SET 'chunk-size' '70000'")
	exec(t, db, "BACKUP DATA DIFFERENTIAL USING FILE ('D')")
	ids := table(t, db, "SELECT BACKUP_ID FROM M_BACKUP_CATALOG ORDER BY 1")
	parts := table(t, db, "SELECT COUNT(*), SUM(BACKUP_SIZE) FROM M_BACKUP_CATALOG_FILES WHERE SOURCE_ID = 2 AND BACKUP_ID = ?", ids[1])
	if diff := cmp.Diff([]string{fmt.Sprintf("5|%d", 5000*64+5*files.HeaderSize)}, parts); diff != "" {
		t.Error(diff)
	}
	recoverBackup(t, system, ids[1])
}

// A failed or deleted backup is no base.
func TestBases(t *testing.T) {
	system := startSystem(t, nil)
	db := connect(t, system, "SYSTEM", password, "HXE")
	bases := func() string {
		t.Helper()
		exec(t, db, "BACKUP DATA INCREMENTAL USING FILE ('I')")
		path := table(t, db, "SELECT DESTINATION_PATH FROM M_BACKUP_CATALOG_FILES WHERE SOURCE_ID = 2 ORDER BY BACKUP_ID DESC")[0]
		return strings.Split(filepath.Base(path), "_")[3]
	}
	id := func() string { return table(t, db, "SELECT MAX(BACKUP_ID) FROM M_BACKUP_CATALOG")[0] }
	exec(t, db, "BACKUP DATA USING FILE ('F')")
	full := id()
	exec(t, db, "SIM SET 'fail' 'write:2:8KiB:EIO'")
	wantError(t, execOnce(t.Context(), db, "BACKUP DATA INCREMENTAL USING FILE ('X')"), 447, "rc=5: Input/output error")
	if got := bases(); got != full {
		t.Errorf("builds on %s, want the complete backup %s", got, full)
	}
	first := id()
	if got := bases(); got != first {
		t.Errorf("builds on %s, want the delta %s", got, first)
	}
	second := id()
	exec(t, db, "BACKUP CATALOG DELETE BACKUP_ID "+second)
	if got := bases(); got != first {
		t.Errorf("builds on %s, want the delta %s, what came after was deleted", got, first)
	}
}

func TestEstimationsOfDeltas(t *testing.T) {
	system := startSystem(t, nil)
	db := connect(t, system, "SYSTEM", password, "HXE")
	const query = "SELECT ENTRY_TYPE_NAME, ESTIMATED_SIZE FROM M_BACKUP_SIZE_ESTIMATIONS WHERE SERVICE_NAME = 'indexserver' ORDER BY 1"
	complete := "complete data backup|3145728"
	if diff := cmp.Diff([]string{complete}, table(t, db, query)); diff != "" {
		t.Error(diff)
	}
	exec(t, db, "BACKUP DATA USING FILE ('F')")
	exec(t, db, "SIM SET 'delta-size' '5000B'")
	exec(t, db, "SIM WORK 'HXE' 100")
	if diff := cmp.Diff([]string{complete, "differential data backup|6400", "incremental data backup|6400"}, table(t, db, query)); diff != "" {
		t.Error(diff)
	}
}

// A recovery to a time reads each file once, from pipes too.
func TestRecoverToATimeThroughPipes(t *testing.T) {
	s := manyBackups(t)
	last := s.moments[len(s.moments)-1]
	pipes := t.TempDir()
	var serving sync.WaitGroup
	served := 0
	for _, path := range append(list(t, filepath.Join(s.system.config.BackupDir, "DB_HXE", "*")), list(t, filepath.Join(s.system.config.LogDir, "DB_HXE", "*"))...) {
		name := filepath.Base(path)
		needed := strings.HasPrefix(name, "FULL") || strings.HasPrefix(name, "D_") || strings.HasPrefix(name, "I3")
		if strings.HasPrefix(name, "log_") {
			move(t, path, pipes)
			continue
		}
		if err := syscall.Mkfifo(filepath.Join(pipes, name), 0o600); err != nil {
			t.Fatal(err)
		}
		if !needed {
			continue // its pipe has no writer: an open would hang
		}
		served++
		serving.Go(func() { serve(t, path, filepath.Join(pipes, name)) })
	}
	statement := fmt.Sprintf("USING CATALOG PATH ('%s') USING LOG PATH ('%s') USING DATA PATH ('%s')", pipes, pipes, pipes)
	if diff := cmp.Diff(last.points, s.recover("HXE", last.toTime(statement))); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	serving.Wait()
	if served != 9 {
		t.Errorf("%d files were served, want those of three backups of three volumes", served)
	}
}

// serve writes a file into a pipe, once.
func serve(t *testing.T, path, pipe string) {
	t.Helper()
	source, err := os.Open(path)
	if err != nil {
		t.Error(err)
		return
	}
	defer shut(t, source)
	sink, err := os.OpenFile(pipe, os.O_WRONLY, 0)
	if err != nil {
		t.Error(err)
		return
	}
	defer shut(t, sink)
	if _, err := io.Copy(sink, source); err != nil {
		t.Error(err)
	}
}

func TestPrivilegesOfUsers(t *testing.T) {
	system := startSystem(t, nil)
	db := connect(t, system, "SYSTEM", password, "SYSTEMDB")
	const query = "SELECT USER_NAME, PRIVILEGE, OBJECT_TYPE, IS_VALID FROM SYS.EFFECTIVE_PRIVILEGES WHERE USER_NAME = 'BACKUP' AND PRIVILEGE LIKE 'DATABASE ST%'"
	if diff := cmp.Diff([]string{"BACKUP|DATABASE START|SYSTEMPRIVILEGE|TRUE"}, table(t, db, query)); diff != "" {
		t.Error(diff)
	}
	exec(t, db, "SIM SET 'revoke' 'BACKUP:DATABASE START'")
	if got := table(t, db, query); len(got) > 0 {
		t.Errorf("got %v after it was revoked", got)
	}
}
