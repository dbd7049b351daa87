package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim"
	"github.com/pipestreamer/pipestreamer/internal/job"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// TestHostileManifest: whoever may write to the store changes what a manifest
// names. Nothing is read, written or told to HANA by such a name.
func TestHostileManifest(t *testing.T) {
	t.Parallel()
	w := newWorld(t, hanasim.Config{Databases: []hanasim.Database{systemDB(), {Name: "HXE", Volumes: volumes(mebibyte)}}}, openLocal(t), nil)
	other := w.backUp(backup.SystemDB)
	record := w.backUp("HXE")
	path := w.depot.path(record.Manifest)
	right, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	secret := filepath.Join(directory(t), "secret")
	if err := os.WriteFile(secret, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	otherKey := w.manifest(backup.SystemDB, other.BackupID).Streams[0].Objects[0].Key
	heard := w.hana.heard()
	for name, change := range map[string]func(m map[string]any){
		"a key that climbs":             func(m map[string]any) { object(m)["key"] = "../" + strings.TrimPrefix(secret, "/") },
		"a key that is a path":          func(m map[string]any) { object(m)["key"] = secret },
		"a key of another database":     func(m map[string]any) { object(m)["key"] = otherKey },
		"a key of rclone's":             func(m map[string]any) { object(m)["key"] = ":local:" + secret },
		"a prefix that climbs":          func(m map[string]any) { m["prefix"] = "../../x" },
		"a prefix with SQL":             func(m map[string]any) { m["prefix"] = "x') --" },
		"a prefix of a hidden file":     func(m map[string]any) { m["prefix"] = ".x" },
		"a directory with SQL":          func(m map[string]any) { m["directory"] = "/backup') --" },
		"a directory that climbs":       func(m map[string]any) { m["directory"] = "/backup/../etc" },
		"another database":              func(m map[string]any) { m["database"] = backup.SystemDB },
		"a database with SQL":           func(m map[string]any) { m["database"] = `HXE" --` },
		"another system":                func(m map[string]any) { m["sid"] = "ABC" },
		"another backup":                func(m map[string]any) { m["backup_id"] = other.BackupID },
		"a path of another file":        func(m map[string]any) { aStream(m)["path"] = "/etc/passwd" },
		"a negative volume":             func(m map[string]any) { aStream(m)["volume_id"] = -1 },
		"a huge size":                   func(m map[string]any) { aStream(m)["size"] = int64(1) << 62 },
		"a field that nobody knows":     func(m map[string]any) { m["exec"] = "id" },
		"an encoding that nobody knows": func(m map[string]any) { object(m)["encoding"] = []string{"sh"} },
	} {
		document := map[string]any{}
		decoder := json.NewDecoder(strings.NewReader(string(right)))
		decoder.UseNumber()
		if err := decoder.Decode(&document); err != nil {
			t.Fatal(err)
		}
		change(document)
		text, err := json.Marshal(document)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		out := directory(t)
		for _, verb := range [][]string{
			{"restore", "--database", "HXE", "--backup", "latest"},
			{"restore", "--database", "HXE", "--backup", "latest", "--to-path", out, "--config", w.config},
			{"verify", "--database", "HXE", "--backup", "latest"},
		} {
			if got := w.run(verb[0], verb[1:]...); got.status == 0 || strings.Contains(got.stdout+got.stderr, "precious") {
				t.Errorf("%s: %v: status %d\n%s%s", name, verb, got.status, got.stdout, got.stderr)
			}
		}
		if left, err := os.ReadDir(out); err != nil || len(left) > 0 {
			t.Errorf("%s: written: %v, %v", name, left, err)
		}
	}
	if after := w.hana.heard(); after != heard {
		t.Errorf("HANA heard %d statements:\n%s", after-heard, w.hana.log)
	}
	w.expectNoPipes()
	if err := os.WriteFile(path, right, 0o600); err != nil {
		t.Fatal(err)
	}
	if restored := w.run("restore", "--database", "HXE", "--backup", "latest").expect(t, 0).record(t); restored.State != job.StateSucceeded {
		t.Errorf("the manifest as it was: %s", restored.State)
	}
	w.stopDaemon()
}

func aStream(m map[string]any) map[string]any {
	return m["streams"].([]any)[1].(map[string]any)
}

func object(m map[string]any) map[string]any {
	return aStream(m)["objects"].([]any)[0].(map[string]any)
}
