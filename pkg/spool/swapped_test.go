package spool_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap/zaptest"
	"golang.org/x/sys/unix"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
	"github.com/pipestreamer/pipestreamer/pkg/spool"
)

// swapped is a directory on the shared volume, and one that HANA must not reach.
// Both have a file of the same name.
type swapped struct{ dir, precious string }

const swappedLog = "log_backup_2_0_128_192.1700000000001"

func newSwapped(t *testing.T) swapped {
	t.Helper()
	s := swapped{filepath.Join(directory(t), "volume"), directory(t)}
	must(t, os.Mkdir(s.dir, 0o700))
	for _, dir := range []string{s.dir, s.precious} {
		must(t, os.WriteFile(filepath.Join(dir, swappedLog), []byte("content"), 0o600))
	}
	return s
}

// link puts a link to what is precious in the place of the directory, as somebody
// can who may write to the volume.
func (s swapped) link(t *testing.T) {
	t.Helper()
	must(t, os.Rename(s.dir, s.dir+".old"))
	must(t, os.Symlink(s.precious, s.dir))
}

func (s swapped) expectUntouched(t *testing.T) {
	t.Helper()
	if diff := cmp.Diff([]string{swappedLog}, names(t, s.precious)); diff != "" {
		t.Errorf("where the link leads (-want +got):\n%s", diff)
	}
}

// TestDirectorySwapped: a directory that becomes a link is not followed, by
// whatever is done next.
func TestDirectorySwapped(t *testing.T) {
	t.Parallel()
	all := func(string) bool { return true }
	for name, do := range map[string]func(dir string, f spool.File) error{
		"list": func(dir string, _ spool.File) error {
			_, err := spool.NewVolume(spool.Config{Directory: dir}).List(all)
			return err
		},
		"room": func(dir string, _ spool.File) error {
			_, err := spool.NewVolume(spool.Config{Directory: dir}).Room()
			return err
		},
		"remove":    func(dir string, f spool.File) error { _, err := spool.Remove(dir, dir, f); return err },
		"put back":  func(dir string, _ spool.File) error { _, err := spool.PutBack(dir, dir); return err },
		"shelf":     func(dir string, _ spool.File) error { _, err := spool.NewShelf(dir, "job-1", 1); return err },
		"old shelf": func(dir string, _ spool.File) error { return spool.RemoveShelf(dir, "job-1") },
		"below":     func(dir string, f spool.File) error { _, err := spool.Remove(filepath.Dir(dir), dir, f); return err },
		"of a job": func(dir string, _ spool.File) error {
			s := spool.NewSource(spool.Config{Directory: dir}, nil, nil)
			return errors.Join(s.Prepare(t.Context(), backup.Plan{Directory: dir, Prefix: "P"}), s.Close())
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSwapped(t)
			files, err := spool.NewVolume(spool.Config{Directory: s.precious}).List(all)
			must(t, err)
			s.link(t)
			if err := do(s.dir, files[0]); err == nil || !errors.Is(err, unix.ENOTDIR) && !errors.Is(err, unix.ELOOP) {
				t.Errorf("got %v", err)
			}
			s.expectUntouched(t)
		})
	}
}

// TestWatchedDirectorySwapped: the directory of a database becomes a link while it
// is watched. What is read and removed from then on is in neither.
func TestWatchedDirectorySwapped(t *testing.T) {
	t.Parallel()
	s := newSwapped(t)
	w := spool.NewWatcher(spool.Config{Directory: filepath.Dir(s.dir), Rescan: soon}, s.dir, zaptest.NewLogger(t), nil)
	batch, err := w.Next(t.Context())
	must(t, err)
	if len(batch) != 1 || batch[0].Name != swappedLog {
		t.Fatalf("found %+v", batch)
	}
	s.link(t)
	if _, err := w.Next(t.Context()); err == nil || !strings.Contains(err.Error(), s.dir) {
		t.Errorf("after the swap: %v", err)
	}
	if r, err := w.Open(batch[0]); err == nil {
		t.Errorf("a file can still be opened: %v", r.Close())
	}
	if removed, err := spool.Remove(filepath.Dir(s.dir), s.dir, batch[0]); err == nil || removed {
		t.Errorf("removed %v, %v", removed, err)
	}
	must(t, w.Close())
	s.expectUntouched(t)
}

// TestShelfSwapped: while a shelf is used, somebody puts another directory in the
// place of the one that it lies in. It is filled and removed where it was made.
func TestShelfSwapped(t *testing.T) {
	t.Parallel()
	s := newSwapped(t)
	other := filepath.Join(s.precious, "restore-job-1")
	must(t, os.Mkdir(other, 0o700))
	must(t, os.WriteFile(filepath.Join(other, swappedLog), nil, 0o600))
	shelf, err := spool.NewShelf(s.dir, "job-1", 1)
	must(t, err)
	must(t, os.Rename(s.dir, s.dir+".old"))
	must(t, os.Rename(s.precious, s.dir))
	must(t, shelf.Write(t.Context(), "log_backup_3_0_128_192.1700000000001", 4, strings.NewReader("mine")))
	must(t, shelf.Close())
	if diff := cmp.Diff([]string{swappedLog}, names(t, filepath.Join(s.dir, "restore-job-1"))); diff != "" {
		t.Errorf("in the other directory (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{swappedLog}, names(t, s.dir+".old")); diff != "" {
		t.Errorf("where the shelf was (-want +got):\n%s", diff)
	}
}
