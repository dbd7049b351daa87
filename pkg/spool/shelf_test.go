package spool_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/pipestreamer/pipestreamer/pkg/spool"
)

const aLog = "log_backup_2_0_64_128.1795230245001"

func TestShelf(t *testing.T) {
	t.Parallel()
	dir := directory(t)
	s, err := spool.NewShelf(dir, "job-1", 10)
	must(t, err)
	for _, name := range []string{aLog, "log_backup_0_0_0_0.1795230245002", "P_databackup_3_1"} {
		must(t, s.Write(t.Context(), name, 5, strings.NewReader("12345")))
	}
	for name, size := range map[string]int64{"../" + aLog: 5, "evil": 5, "log_backup_2_0_128_192.1": 4, "log_backup_2_0_128_192.2": 6, aLog: 5} {
		if err := s.Write(t.Context(), name, size, strings.NewReader("12345")); err == nil {
			t.Errorf("%s of %d bytes was laid out", name, size)
		}
	}
	must(t, s.Watch(t.Context()))
	if opened := s.Opened(); len(opened) != 0 {
		t.Errorf("before anybody came %v were opened", opened)
	}
	text, err := os.ReadFile(filepath.Join(s.Path(), aLog))
	must(t, err)
	if string(text) != "12345" {
		t.Errorf("it holds %q", text)
	}
	if opened := s.Opened(); !opened[aLog] || len(opened) != 1 {
		t.Errorf("opened: %v", opened)
	}
	must(t, s.Close())
	must(t, s.Close())
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// What somebody may still read is left, until the next process or an operator
// removes it.
func TestShelfLeave(t *testing.T) {
	t.Parallel()
	dir := directory(t)
	s, err := spool.NewShelf(dir, "job-1", 10)
	must(t, err)
	must(t, s.Write(t.Context(), aLog, 5, strings.NewReader("12345")))
	must(t, s.Watch(t.Context()))
	must(t, s.Leave())
	must(t, s.Close())
	if _, err := os.Stat(filepath.Join(spool.ShelfPath(dir, "job-1"), aLog)); err != nil {
		t.Error(err)
	}
	must(t, spool.RemoveShelf(dir, "job-1"))
}

func TestShelfNeedsRoom(t *testing.T) {
	t.Parallel()
	dir := directory(t)
	if _, err := spool.NewShelf(dir, "job-1", 1<<60); !errors.Is(err, spool.ErrSpace) {
		t.Errorf("it gave %v", err)
	}
	if _, err := spool.NewShelf(dir, "../job", 1); err == nil {
		t.Error("a job id that climbs was taken")
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// What a Shelf of an earlier process has left is removed, and nothing else is.
func TestRemoveShelf(t *testing.T) {
	t.Parallel()
	dir := directory(t)
	must(t, spool.RemoveShelf(dir, "job-1")) // nothing there
	path := spool.ShelfPath(dir, "job-1")
	must(t, os.Mkdir(path, 0o700))
	for _, name := range []string{aLog, "." + aLog, "somebody's"} {
		must(t, os.WriteFile(filepath.Join(path, name), nil, 0o600))
	}
	if err := spool.RemoveShelf(dir, "job-1"); !errors.Is(err, unix.ENOTEMPTY) {
		t.Errorf("with somebody's file it gave %v", err)
	}
	must(t, os.Remove(filepath.Join(path, "somebody's")))
	must(t, spool.RemoveShelf(dir, "job-1"))
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}
