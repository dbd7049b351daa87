package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
	gocmp "github.com/google/go-cmp/cmp"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim"
	"github.com/pipestreamer/pipestreamer/internal/job"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// newIdentity makes a pair of keys of age: the recipient, and a file with the
// identity.
func newIdentity(t *testing.T) (recipient, file string) {
	t.Helper()
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(directory(t), "identity")
	if err := os.WriteFile(file, []byte(identity.String()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return identity.Recipient().String(), file
}

// TestEncoded backs up and restores with compression and encryption, each way by
// which HANA's bytes come back, with the identity and without.
func TestEncoded(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(*testing.T) *depot{"s3": openS3, "local": openLocal} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			recipient, identity := newIdentity(t)
			another, _ := newIdentity(t)
			_, wrong := newIdentity(t)
			away := identity + ".away"
			w := newWorld(t, hanasim.Config{
				Databases: []hanasim.Database{systemDB(), {Name: "HXE", Volumes: volumes(threeVolumes...)}},
				Profile:   hanasim.Dotname, HeaderPass: true,
			}, open(t), map[string]any{
				"compression": "fastest",
				"encryption":  map[string]any{"recipients": []string{another, recipient}, "identityFile": identity},
			})
			record := w.backUp("HXE")
			manifest := w.expectAgreement(record)
			w.expectEncoded(manifest)
			for i := range record.Streams {
				if s := &record.Streams[i]; s.Stored != s.Bytes {
					t.Errorf("stream %s: %d bytes came and %d are said to be stored", s.StreamID, s.Bytes, s.Stored)
				}
			}

			// Without the right identity nothing happens to HANA.
			for _, without := range []struct {
				reason string
				spoil  func() error
			}{
				{"no identity", func() error { return os.Rename(identity, away) }},
				{"that of somebody else", func() error { return copyFile(wrong, identity) }},
			} {
				if err := without.spoil(); err != nil {
					t.Fatal(err)
				}
				refused := w.run("restore", "--database", "HXE", "--backup", "latest").expect(t, 1).record(t)
				if refused.Error == nil || refused.Error.Code != job.CodeIdentity || !strings.Contains(refused.Error.Message, "encryption.identityFile") {
					t.Errorf("%s: the restore ended with %+v", without.reason, refused.Error)
				}
				if !w.online("HXE") {
					t.Errorf("%s: the tenant was stopped", without.reason)
				}
				verified := w.run("verify", "--database", "HXE", "--backup", "latest").expect(t, 0).record(t)
				if verified.State != job.StateSucceeded || !strings.Contains(strings.Join(verified.Warnings, " "), "not decrypted") {
					t.Errorf("%s: the verification ended %s with the warnings %q", without.reason, verified.State, verified.Warnings)
				}
			}
			if err := os.Rename(away, identity); err != nil {
				t.Fatal(err)
			}

			verified := w.run("verify", "--database", "HXE", "--backup", "latest").expect(t, 0).record(t)
			if verified.State != job.StateSucceeded || len(verified.Warnings) > 0 {
				t.Errorf("the verification ended %s with the warnings %q", verified.State, verified.Warnings)
			}
			w.destroyAndRestore(record)
			w.stopDaemon()
			w.expectFiles(record)
			if name == "local" {
				w.expectByHand(manifest, identity)
			}
		})
	}
}

func copyFile(from, to string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, text, 0o600)
}

// expectEncoded looks at what the store has of a backup: nothing that HANA wrote,
// under keys that say so.
func (w *world) expectEncoded(manifest *backup.Manifest) {
	w.t.Helper()
	for i := range manifest.Streams {
		s := &manifest.Streams[i]
		for _, o := range s.Objects {
			if diff := gocmp.Diff([]string{"zstd", "age"}, o.Encoding); diff != "" || !strings.Contains(o.Key, s.String()+".zst.age") {
				w.t.Errorf("object %s has the encoding %q", o.Key, o.Encoding)
			}
		}
		first, err := os.ReadFile(w.depot.path(s.Objects[0].Key))
		if err != nil || !bytes.HasPrefix(first, []byte("age-encryption.org/v1\n")) {
			w.t.Errorf("object %s does not begin as a file of age: %q (%v)", s.Objects[0].Key, first[:min(len(first), 30)], err)
		}
	}
}

// expectFiles restores a backup to plain files, without the daemon.
func (w *world) expectFiles(record job.Record) {
	w.t.Helper()
	written := make(map[string]content)
	for path, c := range w.hana.written(record.BackupID) {
		written[filepath.Base(path)] = c
	}
	dir := w.t.TempDir()
	w.run("restore", "--config", w.config, "--database", record.Database, "--backup", "latest", "--to-path", dir).expect(w.t, 0)
	got := make(map[string]content)
	for name, c := range (&depot{base: dir}).objects(w.t) {
		got[strings.TrimPrefix(name, "/")] = c
	}
	if diff := gocmp.Diff(written, got); diff != "" {
		w.t.Errorf("files (-HANA wrote +restored):\n%s", diff)
	}
}

// expectByHand restores a backup with the commands of the document.
func (w *world) expectByHand(manifest *backup.Manifest, identity string) {
	w.t.Helper()
	ageProgram(w.t)
	status, out, got := restoreByHand(w.t, filepath.Join(w.depot.base, w.depot.root), identity, manifest.Plan("", w.t.TempDir()))
	if status != 0 || !strings.Contains(out, "every byte matched") {
		w.t.Errorf("by hand: exit status %d:\n%s", status, out)
	}
	for i := range manifest.Streams {
		if s := &manifest.Streams[i]; hexSum(got[s.StreamID]) != s.SHA256 {
			w.t.Errorf("by hand: stream %s came with %d other bytes than the %d that HANA wrote", s.StreamID, len(got[s.StreamID]), s.Size)
		}
	}
}
