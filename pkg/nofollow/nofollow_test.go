package nofollow_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/pipestreamer/pipestreamer/pkg/nofollow"
)

func TestOpen(t *testing.T) {
	t.Parallel()
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	at := func(name string) string { return filepath.Join(root, name) }
	if err := errors.Join(
		os.MkdirAll(at("a/b"), 0o700), os.WriteFile(at("a/file"), nil, 0o600),
		os.Symlink(at("a"), at("to-a")), os.Symlink("b", at("a/to-b")), unix.Mkfifo(at("a/pipe"), 0o600),
	); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, path string
		want       error
		says       string
	}{
		{"a directory", at("a/b"), nil, ""},
		{"a path that is not clean", at("a") + "//./b/", nil, ""},
		{"the root", "/", unix.ENOENT, "open directory /"},
		{"a link at the end", at("a/to-b"), unix.ENOTDIR, "element to-b: it is a symbolic link"},
		{"a link on the way", at("to-a/b"), unix.ENOTDIR, "element to-a: it is a symbolic link"},
		{"a file", at("a/file"), unix.ENOTDIR, "element file: it is not a directory"},
		{"a pipe, which is not waited for", at("a/pipe"), unix.ENOTDIR, "element pipe: it is not a directory"},
		{"nothing", at("a/none"), unix.ENOENT, "element none"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			fd, err := nofollow.Open(test.path)
			if test.want != nil {
				if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.says) {
					t.Errorf("got %v, expected %v with %q", err, test.want, test.says)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			f := os.NewFile(uintptr(fd), test.path)
			got, errStat := f.Stat()
			want, errWant := os.Stat(test.path)
			if err := errors.Join(errStat, errWant, f.Close()); err != nil {
				t.Fatal(err)
			}
			if !os.SameFile(got, want) {
				t.Errorf("it is not %s", test.path)
			}
		})
	}
}
