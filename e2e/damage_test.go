package e2e

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim"
	"github.com/pipestreamer/pipestreamer/internal/job"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
	"github.com/pipestreamer/pipestreamer/pkg/verify"
)

// TestFiles writes a backup as plain files, without daemon and HANA.
func TestFiles(t *testing.T) {
	t.Parallel()
	w := newWorld(t, hanasim.Config{
		Databases: []hanasim.Database{systemDB(), {Name: "HXE", Volumes: volumes(threeVolumes...)}}, Profile: hanasim.Dotname,
	}, openS3(t), nil)
	record := w.backUp("HXE")
	written := make(map[string]content)
	for path, c := range w.hana.written(record.BackupID) {
		written[filepath.Base(path)] = c
	}
	w.stopDaemon()

	dir := t.TempDir()
	args := []string{"--config", w.config, "--database", "HXE", "--backup", "latest", "--to-dir", dir}
	w.run("restore", args...).expect(t, 0)
	files := &depot{base: dir}
	got := make(map[string]content)
	for name, c := range files.objects(t) {
		got[strings.TrimPrefix(name, "/")] = c
	}
	if diff := gocmp.Diff(written, got); diff != "" {
		t.Errorf("files (-HANA wrote +restored):\n%s", diff)
	}

	// HANA recovers from them as from its own.
	before := w.hana.Content("HXE")
	if err := w.hana.Destroy("HXE"); err != nil {
		t.Fatal(err)
	}
	if err := w.hana.StopDatabase("HXE"); err != nil {
		t.Fatal(err)
	}
	w.hana.statement(`RECOVER DATA FOR HXE USING FILE ('%s') CLEAR LOG`, filepath.Join(dir, record.Prefix))
	if diff := gocmp.Diff(before, w.hana.Content("HXE")); diff != "" {
		t.Errorf("content (-before +after):\n%s", diff)
	}

	if again := w.run("restore", args...).expect(t, 1); !strings.Contains(again.stderr, "exist") {
		t.Errorf("files were written over, or the reason is not named: %s", again.stderr)
	}
}

// damage is something that happened to an object behind our back.
type damage struct {
	name   string
	do     func(path string) error
	undo   func(path string) error
	code   string // of verify's finding
	online bool   // whether the tenant stays online: it was never touched
}

func damages() []damage {
	var kept []byte
	flip := func(path string) error {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		text[len(text)/2] ^= 1
		return overwrite(path, text)
	}
	keep := func(change func(path string) error) func(string) error {
		return func(path string) error {
			var err error
			if kept, err = os.ReadFile(path); err != nil {
				return err
			}
			return change(path)
		}
	}
	restore := func(path string) error { return overwrite(path, kept) }
	return []damage{
		{"a flipped byte", flip, flip, verify.CodePartHash, false},
		{"a byte too few", keep(func(path string) error { return os.Truncate(path, int64(len(kept)-1)) }), restore, verify.CodeSize, true},
		{"a byte too many", keep(func(path string) error { return overwrite(path, append(slices.Clone(kept), 0)) }), restore, verify.CodeSize, true},
	}
}

// overwrite keeps the inode, and with it what an S3 server notes beside it.
func overwrite(path string, text []byte) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	if errClose := file.Close(); err == nil {
		err = errClose
	}
	return err
}

// TestDamage changes an object in the store. A verification finds it; a restore
// fails with it as its cause, and HANA is never given wrong bytes as a
// recovery: it keeps what it had, or is left stopped. Without the damage the
// restore succeeds.
func TestDamage(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name     string
		open     func(*testing.T) *depot
		settings map[string]any
	}{
		{"s3", openS3, nil},
		{"s3, without SHA-256", openS3, map[string]any{"store": map[string]any{"checksum": "crc64nvme"}}},
		{"local", openLocal, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, hanasim.Config{
				Databases: []hanasim.Database{systemDB(), {Name: "HXE", Volumes: volumes(threeVolumes...)}}, Profile: hanasim.Dotname, HeaderPass: true,
			}, test.open(t), test.settings)
			record := w.backUp("HXE")
			stream := w.manifest("HXE", record.BackupID).Streams[1] // the one of several parts
			if without := test.settings != nil; (stream.SHA256 == "") != without {
				t.Errorf("the manifest has SHA-256 %q", stream.SHA256)
			}
			w.expectFindings(0)
			original := w.hana.Content("HXE")
			for _, d := range damages() {
				t.Run(d.name, func(t *testing.T) {
					w.expectDamage(t, d, stream, original)
				})
			}
			t.Run("a missing object", func(t *testing.T) {
				w.expectMissing(t, stream)
			})
			w.stopDaemon()
		})
	}
}

