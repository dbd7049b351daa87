package job

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// The log counts from the newest data backup that could be restored.
func TestBase(t *testing.T) {
	t.Parallel()
	w := startWhole(t, throughDoor(DoorAuto, hanasim.Dotname))
	if _, err := w.Base(t.Context(), "HXE"); !errors.Is(err, backup.ErrNotFound) {
		t.Errorf("without a backup: %v", err)
	}
	first := w.mustBackUp(t, backup.KindComplete)
	w.work(t)
	second := w.mustBackUp(t, backup.KindIncremental)
	base, err := w.Base(t.Context(), "HXE")
	if err != nil || base.BackupID != second.BackupID || base.Since.UnixMilli() != first.BackupID || len(base.Positions) != 2 || base.Positions[3] == 0 {
		t.Errorf("%+v, %v", base, err)
	}
	lose := func(record Record) {
		m, err := readManifest(t.Context(), w.parts.Store, record.Manifest)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(filepath.Join(w.bucket, m.Streams[0].Objects[0].Key)); err != nil {
			t.Fatal(err)
		}
	}
	lose(second)
	if base, err = w.Base(t.Context(), "HXE"); err != nil || base.BackupID != first.BackupID {
		t.Errorf("%+v, %v", base, err)
	}
	third := w.mustBackUp(t, backup.KindComplete)
	if err := os.WriteFile(filepath.Join(w.bucket, third.Manifest), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if base, err = w.Base(t.Context(), "HXE"); err != nil || base.BackupID != first.BackupID {
		t.Errorf("%+v, %v", base, err)
	}
	lose(first)
	if _, err := w.Base(t.Context(), "HXE"); !errors.Is(err, backup.ErrNotFound) {
		t.Errorf("without a backup that is whole: %v", err)
	}
}
