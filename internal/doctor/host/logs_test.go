package host

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestLookAtLogs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := errors.Join(
		os.Mkdir(at("SYSTEMDB"), 0o700), os.Mkdir(at("DB_PRD"), 0o700), os.Chmod(at("DB_PRD"), fs.ModeSticky|0o777),
		os.Symlink(t.TempDir(), at("DB_QAS")), os.WriteFile(at("DB_TST"), nil, 0o600), os.Mkdir(at("other"), 0o700),
	); err != nil {
		t.Fatal(err)
	}
	found, err := LookAtLogs(dir)
	if err != nil || len(found) != 4 {
		t.Fatalf("%+v, %v", found, err)
	}
	for i, want := range []struct {
		path, fault string
		sticky      bool
	}{{"DB_PRD", "", true}, {"DB_QAS", "symbolic link", false}, {"DB_TST", "not a directory", false}, {"SYSTEMDB", "", false}} {
		got := found[i]
		if got.Path != at(want.path) || got.Sticky != want.sticky || (got.Error == nil) != (want.fault == "") || got.Error != nil && !strings.Contains(got.Error.Error(), want.fault) {
			t.Errorf("%+v, expected %+v", got, want)
		}
	}
	if _, err := LookAtLogs(at("absent")); err == nil {
		t.Error("a directory that is not there was looked at")
	}
	if os.Geteuid() != 0 { // whom no mode keeps out
		if err := os.Chmod(at("SYSTEMDB"), 0o500); err != nil {
			t.Fatal(err)
		}
		if got := lookAtLog(at("SYSTEMDB")); !errors.Is(got.Error, unix.EACCES) || !strings.Contains(got.Error.Error(), "write") {
			t.Errorf("%+v", got)
		}
	}
}
