package logship_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/pipestreamer/pipestreamer/internal/logship"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
	"github.com/pipestreamer/pipestreamer/pkg/codec"
)

// encrypted has the shipper encrypt without being able to decrypt. open is what
// somebody with the identity reads.
func encrypted(t *testing.T, w *world) (open func(f backup.LogFile) ([]byte, error)) {
	t.Helper()
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "identity")
	if err := os.WriteFile(file, []byte(identity.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	w.codec = codec.Config{Compression: "fastest", Recipients: []string{identity.Recipient().String()}}
	open = func(f backup.LogFile) ([]byte, error) {
		reading, err := codec.New(maintained{w.store}, codec.Config{IdentityFile: file})
		if err != nil {
			return nil, err
		}
		stream, err := reading.OpenStream(t.Context(), f.Objects)
		if err != nil {
			return nil, err
		}
		text, err := io.ReadAll(backup.Checked(stream, f.Objects, f.Size, f.SHA256))
		return text, errors.Join(err, stream.Close())
	}
	w.volume.removing = func(name string) {
		text, err := open(w.history()[name])
		if err != nil || !bytes.Equal(text, w.written(name)) {
			t.Errorf("%s is removed from the volume and cannot be read from the store: %v", name, err)
		}
	}
	return open
}

func TestEncrypted(t *testing.T) {
	t.Parallel()
	t.Run("shipped, checked and removed without an identity", func(t *testing.T) {
		t.Parallel()
		play(t, logship.Config{}, func(w *world) {
			encrypted(t, w)
			name, catalog := w.log64(2, 0, 1), w.catalog()
			w.start()
			w.after(time.Minute)
			for _, name := range []string{name, catalog} {
				f := w.history()[name]
				if len(f.Objects) != 1 || !strings.HasSuffix(f.Objects[0].Key, name+".zst.age") || f.Size != int64(len(w.written(name))) {
					t.Errorf("the index says %+v of %s", f, name)
				}
				if stored, _ := w.store.get(f.Objects[0].Key); bytes.Contains(stored, []byte("content of")) {
					t.Errorf("%s can be read in the store", name)
				}
			}
			if left := w.volume.names(); len(left) > 0 {
				t.Errorf("left on the volume: %v", left)
			}
		})
	})
	t.Run("what an attempt has left is no conflict", func(t *testing.T) {
		t.Parallel()
		play(t, logship.Config{}, func(w *world) {
			open := encrypted(t, w)
			name, next := w.log64(2, 0, 1), w.log64(2, 1, 2)
			left := backup.LogKey(sid, database, name) + ".zst.age"
			w.store.put(left, []byte("the same, encrypted with another key"))
			w.start()
			status := w.after(time.Minute)
			if status.ConflictFiles != 0 || len(w.volume.names()) > 0 {
				t.Errorf("status %+v, volume %v", status, w)
			}
			for _, name := range []string{name, next} {
				if text, err := open(w.history()[name]); err != nil || !bytes.Equal(text, w.written(name)) {
					t.Errorf("%s: %q, %v", name, text, err)
				}
			}
			if key := w.history()[name].Objects[0].Key; key == left {
				t.Errorf("the index names %s", key)
			}
			if text, _ := w.store.get(left); string(text) != "the same, encrypted with another key" {
				t.Errorf("what was left is now %q", text)
			}
			w.mustBeInOrder()
		})
	})
	t.Run("recognised after a restart", func(t *testing.T) {
		t.Parallel()
		play(t, logship.Config{KeepFor: time.Hour}, func(w *world) {
			encrypted(t, w)
			w.log64(2, 0, 1)
			w.start()
			w.after(time.Minute)
			w.stop()
			commits := w.store.calls["Commit"]
			w.start()
			status := w.after(2 * time.Hour)
			if status.ConflictFiles != 0 || len(w.volume.names()) > 0 {
				t.Errorf("status %+v, volume %v", status, w)
			}
			if more := w.store.calls["Commit"] - commits; more != 0 {
				t.Errorf("%d more objects were stored", more)
			}
		})
	})
	t.Run("damage is seen without an identity", func(t *testing.T) {
		t.Parallel()
		play(t, logship.Config{KeepFor: time.Hour}, func(w *world) {
			encrypted(t, w)
			name := w.log64(2, 0, 1)
			w.store.fail(func(call, _ string) error {
				if call == "OpenStream" {
					return errors.New("away")
				}
				return nil
			})
			w.start()
			w.after(time.Minute)
			w.store.put(w.history()[name].Objects[0].Key, []byte("damaged"))
			w.store.fail(nil)
			status := w.after(3 * time.Hour)
			if status.ConflictFiles != 1 || len(w.volume.names()) != 1 {
				t.Errorf("status %+v, volume %v", status, w)
			}
		})
	})
}
