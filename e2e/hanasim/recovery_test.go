package hanasim

import (
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim/files"
)

// moment is a point in time and what the volumes were then.
type moment struct {
	what   string
	until  string
	points map[int]Point
}

// story is a database with a history of backups.
type story struct {
	t       *testing.T
	system  *System
	db      *sql.DB
	clock   time.Duration
	content []Content
	moments []moment
}

// newStory starts a system with a second tenant and makes a complete backup.
func newStory(t *testing.T) *story {
	t.Helper()
	system := startSystem(t, func(c *Config) {
		c.Databases[1].Volumes[0].Size = 100_000 // the race detector makes every byte dear
		c.Databases = append(c.Databases, Database{Name: "COPY", Volumes: []Volume{{ID: 4, Size: 10}, {ID: 5, Service: "xsengine", Size: 10}}})
	})
	s := &story{t: t, system: system, db: connect(t, system, "SYSTEM", password, "SYSTEMDB"), content: system.Content("HXE")}
	s.then("complete", "SIM WORK 'HXE' 3", "BACKUP DATA FOR HXE USING FILE ('FULL')")
	return s
}

// then carries out statements two seconds later and keeps the moment after.
func (s *story) then(what string, statements ...string) {
	s.t.Helper()
	s.clock += 2 * time.Second
	if err := s.system.Set("clock", s.clock.String()); err != nil {
		s.t.Fatal(err)
	}
	for _, statement := range statements {
		exec(s.t, s.db, statement)
	}
	at := time.Now().UTC().Add(s.clock).Truncate(time.Second).Add(time.Second)
	s.moments = append(s.moments, moment{what, at.Format(time.DateTime), s.system.Points("HXE")})
}

// recover destroys and recovers a database and gives the points it reached.
func (s *story) recover(database, statement string) map[int]Point {
	s.t.Helper()
	exec(s.t, s.db, "SIM DESTROY '"+database+"'")
	exec(s.t, s.db, "ALTER SYSTEM STOP DATABASE "+database)
	exec(s.t, s.db, statement)
	return s.system.Points(database)
}

// manyBackups makes every kind of backup, one after another.
func manyBackups(t *testing.T) *story {
	t.Helper()
	s := newStory(t)
	work, logs := "SIM WORK 'HXE' 5", "SIM LOGBACKUP 'HXE'"
	s.then("log", work, logs)
	s.then("incremental", work, "BACKUP DATA INCREMENTAL FOR HXE USING FILE ('I1')", work, logs)
	s.then("incremental on it", work, logs, work, "BACKUP DATA INCREMENTAL FOR HXE USING FILE ('I2')", logs)
	s.then("nothing but work", work)
	s.then("differential", work, "BACKUP DATA DIFFERENTIAL FOR HXE USING FILE ('D')", work, logs)
	s.then("incremental on the differential", work, "BACKUP DATA INCREMENTAL FOR HXE USING FILE ('I3')")
	s.then("more logs", logs, work, logs, work, logs)
	return s
}

