package hanasim

import (
	"context"
	"database/sql"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/SAP/go-hdb/driver"
	"github.com/google/go-cmp/cmp"
)

const catalogOfHXE = "SELECT STATE_NAME FROM SYS_DATABASES.M_BACKUP_CATALOG WHERE DATABASE_NAME = 'HXE'"

// states gives the states of HXE's backups, oldest first.
func states(t *testing.T, db *sql.DB) string {
	t.Helper()
	return strings.Join(table(t, db, catalogOfHXE+" ORDER BY BACKUP_ID"), ",")
}

// begin backs HXE up to a directory of its own and gives what came of it, and
// the path prefix.
func begin(t *testing.T, db *sql.DB) (answer <-chan error, path string) {
	t.Helper()
	path = prefix(t)
	done := make(chan error, 1)
	go func() {
		done <- execOnce(context.WithoutCancel(t.Context()), db, "BACKUP DATA FOR HXE USING FILE ('"+path+"')")
	}()
	return done, path
}

func stalled(t *testing.T, system *System) {
	t.Helper()
	wait(t, "the backup stalls", func() bool { return system.Stalled() == 1 })
}

// The answer, the catalog and the files may each tell something else.
func TestAnswerAndCatalog(t *testing.T) {
	tests := []struct {
		fault string
		code  int // of the answer
		text  string
		state string
		rows  string // of the catalog's files
	}{
		{"end", 447, "[8022830] ltt::exception caught while operating on IDBackupCatalog", "failed", ""},
		{"catalog-failed", 0, "", "failed", ""},
		{"answer-failed", 447, "[8022830]", "successful", "0|155648,2|3149824,3|4097"},
		{"skip:2", 0, "", "successful", "0|155648,2|3149824,3|4097"},
		{"reopen:2:64KiB", 0, "", "successful", "0|155648,2|3149824,3|4097"},
		{"restart:2:4KiB", 0, "", "successful", "0|155648,2|3149824,3|4097"},
		{"die:2:64KiB", 447, "the service that wrote the backup is not reachable any more", "failed", ""},
		{"unlink:2:64KiB", 447, "rc=2: No such file or directory", "failed", ""},
	}
	for _, test := range tests {
		t.Run(test.fault, func(t *testing.T) {
			system := startSystem(t, nil)
			db := connect(t, system, "SYSTEM", password, "SYSTEMDB")
			exec(t, db, "SIM SET 'fail' '"+test.fault+"'")
			answer, _ := begin(t, db)
			err := <-answer
			if test.code == 0 && err != nil {
				t.Error(err)
			}
			if test.code != 0 {
				wantError(t, err, test.code, test.text)
			}
			rows := table(t, db, "SELECT SOURCE_ID, BACKUP_SIZE FROM SYS_DATABASES.M_BACKUP_CATALOG_FILES WHERE SOURCE_TYPE_NAME <> 'catalog' ORDER BY 1")
			if got := states(t, db); got != test.state || strings.Join(rows, ",") != test.rows {
				t.Errorf("catalog: %s with %v, want %s with %s", got, rows, test.state, test.rows)
			}
			message := table(t, db, "SELECT MESSAGE FROM SYS_DATABASES.M_BACKUP_CATALOG")[0]
			if strings.HasPrefix(message, "[447] backup could not be completed, ") != (test.state == "failed") {
				t.Errorf("message %q", message)
			}
			again, _ := begin(t, db)
			if err := <-again; err != nil {
				t.Errorf("the next backup: %v", err)
			}
		})
	}
}

func TestCatalogIsLate(t *testing.T) {
	for _, test := range []struct {
		key, state, files string // meanwhile
	}{
		{"late-row", "", "0"},
		{"late-state", "running", "0"},
		{"late-files", "successful", "0"},
	} {
		t.Run(test.key, func(t *testing.T) {
			system := startSystem(t, nil)
			db := connect(t, system, "SYSTEM", password, "SYSTEMDB")
			exec(t, db, "SIM SET '"+test.key+"' '1h'")
			exec(t, db, "BACKUP DATA FOR HXE USING FILE ('A')")
			files := table(t, db, "SELECT COUNT(*) FROM SYS_DATABASES.M_BACKUP_CATALOG_FILES")[0]
			if got := states(t, db); got != test.state || files != test.files {
				t.Errorf("after the answer the catalog says %q and has %s files", got, files)
			}
			if ended := table(t, db, "SELECT 1 FROM SYS_DATABASES.M_BACKUP_CATALOG WHERE UTC_END_TIME IS NOT NULL"); len(ended) > 0 != (test.state == "successful") {
				t.Errorf("%d backups have an end", len(ended))
			}
			exec(t, db, "SIM SET '"+test.key+"' '20ms'")
			exec(t, db, "BACKUP DATA FOR HXE USING FILE ('B')")
			wait(t, "the catalog knows it", func() bool {
				return len(table(t, db, `SELECT 1 FROM SYS_DATABASES.M_BACKUP_CATALOG C JOIN SYS_DATABASES.M_BACKUP_CATALOG_FILES F
					ON F.BACKUP_ID = C.BACKUP_ID WHERE C.STATE_NAME = 'successful'`)) == 4
			})
		})
	}
}

