package spool_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"

	"github.com/pipestreamer/pipestreamer/pkg/spool"
)

const (
	oneLog  = "log_backup_2_0_100_200.17"
	aside   = ".pipestreamer.removing."
	aLogger = "log_backup_"
)

func logs(name string) bool { return strings.HasPrefix(name, aLogger) }

// listed is the one file that stands in dir.
func listed(t *testing.T, dir string) spool.File {
	t.Helper()
	found, err := spool.List(spool.Config{Directory: dir}, dir, logs)
	must(t, err)
	if len(found.Files) != 1 {
		t.Fatalf("found %v, want one file", found)
	}
	return found.Files[0]
}

func TestRemove(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		act  func(path string) error
		want bool
		left []string
	}{
		"the file":       {func(string) error { return nil }, true, nil},
		"gone":           {os.Remove, false, nil},
		"grown":          {func(path string) error { return os.WriteFile(path, pattern(20), 0o600) }, false, []string{oneLog}},
		"another time":   {func(path string) error { return os.Chtimes(path, time.Time{}, time.Unix(1, 0)) }, false, []string{oneLog}},
		"another file":   {func(path string) error { return hana(filepath.Dir(path), oneLog, pattern(10)) }, false, []string{oneLog}},
		"a link":         {func(path string) error { return errors.Join(os.Remove(path), os.Symlink("x", path)) }, false, []string{oneLog}},
		"a directory":    {func(path string) error { return errors.Join(os.Remove(path), os.Mkdir(path, 0o700)) }, false, []string{oneLog}},
		"a second name":  {func(path string) error { return os.Link(path, path+"x") }, true, []string{oneLog + "x"}},
		"aside already":  {func(path string) error { return os.Rename(path, filepath.Join(filepath.Dir(path), aside+oneLog)) }, true, nil},
		"something else": {func(path string) error { return regular(filepath.Join(filepath.Dir(path), "other")) }, true, []string{"other"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := directory(t)
			must(t, hana(dir, oneLog, pattern(10)))
			f := listed(t, dir)
			must(t, c.act(filepath.Join(dir, oneLog)))
			got, err := spool.Remove(dir, dir, f)
			must(t, err)
			if got != c.want {
				t.Errorf("removed %t, want %t", got, c.want)
			}
			if diff := cmp.Diff(c.left, names(t, dir), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("left (-want +got):\n%s", diff)
			}
		})
	}
	t.Run("outside", func(t *testing.T) {
		t.Parallel()
		dir := directory(t)
		for _, name := range []string{"", ".", "..", "../x", "a/b", "a\x00"} {
			if removed, err := spool.Remove(dir, dir, spool.File{Name: name}); removed || err == nil {
				t.Errorf("%q: removed %t, %v", name, removed, err)
			}
		}
		if _, err := spool.Remove(filepath.Join(dir, "in"), dir, spool.File{Name: "x"}); err == nil {
			t.Error("a directory above the root was taken")
		}
	})
	t.Run("not allowed", func(t *testing.T) {
		t.Parallel()
		dir := directory(t)
		must(t, hana(dir, oneLog, pattern(10)))
		f := listed(t, dir)
		must(t, os.Mkdir(filepath.Join(dir, aside+oneLog), 0o700)) // somebody took our name
		if removed, err := spool.Remove(dir, dir, f); removed || !errors.Is(err, unix.EEXIST) {
			t.Errorf("removed %t, %v", removed, err)
		}
		if listed(t, dir) != f {
			t.Error("the file is not what it was")
		}
	})
}

func TestPutBack(t *testing.T) {
	t.Parallel()
	dir := directory(t)
	const other = "log_backup_2_0_200_300.18"
	must(t, errors.Join(regular(filepath.Join(dir, aside+oneLog)), regular(filepath.Join(dir, oneLog)),
		os.WriteFile(filepath.Join(dir, aside+other), pattern(3), 0o600)))
	back, err := spool.PutBack(dir, dir)
	if !errors.Is(err, unix.EEXIST) || !strings.Contains(err.Error(), oneLog) {
		t.Errorf("got %v, want EEXIST for the name that is taken", err)
	}
	if diff := cmp.Diff([]string{other}, back); diff != "" {
		t.Errorf("put back (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{aside + oneLog, oneLog, other}, names(t, dir)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestList(t *testing.T) {
	t.Parallel()
	dir := directory(t)
	at := func(name string) string { return filepath.Join(dir, name) }
	must(t, errors.Join(
		regular(at("log_backup_b")), regular(at("log_backup_a")), regular(at("other")),
		os.Symlink("log_backup_a", at("log_backup_c")), unix.Mkfifo(at("log_backup_d"), 0o600),
		os.Mkdir(at("log_backup_e"), 0o700), os.Link(at("other"), at("log_backup_f")),
	))
	got, err := spool.List(spool.Config{Directory: dir}, dir, logs)
	must(t, err)
	want := spool.Listing{
		Files: []spool.File{{Name: "log_backup_a", Size: 6}, {Name: "log_backup_b", Size: 6}},
		Refused: []spool.Refusal{
			{Name: "log_backup_c", What: "a symbolic link"},
			{Name: "log_backup_e", What: "a directory"},
			{Name: "log_backup_f", What: "a file with 2 names (hard links)"},
		},
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(spool.File{}, "Dev", "Ino", "ModTime")); diff != "" {
		t.Errorf("list (-want +got):\n%s", diff)
	}
	if f := got.Files[0]; f.Ino == 0 || time.Since(f.ModTime) > time.Minute {
		t.Errorf("identity %+v", f)
	}
	if _, err := spool.List(spool.Config{Directory: dir}, filepath.Join(dir, "log_backup_c"), logs); err == nil {
		t.Error("a link was followed")
	}
}
