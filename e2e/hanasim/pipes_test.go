package hanasim

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim/files"
)

// mkfifo makes pipes for the volumes of a backup.
func mkfifo(t *testing.T, path, dot string, volumes ...int) []string {
	t.Helper()
	names := make([]string, len(volumes))
	for i, volume := range volumes {
		dir, base := filepath.Split(path)
		names[i] = fmt.Sprintf("%s%s%s_databackup_%d_1", dir, dot, base, volume)
		if err := syscall.Mkfifo(names[i], 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return names
}

// copyAll copies each pipe to a writer and gives the bytes copied.
func copyAll(t *testing.T, names []string, to func(i int) io.Writer) func() []int64 {
	t.Helper()
	copied := make([]int64, len(names))
	var wait sync.WaitGroup
	for i, name := range names {
		wait.Go(func() {
			reader, err := os.Open(name)
			if err != nil {
				t.Error(err)
				return
			}
			defer shut(t, reader)
			if copied[i], err = io.Copy(to(i), reader); err != nil {
				t.Error(err)
			}
		})
	}
	return func() []int64 { wait.Wait(); return copied }
}

func TestBackupAndRecoverThroughPipes(t *testing.T) {
	for _, profile := range []Profile{Plain, Dotname} {
		t.Run(string(profile), func(t *testing.T) {
			system := startSystem(t, func(c *Config) { c.Profile = profile })
			db := connect(t, system, "SYSTEM", password, "SYSTEMDB")
			path, dot := prefix(t), ""
			if profile == Dotname {
				dot = "."
			}
			kept := t.TempDir()
			names := mkfifo(t, path, dot, 0, 2, 3)
			store := make([]*os.File, len(names))
			for i := range names {
				file, err := os.Create(filepath.Join(kept, strconv.Itoa(i)))
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { shut(t, file) })
				store[i] = file
			}
			copied := copyAll(t, names, func(i int) io.Writer { return store[i] })
			exec(t, db, "BACKUP DATA FOR HXE USING FILE ('"+path+"')")
			if diff := cmp.Diff([]int64{155648, files.HeaderSize + 3<<20, files.HeaderSize + 1}, copied()); diff != "" {
				t.Error(diff)
			}

			before := system.Content("HXE")
			exec(t, db, "SIM DESTROY 'HXE'")
			exec(t, db, "ALTER SYSTEM STOP DATABASE HXE")
			restore := filepath.Join(t.TempDir(), "R")
			served := serveAll(t, mkfifo(t, restore, "", 0, 2, 3), kept)
			exec(t, db, "RECOVER DATA FOR HXE USING FILE ('"+restore+"') CLEAR LOG")
			served()
			if diff := cmp.Diff(before, system.Content("HXE")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// serveAll writes what was kept into each pipe once.
func serveAll(t *testing.T, names []string, kept string) func() {
	t.Helper()
	var wait sync.WaitGroup
	for i, name := range names {
		wait.Go(func() {
			data, err := os.ReadFile(filepath.Join(kept, strconv.Itoa(i)))
			if err != nil {
				t.Error(err)
				return
			}
			if err := os.WriteFile(name, data, 0); err != nil {
				t.Error(err)
			}
		})
	}
	return wait.Wait
}

func TestReaderDiesInTheMiddle(t *testing.T) {
	system := startSystem(t, nil)
	db := connect(t, system, "SYSTEM", password, "SYSTEMDB")
	path := prefix(t)
	names := mkfifo(t, path, ".", 0, 2, 3)
	// Volume 3 never gets a reader: its writer blocks in open and has to be
	// released when volume 2 fails.
	copied := copyAll(t, names[:1], func(int) io.Writer { return io.Discard })
	dead := make(chan error, 1)
	go func() {
		reader, err := os.Open(names[1])
		if err == nil {
			_, err = io.CopyN(io.Discard, reader, 1<<20)
			shut(t, reader)
		}
		dead <- err
	}()
	err := execOnce(t.Context(), db, "BACKUP DATA FOR HXE USING FILE ('"+path+"') COMMENT 'x'")
	wantError(t, err, 447, "backup could not be completed: [2000008] Error during asynchronous file transfer (io_getevents), rc=32: Broken pipe; ")
	if err := <-dead; err != nil {
		t.Error(err)
	}
	copied()
	row := strings.Split(table(t, db, `SELECT STATE_NAME, MESSAGE FROM SYS_DATABASES.M_BACKUP_CATALOG WHERE "COMMENT" = 'x'`)[0], "|")
	if row[0] != "failed" || !strings.HasPrefix(row[1], "[447] backup could not be completed, [2000008] Error during") || len(strings.Join(row[1:], "|")) != 512 {
		t.Errorf("catalog: %v", row)
	}
	if got := table(t, db, "SELECT COUNT(*) FROM SYS_DATABASES.M_BACKUP_CATALOG_FILES"); got[0] != "0" {
		t.Errorf("%s files of a failed backup", got)
	}
}

func TestCancelDuringABlockedOpen(t *testing.T) {
	tests := []struct {
		name   string
		cancel func(t *testing.T, db *sql.DB, id string, leave context.CancelFunc)
		inner  string
	}{
		{"BACKUP CANCEL", func(t *testing.T, db *sql.DB, id string, _ context.CancelFunc) {
			t.Helper()
			exec(t, db, "BACKUP CANCEL "+id)
		}, "the backup was canceled"},
		{"CANCEL SESSION", func(t *testing.T, db *sql.DB, _ string, _ context.CancelFunc) {
			t.Helper()
			for _, session := range table(t, db, "SELECT CONNECTION_ID FROM M_CONNECTIONS WHERE CONNECTION_STATUS = 'RUNNING' AND CONNECTION_ID <> CURRENT_CONNECTION") {
				exec(t, db, "ALTER SYSTEM CANCEL SESSION '"+session+"'")
			}
		}, "the client has gone"},
		{"STOP DATABASE", func(t *testing.T, db *sql.DB, _ string, _ context.CancelFunc) {
			t.Helper()
			exec(t, db, "ALTER SYSTEM STOP DATABASE HXE")
		}, "the database was stopped"},
		{"the client goes away", func(_ *testing.T, _ *sql.DB, _ string, leave context.CancelFunc) { leave() }, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			system := startSystem(t, nil)
			db := connect(t, system, "SYSTEM", password, "SYSTEMDB")
			path := prefix(t)
			mkfifo(t, path, ".", 0, 2, 3)
			ctx, leave := context.WithCancel(t.Context())
			defer leave()
			done := make(chan error, 1)
			go func() { done <- execOnce(ctx, db, "BACKUP DATA FOR HXE USING FILE ('"+path+"')") }()
			var id string
			wait(t, "the backup runs", func() bool {
				rows := table(t, db, "SELECT BACKUP_ID FROM SYS_DATABASES.M_BACKUP_CATALOG WHERE STATE_NAME = 'running' AND UTC_END_TIME IS NULL")
				id = strings.Join(rows, "")
				return id != ""
			})
			test.cancel(t, db, id, leave)
			if err := <-done; test.inner != "" {
				wantError(t, err, 447, test.inner)
			}
			wait(t, "the backup is canceled", func() bool {
				return len(table(t, db, "SELECT 1 FROM SYS_DATABASES.M_BACKUP_CATALOG WHERE STATE_NAME = 'canceled'")) == 1
			})
		})
	}
}

func TestSixteenVolumesAtOnce(t *testing.T) {
	const volumes = 16
	system := startSystem(t, func(c *Config) {
		c.Databases[1].Volumes = nil
		for id := 2; id < 2+volumes; id++ {
			c.Databases[1].Volumes = append(c.Databases[1].Volumes, Volume{ID: id, Size: 1<<20 + int64(id)})
		}
		c.WriteSize = 1 << 16
		c.Delay.Write = Range{Max: 1e6}
	})
	db := connect(t, system, "SYSTEM", password, "HXE")
	path := prefix(t)
	ids := []int{0}
	want := []int64{155648}
	for id := 2; id < 2+volumes; id++ {
		ids, want = append(ids, id), append(want, files.HeaderSize+1<<20+int64(id))
	}
	copied := copyAll(t, mkfifo(t, path, ".", ids...), func(int) io.Writer { return io.Discard })
	exec(t, db, "BACKUP DATA USING FILE ('"+path+"')")
	if diff := cmp.Diff(want, copied()); diff != "" {
		t.Error(diff)
	}
}

func TestAGibibyteInConstantMemory(t *testing.T) {
	system := startSystem(t, func(c *Config) { c.Databases[1].Volumes = []Volume{{ID: 2, Size: 1 << 30}}; c.Profile = Plain })
	db := connect(t, system, "SYSTEM", password, "HXE")
	path := prefix(t)
	copied := copyAll(t, mkfifo(t, path, "", 0, 2), func(int) io.Writer { return io.Discard })
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	exec(t, db, "BACKUP DATA USING FILE ('"+path+"')")
	runtime.ReadMemStats(&after)
	if diff := cmp.Diff([]int64{155648, files.HeaderSize + 1<<30}, copied()); diff != "" {
		t.Error(diff)
	}
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 32<<20 {
		t.Errorf("%d MiB were allocated for 1 GiB", grown>>20)
	}
}