// The client loses its connection at any moment; the backup goes on.
func TestBackupGoesOnWithoutItsClient(t *testing.T) {
	for _, test := range []struct {
		name     string
		settings []string
		leave    bool // the client goes by itself
	}{
		{"cut at once", []string{"'fail' 'cut'", "'fail' 'stall-open:2'"}, false},
		{"cut in the middle", []string{"'fail' 'cut:2:1MiB'", "'fail' 'stall:2:1MiB'"}, false},
		{"cut at the end", []string{"'fail' 'stall-end'", "'fail' 'cut:2:3149824'"}, false},
		{"leaves", []string{"'client-gone' 'continue'", "'fail' 'stall:2:1MiB'"}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			system := startSystem(t, nil)
			db := connect(t, system, "SYSTEM", password, "SYSTEMDB")
			for _, setting := range test.settings {
				exec(t, db, "SIM SET "+setting)
			}
			ctx, leave := context.WithCancel(t.Context())
			defer leave()
			done := make(chan error, 1)
			go func() { done <- execOnce(ctx, db, "BACKUP DATA FOR HXE USING FILE ('A')") }()
			if test.leave {
				stalled(t, system)
				leave()
			}
			err := <-done
			if _, answered := errors.AsType[driver.Error](err); err == nil || answered {
				t.Errorf("the client got %v", err)
			}
			stalled(t, system)
			if got := states(t, db); got != "running" {
				t.Errorf("the catalog says %s", got)
			}
			exec(t, db, "SIM SET 'resume' ''")
			wait(t, "the backup ends", func() bool { return states(t, db) == "successful" })
		})
	}
}

func TestBackupThatCannotBeCanceled(t *testing.T) {
	for _, test := range []struct {
		cancel string
		code   int
		state  string
	}{{"refuse", 2, "running"}, {"ignore", 0, "cancel pending"}} {
		t.Run(test.cancel, func(t *testing.T) {
			system := startSystem(t, nil)
			db := connect(t, system, "SYSTEM", password, "SYSTEMDB")
			exec(t, db, "SIM SET 'cancel' '"+test.cancel+"'")
			exec(t, db, "SIM SET 'fail' 'stall:2:1MiB'")
			answer, _ := begin(t, db)
			stalled(t, system)
			id := table(t, db, "SELECT BACKUP_ID FROM SYS_DATABASES.M_BACKUP_CATALOG")[0]
			err := execOnce(t.Context(), db, "BACKUP CANCEL "+id)
			if test.code != 0 {
				wantError(t, err, test.code, "cannot be canceled now")
			} else if err != nil {
				t.Error(err)
			}
			if got := states(t, db); got != test.state || system.Stalled() != 1 {
				t.Errorf("the catalog says %s", got)
			}
			if got := table(t, db, "SELECT TRANSFERRED_SIZE FROM SYS_DATABASES.M_BACKUP_PROGRESS WHERE SERVICE_NAME = 'indexserver'")[0]; got != "1204224" {
				t.Errorf("%s bytes are written, want those of volume 0 and 1 MiB", got)
			}
			exec(t, db, "SIM SET 'resume' ''")
			if err := <-answer; err != nil || states(t, db) != "successful" {
				t.Errorf("%v, catalog %s", err, states(t, db))
			}
		})
	}
}

// A service that vanishes, or that stalls, ends when the backup is cancelled.
func TestHangingBackupIsCanceled(t *testing.T) {
	for _, fault := range []string{"vanish:2:64KiB", "stall-open:2", "stall:2:64KiB", "stall-end"} {
		t.Run(fault, func(t *testing.T) {
			system := startSystem(t, nil)
			db := connect(t, system, "SYSTEM", password, "SYSTEMDB")
			exec(t, db, "SIM SET 'fail' '"+fault+"'")
			answer, _ := begin(t, db)
			var id []string
			wait(t, "the backup runs", func() bool {
				id = table(t, db, "SELECT BACKUP_ID FROM SYS_DATABASES.M_BACKUP_CATALOG WHERE STATE_NAME = 'running'")
				return len(id) == 1
			})
			exec(t, db, "BACKUP CANCEL "+id[0])
			wantError(t, <-answer, 447, "the backup was canceled")
			if got := states(t, db); got != "canceled" {
				t.Errorf("the catalog says %s", got)
			}
		})
	}
}

func TestAnswerIsHeldBack(t *testing.T) {
	system := startSystem(t, nil)
	db := connect(t, system, "SYSTEM", password, "SYSTEMDB")
	exec(t, db, "SIM SET 'fail' 'stall-answer'")
	answer, _ := begin(t, db)
	stalled(t, system)
	if got := states(t, db); got != "successful" {
		t.Errorf("the catalog says %s", got)
	}
	select {
	case err := <-answer:
		t.Fatalf("the answer is there: %v", err)
	default:
	}
	exec(t, db, "SIM SET 'resume' ''")
	if err := <-answer; err != nil {
		t.Error(err)
	}
}