func TestRecoverToEachMoment(t *testing.T) {
	s := manyBackups(t)
	for _, m := range s.moments {
		t.Run(m.what, func(t *testing.T) {
			s.t = t
			got := s.recover("HXE", "RECOVER DATABASE FOR HXE UNTIL TIMESTAMP '"+m.until+"' CLEAR LOG")
			if diff := cmp.Diff(m.points, got); diff != "" {
				t.Errorf("recovered to %s (-want +got):\n%s", m.until, diff)
			}
			if diff := cmp.Diff(s.content, s.system.Content("HXE")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A backup alone is recovered by its id, a delta with those it builds on.
func TestRecoverByBackupID(t *testing.T) {
	s := newStory(t)
	kinds := []string{"INCREMENTAL", "INCREMENTAL", "DIFFERENTIAL", "INCREMENTAL"}
	points := []map[int]Point{s.system.Points("HXE")}
	for i, kind := range kinds {
		exec(t, s.db, "SIM WORK 'HXE' 4")
		exec(t, s.db, fmt.Sprintf("BACKUP DATA %s FOR HXE USING FILE ('B%d')", kind, i))
		points = append(points, s.system.Points("HXE"))
	}
	for i, id := range table(t, s.db, "SELECT BACKUP_ID FROM SYS_DATABASES.M_BACKUP_CATALOG ORDER BY 1") {
		if diff := cmp.Diff(points[i], s.recover("HXE", "RECOVER DATA FOR HXE USING BACKUP_ID "+id+" CLEAR LOG")); diff != "" {
			t.Errorf("backup %d (-want +got):\n%s", i, diff)
		}
	}
	path := filepath.Join(s.system.config.BackupDir, "DB_HXE", "FULL")
	if diff := cmp.Diff(points[0], s.recover("HXE", "RECOVER DATA FOR HXE USING FILE ('"+path+"') CLEAR LOG")); diff != "" {
		t.Errorf("by its files (-want +got):\n%s", diff)
	}
}

// Everything is read where the statement says, into another tenant.
func TestRecoverFromElsewhere(t *testing.T) {
	s := manyBackups(t)
	last := s.moments[len(s.moments)-1]
	dirs := map[string]string{}
	for _, kind := range []string{"catalog", "log", "otherlog", "data"} {
		dirs[kind] = t.TempDir()
	}
	for i, path := range list(t, filepath.Join(s.system.config.LogDir, "DB_HXE", "log_backup_[1-9]*")) {
		move(t, path, dirs[[]string{"log", "otherlog"}[i%2]])
	}
	for _, path := range list(t, filepath.Join(s.system.config.LogDir, "DB_HXE", "log_backup_0_*")) {
		move(t, path, dirs["catalog"])
	}
	for _, path := range list(t, filepath.Join(s.system.config.BackupDir, "DB_HXE", "*")) {
		move(t, path, dirs["data"])
	}
	statement := fmt.Sprintf("RECOVER DATABASE FOR COPY UNTIL TIMESTAMP '%s' CLEAR LOG USING SOURCE 'HXE@HXE' USING CATALOG PATH ('%s') USING LOG PATH ('%s', '%s') USING DATA PATH ('%s') CHECK ACCESS USING FILE",
		last.until, dirs["catalog"], dirs["log"], dirs["otherlog"], dirs["data"])
	got := s.recover("COPY", statement)
	want := map[int]Point{4: last.points[2], 5: last.points[3]}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if diff := cmp.Diff(s.content, s.system.Content("COPY")); diff != "" {
		t.Error(diff)
	}
	exec(t, s.db, "BACKUP DATA FOR COPY USING FILE ('AFTER')")
	own, source := filepath.Join(s.system.config.BackupDir, "DB_COPY", "AFTER_databackup_4_1"), filepath.Join(dirs["data"], "FULL_databackup_2_1")
	if dbid(t, own) != dbid(t, source) {
		t.Error("the database is not the one that was recovered")
	}
	rows := table(t, s.db, "SELECT VOLUME_ID, LOG_POSITION, STATE FROM SIM.CONTENT WHERE DATABASE_NAME = 'COPY' AND VOLUME_ID = 4")
	if diff := cmp.Diff([]string{fmt.Sprintf("4|%d|%s", want[4].Position, want[4].Hex())}, rows); diff != "" {
		t.Error(diff)
	}
}

// dbid is what a file calls the database.
func dbid(t *testing.T, path string) string {
	t.Helper()
	header, err := files.Reader{Profile: files.Plain}.Header(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	return header.DBID
}

func list(t *testing.T, pattern string) []string {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) == 0 {
		t.Fatalf("%s: %v, %v", pattern, paths, err)
	}
	return paths
}

func move(t *testing.T, path, dir string) {
	t.Helper()
	if err := os.Rename(path, filepath.Join(dir, filepath.Base(path))); err != nil {
		t.Fatal(err)
	}
}