func (w *world) expectDamage(t *testing.T, d damage, stream backup.ManifestStream, original []hanasim.Content) {
	t.Helper()
	key := stream.Objects[0].Key
	if err := d.do(w.depot.path(key)); err != nil {
		t.Fatal(err)
	}
	findings := w.expectFindings(3)
	if !slices.ContainsFunc(findings, func(f verify.Finding) bool {
		return f.Code == d.code && f.Key == key && f.Stream == stream.String() && f.Severity == verify.SeverityError
	}) {
		t.Errorf("no finding %s of %s: %+v", d.code, key, findings)
	}

	if err := w.hana.Destroy("HXE"); err != nil {
		t.Fatal(err)
	}
	destroyed := w.hana.Content("HXE")
	failed := w.run("restore", "--database", "HXE", "--backup", "latest").expect(t, 1).record(t)
	expectCause(t, failed, job.StateFailed, job.CodeObject)
	if failed.Error.Stream != stream.String() || !strings.Contains(failed.Error.Message, key) {
		t.Errorf("the cause does not name stream %s and object %s: %+v", stream, key, failed.Error)
	}
	if diff := gocmp.Diff(destroyed, w.hana.Content("HXE")); diff != "" {
		t.Errorf("HANA took something for a recovery (-before +after):\n%s", diff)
	}
	if online := w.online("HXE"); online != d.online {
		t.Errorf("online: %t, expected %t", online, d.online)
	}
	w.expectNoPipes()

	if err := d.undo(w.depot.path(key)); err != nil {
		t.Fatal(err)
	}
	w.run("restore", "--database", "HXE", "--backup", "latest").expect(t, 0)
	if diff := gocmp.Diff(original, w.hana.Content("HXE")); diff != "" {
		t.Errorf("content (-original +restored):\n%s", diff)
	}
	if !w.online("HXE") {
		t.Error("the tenant is not online after a good restore")
	}
}

func (w *world) expectMissing(t *testing.T, stream backup.ManifestStream) {
	t.Helper()
	key := stream.Objects[0].Key
	if err := os.Remove(w.depot.path(key)); err != nil {
		t.Fatal(err)
	}
	findings := w.expectFindings(3)
	if !slices.ContainsFunc(findings, func(f verify.Finding) bool { return f.Code == verify.CodeMissing && f.Key == key }) {
		t.Errorf("no finding %s of %s: %+v", verify.CodeMissing, key, findings)
	}
	failed := w.run("restore", "--database", "HXE", "--backup", "latest").expect(t, 1).record(t)
	expectCause(t, failed, job.StateFailed, job.CodeObject)
	if failed.Error.Stage != job.StagePlan || failed.Error.Stream != stream.String() || !strings.Contains(failed.Error.Message, key) {
		t.Errorf("the cause does not name stream %s and object %s at the stage plan: %+v", stream, key, failed.Error)
	}
	if !w.online("HXE") {
		t.Error("the tenant was stopped for a backup that cannot be restored")
	}
}

// expectFindings verifies the latest backup of HXE, in full, and returns what
// was found.
func (w *world) expectFindings(status int) []verify.Finding {
	w.t.Helper()
	record := w.run("verify", "--database", "HXE", "--backup", "latest").expect(w.t, status).record(w.t)
	if (len(record.Findings) > 0) != (status == 3) || (record.State == job.StateSucceeded) != (status == 0) {
		w.t.Errorf("exit status %d, but state %s and findings %+v", status, record.State, record.Findings)
	}
	return record.Findings
}

func (w *world) online(database string) bool {
	w.t.Helper()
	online := false
	w.hana.query(`SELECT ACTIVE_STATUS FROM SYS.M_DATABASES WHERE DATABASE_NAME = ?`, func(scan func(...any) error) error {
		var status string
		err := scan(&status)
		online = status == "YES"
		return err
	}, database)
	return online
}

// TestStray puts an object beside those of a backup: verify warns.
func TestStray(t *testing.T) {
	t.Parallel()
	w := newWorld(t, hanasim.Config{Databases: []hanasim.Database{systemDB(), {Name: "HXE", Volumes: volumes(oneVolume...)}}}, openLocal(t), nil)
	record := w.backUp("HXE")
	key := fmt.Sprintf("HXE/HXE/data/%s/9_1", record.Prefix)
	putObject(t, w.depot.path(""), key, []byte("not ours"))
	findings := w.expectFindings(3)
	want := map[string]verify.Severity{verify.CodeStray + " " + key: verify.SeverityWarning}
	got := make(map[string]verify.Severity)
	for _, f := range findings {
		got[f.Code+" "+f.Key] = f.Severity
	}
	if !maps.Equal(want, got) {
		t.Errorf("got %v, expected %v", got, want)
	}
	w.stopDaemon()
}