func TestCrash(t *testing.T) {
	for _, leaves := range []string{"failed", "running"} {
		t.Run(leaves, func(t *testing.T) {
			system := startSystem(t, nil)
			db := connect(t, system, "SYSTEM", password, "SYSTEMDB")
			exec(t, db, "SIM SET 'crash-leaves' '"+leaves+"'")
			exec(t, db, "SIM SET 'fail' 'stall:2:1MiB'")
			answer, path := begin(t, db)
			stalled(t, system)
			if err := execOnce(t.Context(), db, "SIM CRASH"); err == nil {
				t.Error("the crash was answered")
			}
			err := <-answer
			if _, answered := errors.AsType[driver.Error](err); err == nil || answered {
				t.Errorf("the client of the backup got %v", err)
			}
			wait(t, "the ports refuse", func() bool {
				conn, err := net.Dial("tcp", system.Addr("SYSTEMDB"))
				if err == nil {
					shut(t, conn)
				}
				return errors.Is(err, syscall.ECONNREFUSED)
			})
			dir, base := filepath.Split(path)
			if info, err := os.Stat(filepath.Join(dir, "."+base+"_databackup_2_1")); err != nil || info.Size() != 1<<20 {
				t.Errorf("what was written: %v, %v", info, err)
			}
			if err := Send(t.Context(), system.Control(), Order{"SYSTEM", password, "SIM START"}); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{"SYSTEMDB|YES", "HXE|YES"}, table(t, db, "SELECT DATABASE_NAME, ACTIVE_STATUS FROM M_DATABASES")); diff != "" {
				t.Error(diff)
			}
			if got := states(t, db); got != leaves {
				t.Errorf("the catalog says %s", got)
			}
			exec(t, db, "BACKUP DATA FOR HXE USING FILE ('B')")
		})
	}
}

func TestCrashInGo(t *testing.T) {
	system := startSystem(t, nil)
	if err := system.Crash(); err != nil {
		t.Error(err)
	}
	if conn, err := net.Dial("tcp", system.Addr("HXE")); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("%v, %v", conn, err)
	}
	if err := system.Restart(); err != nil {
		t.Error(err)
	}
	if err := connect(t, system, "SYSTEM", password, "HXE").PingContext(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestCatalogCannotBeRead(t *testing.T) {
	system := startSystem(t, nil)
	db := connect(t, system, "SYSTEM", password, "SYSTEMDB")
	exec(t, db, "BACKUP DATA FOR HXE USING FILE ('A')")
	exec(t, db, "SIM SET 'catalog' 'error'")
	for _, view := range []string{"M_BACKUP_CATALOG", "SYS_DATABASES.M_BACKUP_CATALOG_FILES"} {
		err := db.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM "+view).Scan(new(int))
		wantError(t, err, 2, "[8022830]")
	}
	if err := db.PingContext(t.Context()); err != nil {
		t.Error(err)
	}
	table(t, db, "SELECT * FROM M_VOLUMES") // anything else can be read
	exec(t, db, "SIM SET 'catalog' 'hang'")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- db.QueryRowContext(ctx, catalogOfHXE).Scan(new(string)) }()
	wait(t, "the query runs", func() bool {
		return len(table(t, db, "SELECT 1 FROM M_CONNECTIONS WHERE CONNECTION_STATUS = 'RUNNING'")) == 2
	})
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	exec(t, db, "SIM SET 'catalog' 'ok'")
	if got := states(t, db); got != "successful" {
		t.Errorf("the catalog says %s", got)
	}
}

func TestCatalogDeleteFails(t *testing.T) {
	system := startSystem(t, nil)
	db := connect(t, system, "BACKUP", password, "SYSTEMDB")
	exec(t, db, "BACKUP DATA FOR HXE USING FILE ('A')")
	id := table(t, db, "SELECT BACKUP_ID FROM SYS_DATABASES.M_BACKUP_CATALOG")[0]
	remove := "BACKUP CATALOG DELETE FOR HXE BACKUP_ID " + id
	exec(t, db, "SIM SET 'fail' 'delete'")
	wantError(t, execOnce(t.Context(), db, remove), 2, "cannot be deleted")
	for _, privilege := range []string{"BACKUP ADMIN", "DATABASE BACKUP ADMIN"} {
		exec(t, db, "SIM SET 'revoke' 'BACKUP:"+privilege+"'")
	}
	wantError(t, execOnce(t.Context(), db, remove), 258, "insufficient privilege")
	exec(t, db, "SIM SET 'grant' 'BACKUP:BACKUP ADMIN'")
	if got := states(t, db); got != "successful" {
		t.Errorf("the catalog says %s", got)
	}
	exec(t, db, remove)
	if got := table(t, db, "SELECT BACKUP_ID FROM SYS_DATABASES.M_BACKUP_CATALOG_FILES"); len(got) > 0 {
		t.Errorf("%d files are left in the catalog", len(got))
	}
	wantError(t, execOnce(t.Context(), db, remove), 2, "not in the backup catalog")
}
