package spool

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// A file system such as NFS does not know RENAME_NOREPLACE, and some have no hard
// links, either: nothing is ever replaced there.
func TestMove(t *testing.T) {
	t.Parallel()
	unknown := func(int, string, int, string, uint) error { return unix.EINVAL }
	noLinks := func(int, string, int, string, int) error { return unix.EPERM }
	for name, calls := range map[string]moveCalls{
		"RENAME_NOREPLACE is known": {renameat2: unix.Renameat2, linkat: unix.Linkat},
		"by a link":                 {renameat2: unknown, linkat: unix.Linkat},
		"without links":             {renameat2: unknown, linkat: noLinks},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := filepath.Join(t.TempDir(), "d")
			if err := os.Mkdir(root, 0o700); err != nil {
				t.Fatal(err)
			}
			for _, file := range []string{"a", "taken"} {
				if err := os.WriteFile(filepath.Join(root, file), []byte(file), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			d, err := openDirectory(root, root, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := d.close(); err != nil {
					t.Error(err)
				}
			}()
			if err := d.moveBy(calls, "a", "taken"); !errors.Is(err, unix.EEXIST) {
				t.Errorf("onto a file: %v", err)
			}
			if err := d.moveBy(calls, "absent", "b"); !errors.Is(err, unix.ENOENT) {
				t.Errorf("of nothing: %v", err)
			}
			if err := d.moveBy(calls, "a", "b"); err != nil {
				t.Error(err)
			}
			for file, want := range map[string]string{"b": "a", "taken": "taken"} {
				if got, err := os.ReadFile(filepath.Join(root, file)); err != nil || string(got) != want {
					t.Errorf("%s holds %q, %v", file, got, err)
				}
			}
			if _, err := os.Lstat(filepath.Join(root, "a")); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the old name: %v", err)
			}
		})
	}
}
