package e2e

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim"
	"github.com/pipestreamer/pipestreamer/internal/job"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

const mebibyte = 1 << 20

// The sizes of contents; a file is 4096 bytes larger. The parts of these
// streams have 5 MiB.
var (
	oneVolume    = []int64{1} // a file of 4097 bytes
	threeVolumes = []int64{17*mebibyte + 1, 4096, 4097}
	manyVolumes  = []int64{
		1, 4095, 4096, 4097, 8 << 10, 64<<10 - 4096, 64 << 10, 100_000, mebibyte - 1, mebibyte,
		5*mebibyte - 4097, 5*mebibyte - 4096, 5*mebibyte - 4095, 10*mebibyte - 4096, 12_345_678, 40 * mebibyte,
	}
)

// TestComplete backs up a database, destroys it and restores it, for each way
// in which HANA may write and each kind of store.
func TestComplete(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		volumes []int64
		profile hanasim.Profile
		store   func(*testing.T) *depot
		name    string
	}{
		{oneVolume, hanasim.Dotname, openS3, "s3"},
		{oneVolume, hanasim.Plain, openLocal, "local"},
		{threeVolumes, hanasim.Plain, openS3, "s3"},
		{threeVolumes, hanasim.DirectFallback, openS3, "s3"},
		{threeVolumes, hanasim.Dotname, openLocal, "local"},
		{threeVolumes, hanasim.Replace, openS3, "s3"},
		{threeVolumes, hanasim.Direct, openS3, "s3"},
		{threeVolumes, hanasim.Offset, openS3, "s3"},
		{manyVolumes, hanasim.Dotname, openS3, "s3"},
		{manyVolumes, hanasim.DirectFallback, openLocal, "local"},
	} {
		t.Run(fmt.Sprintf("%d volumes, %s, %s", len(test.volumes), test.profile, test.name), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, hanasim.Config{
				Databases: []hanasim.Database{systemDB(), {Name: "HXE", Volumes: volumes(test.volumes...)}},
				Profile:   test.profile, HeaderPass: test.profile != hanasim.Plain,
			}, test.store(t), nil)
			record := w.backUp("HXE")
			manifest := w.expectAgreement(record)
			if len(manifest.Streams) != len(test.volumes)+1 {
				t.Errorf("%d streams for %d volumes and the topology", len(manifest.Streams), len(test.volumes))
			}
			w.destroyAndRestore(record)
			w.expectAgreement(record)
			w.stopDaemon()
		})
	}
}

// destroyAndRestore restores the tenant of a backup and compares what it holds.
func (w *world) destroyAndRestore(record job.Record) {
	w.t.Helper()
	database := record.Database
	before := w.hana.Content(database)
	if err := w.hana.Destroy(database); err != nil {
		w.t.Fatal(err)
	}
	if gocmp.Equal(before, w.hana.Content(database)) {
		w.t.Fatal("nothing was destroyed")
	}
	restored := w.run("restore", "--database", database, "--backup", "latest").expect(w.t, 0).record(w.t)
	if restored.State != job.StateSucceeded || restored.BackupID != record.BackupID {
		w.t.Errorf("the restore ended %s with backup %d, expected backup %d", restored.State, restored.BackupID, record.BackupID)
	}
	if diff := gocmp.Diff(before, w.hana.Content(database)); diff != "" {
		w.t.Errorf("content of %s (-before +after):\n%s", database, diff)
	}
	if !w.online(database) {
		w.t.Errorf("database %s is not online after its restore", database)
	}
}

// TestSystemDB does the same with SYSTEMDB, which an operator recovers with the
// command that the job gives.
func TestSystemDB(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(*testing.T) *depot{"s3": openS3, "local": openLocal} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, hanasim.Config{
				Databases: []hanasim.Database{systemDB(), {Name: "HXE", Volumes: volumes(mebibyte)}},
				Profile:   hanasim.Dotname, HeaderPass: true,
			}, open(t), map[string]any{"timeouts": map[string]any{"end": "2s"}})
			record := w.backUp(backup.SystemDB)
			w.expectAgreement(record)

			before := w.hana.Content(backup.SystemDB)
			if err := w.hana.Destroy(backup.SystemDB); err != nil {
				t.Fatal(err)
			}
			restoring := w.begin("restore", "--database", backup.SystemDB, "--backup", strconv.FormatInt(record.BackupID, 10))
			command := w.awaitCommand()
			path := regexp.MustCompile(`^HDBSettings\.sh recoverSys\.py --command="RECOVER DATA USING FILE \('([^']+)'\) CLEAR LOG" --wait$`).FindStringSubmatch(command)
			if path == nil {
				t.Fatalf("not a command for recoverSys.py: %q", command)
			}
			if err := w.hana.RecoverSystemDB(t.Context(), path[1]); err != nil {
				t.Errorf("HANA cannot recover: %v", err)
			}
			restored := restoring().expect(t, 0)
			if state := restored.record(t).State; state != job.StateSucceeded {
				t.Errorf("the restore ended %s", state)
			}
			if diff := gocmp.Diff(before, w.hana.Content(backup.SystemDB)); diff != "" {
				t.Errorf("content (-before +after):\n%s", diff)
			}
			// Both are up again, and the daemon finds its way back to HANA.
			w.expectNoPipes()
			w.backUp("HXE")
			w.stopDaemon()
		})
	}
}

// awaitCommand waits for the command that a running restore of SYSTEMDB gives.
func (w *world) awaitCommand() string {
	w.t.Helper()
	client := w.client()
	var command string
	eventually(w.t, "a restore gives its command", func() bool {
		jobs, err := client.Jobs(w.t.Context())
		if err != nil {
			w.t.Fatal(err)
		}
		i := slices.IndexFunc(jobs, func(r job.Record) bool { return r.Action == job.ActionRestore })
		if i < 0 {
			return false
		}
		if jobs[i].State.Terminal() {
			w.t.Fatalf("the restore ended %s: %v", jobs[i].State, jobs[i].Error)
		}
		command = jobs[i].Command
		return command != ""
	})
	return command
}

// TestSeveralBackups keeps two backups of a database beside each other and
// restores the older one.
func TestSeveralBackups(t *testing.T) {
	t.Parallel()
	w := newWorld(t, hanasim.Config{
		Databases: []hanasim.Database{systemDB(), {Name: "HXE", Volumes: volumes(threeVolumes...)}}, Profile: hanasim.Dotname,
	}, openLocal(t), nil)
	first := w.backUp("HXE")
	firstManifest := w.expectAgreement(first)
	before := w.hana.Content("HXE")
	if err := w.hana.Destroy("HXE"); err != nil {
		t.Fatal(err)
	}
	second := w.backUp("HXE")
	w.expectAgreement(second, firstManifest)

	summaries := decode[[]job.BackupSummary](t, w.run("list", "--database", "HXE").expect(t, 0).stdout)
	var ids []int64
	for _, s := range summaries {
		ids = append(ids, s.BackupID)
	}
	if diff := gocmp.Diff([]int64{second.BackupID, first.BackupID}, ids); diff != "" {
		t.Errorf("list (-newest first +got):\n%s", diff)
	}
	w.run("restore", "--database", "HXE", "--backup", strconv.FormatInt(first.BackupID, 10)).expect(t, 0)
	if diff := gocmp.Diff(before, w.hana.Content("HXE")); diff != "" {
		t.Errorf("content (-first backup +after):\n%s", diff)
	}
	w.stopDaemon()
}
