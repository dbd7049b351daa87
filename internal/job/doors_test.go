package job

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// throughDoor chooses a door and a way in which HANA writes.
func throughDoor(door Door, profile hanasim.Profile) func(*hanasim.Config, *Parts, *Config) {
	return func(sim *hanasim.Config, _ *Parts, c *Config) { sim.Profile, c.Door = profile, door }
}

// TestEveryWayOfWriting backs up and restores with every profile of HANA that
// anybody thinks possible, through every door that can take it.
func TestEveryWayOfWriting(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		profile  hanasim.Profile
		door     Door
		attempt  int
		warnings int
		doors    []string // of volumes 0, 2 and 3
	}{
		{hanasim.Plain, DoorAuto, 0, 0, []string{"fifo", "fifo", "fifo"}},
		{hanasim.Dotname, DoorAuto, 0, 0, []string{"fifo", "fifo", "fifo"}},
		{hanasim.DirectFallback, DoorAuto, 0, 0, []string{"fifo", "fifo", "fifo"}},
		{hanasim.Offset, DoorAuto, 0, 0, []string{"fifo", "fifo", "fifo"}},
		{hanasim.Replace, DoorAuto, 0, 3, []string{"spool", "spool", "spool"}},
		{hanasim.Direct, DoorAuto, 2, 1, []string{"spool", "spool", "spool"}},
		{hanasim.Plain, DoorSpool, 0, 0, []string{"spool", "spool", "spool"}},
		{hanasim.Dotname, DoorSpool, 0, 0, []string{"spool", "spool", "spool"}},
		{hanasim.Direct, DoorSpool, 0, 0, []string{"spool", "spool", "spool"}},
		{hanasim.Offset, DoorSpool, 0, 0, []string{"spool", "spool", "spool"}},
	} {
		t.Run(string(test.profile)+" "+string(test.door), func(t *testing.T) {
			t.Parallel()
			w := startWhole(t, throughDoor(test.door, test.profile))
			record := w.backupOf(t, "HXE")
			if record.State != StateSucceeded || record.Attempt != test.attempt || len(record.Warnings) != test.warnings {
				t.Fatalf("%s in attempt %d, %q, because of %v", record.State, record.Attempt, record.Warnings, record.Error)
			}
			m, err := w.Backup(t.Context(), "HXE", Latest)
			if err != nil {
				t.Fatal(err)
			}
			if comment := (backup.Plan{JobID: record.ID, Attempt: record.Attempt}).Comment(); m.JobID != record.ID || m.Catalog.Comment != comment || (comment != record.ID) != (test.attempt == 2) {
				t.Errorf("the manifest is of job %s, the comment in the catalog is %s; the job is %s", m.JobID, m.Catalog.Comment, record.ID)
			}
			var doors []string
			for i := range m.Streams {
				doors = append(doors, m.Streams[i].Door)
			}
			if diff := cmp.Diff(test.doors, doors); diff != "" {
				t.Errorf("doors (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(record.Warnings, m.Warnings); diff != "" {
				t.Errorf("warnings (-record +manifest):\n%s", diff)
			}
			if left := names(t, w.pipes); len(left) > 0 {
				t.Errorf("left in the backup directory: %v", left)
			}
			w.expectRestored(t, RestoreRequest{Database: "HXE", Backup: Latest})
		})
	}
}

// expectRestored destroys the database and restores it to the state in which it
// was before.
func (w whole) expectRestored(t *testing.T, request RestoreRequest) Record {
	t.Helper()
	content, points := w.system.Content("HXE"), w.system.Points("HXE")
	if err := w.system.Destroy("HXE"); err != nil {
		t.Fatal(err)
	}
	record := w.restoreTo(t, request)
	if record.State != StateSucceeded {
		t.Fatalf("restore %s because of %v, %q", record.State, record.Error, record.Consequences)
	}
	if diff := cmp.Diff(content, w.system.Content("HXE")); diff != "" {
		t.Errorf("content after the restore (-before +after):\n%s", diff)
	}
	if diff := cmp.Diff(points, w.system.Points("HXE")); diff != "" {
		t.Errorf("log after the restore (-before +after):\n%s", diff)
	}
	if left := names(t, w.pipes); len(left) > 0 {
		t.Errorf("left in the backup directory: %v", left)
	}
	return record
}

// A HANA that refuses pipes is remembered: the next backup, of the next process
// too, goes through files at once.
func TestRefusedPipesAreRemembered(t *testing.T) {
	t.Parallel()
	w := startWhole(t, throughDoor(DoorAuto, hanasim.Direct))
	if first := w.backupOf(t, "HXE"); first.State != StateSucceeded || first.Attempt != 2 {
		t.Fatalf("%s in attempt %d because of %v", first.State, first.Attempt, first.Error)
	}
	w.Close()
	w.Conductor = w.again(t)
	second := w.backupOf(t, "SYSTEMDB")
	if second.State != StateSucceeded || second.Attempt != 0 {
		t.Errorf("%s in attempt %d because of %v", second.State, second.Attempt, second.Error)
	}
	if second.Streams[0].Door != backup.DoorSpool {
		t.Errorf("it came through %q", second.Streams[0].Door)
	}
}

// A backup that did not succeed through files either proves nothing: the next one
// tries pipes again.
func TestRefusedPipesAreProvenByASuccess(t *testing.T) {
	t.Parallel()
	w := startWhole(t, func(sim *hanasim.Config, p *Parts, c *Config) {
		sim.Profile, c.Door = hanasim.Direct, DoorAuto
		p.Store = &faultyStore{Store: p.Store, failing: "commit"}
	})
	if record := w.backupOf(t, "HXE"); record.State != StateLost || record.Attempt != 2 {
		t.Fatalf("%s in attempt %d because of %v", record.State, record.Attempt, record.Error)
	}
	if known, err := KnownDoors(w.state); err != nil || len(known) > 0 {
		t.Errorf("it has learnt %v, %v", known, err)
	}
}

// TestMoreThanPlanned lets HANA write files that nobody could know of.
func TestMoreThanPlanned(t *testing.T) {
	t.Parallel()
	for _, door := range []Door{DoorAuto, DoorSpool} {
		t.Run(string(door)+"_parts", func(t *testing.T) {
			t.Parallel()
			w := startWhole(t, throughDoor(door, hanasim.Dotname))
			w.set(t, "chunk-size", "1MiB")
			record := w.backupOf(t, "HXE")
			if record.State != StateSucceeded || len(record.Streams) < 5 {
				t.Fatalf("%s with %d streams because of %v", record.State, len(record.Streams), record.Error)
			}
			w.expectRestored(t, RestoreRequest{Database: "HXE", Backup: Latest})
		})
		t.Run(string(door)+"_volume", func(t *testing.T) {
			t.Parallel()
			w := startWhole(t, throughDoor(door, hanasim.Dotname))
			w.set(t, "fail", "extra:9:64KiB")
			record := w.backupOf(t, "HXE")
			if record.State != StateSucceeded || len(record.Streams) != 4 || len(record.Warnings) != 1 {
				t.Fatalf("%s with %d streams, %q, because of %v", record.State, len(record.Streams), record.Warnings, record.Error)
			}
			m, err := w.Backup(t.Context(), "HXE", Latest)
			if err != nil {
				t.Fatal(err)
			}
			if last := m.Streams[3]; last.VolumeID != 9 || last.Door != backup.DoorSpool {
				t.Errorf("the last stream of the manifest is %+v", last)
			}
		})
	}
}

func (w whole) set(t *testing.T, key, value string) {
	t.Helper()
	if err := w.system.Set(key, value); err != nil {
		t.Fatal(err)
	}
}

// What a failed backup leaves on the volume is not removed, and told.
func TestFilesOfAFailedBackupStay(t *testing.T) {
	t.Parallel()
	w := startWhole(t, throughDoor(DoorSpool, hanasim.Dotname))
	w.set(t, "fail", "answer-failed")
	record := w.backupOf(t, "HXE")
	if record.State != StateLost {
		t.Fatalf("%s because of %v", record.State, record.Error)
	}
	if left := names(t, w.pipes); len(left) != 3 {
		t.Errorf("the directory has %v", left)
	}
	if !slices.ContainsFunc(record.Consequences, func(text string) bool { return strings.Contains(text, "only copy") }) {
		t.Errorf("consequences: %q", record.Consequences)
	}
}

// Files that the store has stay for KeepFor, also across a restart, and one that
// has changed meanwhile stays for good.
func TestFilesAreKept(t *testing.T) {
	t.Parallel()
	w := startWhole(t, func(_ *hanasim.Config, _ *Parts, c *Config) { c.Door, c.KeepFor = DoorSpool, time.Hour })
	record := w.backupOf(t, "HXE")
	if record.State != StateSucceeded || len(record.Spooled) != 3 {
		t.Fatalf("%s with %v because of %v", record.State, record.Spooled, record.Error)
	}
	w.tidyOnce(t.Context(), time.Now())
	files := names(t, w.pipes)
	if len(files) != 3 {
		t.Fatalf("before its time the directory has %v", files)
	}
	changed := filepath.Join(w.pipes, files[0])
	if err := os.Truncate(changed, 1); err != nil {
		t.Fatal(err)
	}
	w.Close()
	w.Conductor = w.again(t)
	w.tidyOnce(t.Context(), time.Now().Add(2*time.Hour))
	if diff := cmp.Diff(files[:1], names(t, w.pipes)); diff != "" {
		t.Errorf("files after their time (-want +got):\n%s", diff)
	}
	if record, err := w.Job(record.ID); err != nil || len(record.Spooled) != 0 {
		t.Errorf("the record still has %v, %v", record.Spooled, err)
	}
}
