package fifo_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
	"github.com/pipestreamer/pipestreamer/pkg/fifo"
)

// dead returns a directory with the pipes of a killed process, and its journal.
func dead(t *testing.T) (backup.Plan, []fifo.PipeID) {
	t.Helper()
	p := plan(directory(t), 1)
	line, kill := helper(t, "source", p.Directory)
	var pipes []fifo.PipeID
	must(t, json.Unmarshal(line, &pipes))
	kill()
	return p, pipes
}

func TestReleaseRefusesUntilClose(t *testing.T) {
	t.Parallel()
	p, pipes := dead(t)
	foreign := filepath.Join(p.Directory, "foreign")
	must(t, unix.Mkfifo(foreign, 0o600))
	stood := slices.DeleteFunc(names(t, p.Directory), func(name string) bool { return name == "foreign" })
	blockedOnes := []<-chan error{
		blocked(t, func() error { return write(finalPath(p, 0), 0, pattern(1<<20), 4096) }),
		blocked(t, func() error { return write(hiddenPath(p, 0), create, pattern(1<<20), 4096) }),
	}
	r, err := fifo.Release(p.Directory, pipes, nil)
	must(t, err)
	for _, writer := range blockedOnes {
		if err := receive(t, "the end of a writer", writer); !errors.Is(err, unix.EPIPE) {
			t.Errorf("a released writer got %v, want EPIPE", err)
		}
	}
	slices.Sort(r.Removed)
	if diff := cmp.Diff(fifo.Swept{Removed: stood}, r.Swept); diff != "" {
		t.Errorf("swept (-want +got):\n%s", diff)
	}
	for range 3 {
		for _, path := range []string{finalPath(p, 0), hiddenPath(p, 0)} {
			if err := write(path, create, pattern(1<<20), 1<<20); !errors.Is(err, unix.EPIPE) {
				t.Errorf("a writer that comes after the release got %v, want EPIPE", err)
			}
		}
	}
	must(t, r.Close())
	must(t, r.Close())
	if diff := cmp.Diff([]string{"foreign"}, names(t, p.Directory)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

// TestReleaseFillsEmptyNames has HANA rename and remove pipes before.
func TestReleaseFillsEmptyNames(t *testing.T) {
	t.Parallel()
	for name, act := range map[string]func(p backup.Plan) error{
		"renamed":      func(p backup.Plan) error { return os.Rename(hiddenPath(p, 0), finalPath(p, 0)) },
		"both removed": func(p backup.Plan) error { return errors.Join(os.Remove(hiddenPath(p, 0)), os.Remove(finalPath(p, 0))) },
		"died while it was arming": func(p backup.Plan) error {
			return errors.Join(os.Remove(hiddenPath(p, 0)), os.Rename(finalPath(p, 0), filepath.Join(p.Directory, ".pipestreamer."+p.FileName(id(0))+".1")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, pipes := dead(t)
			must(t, act(p))
			r, err := fifo.Release(p.Directory, pipes, nil)
			must(t, err)
			want := []string{p.TemporaryName(id(0)), p.FileName(id(0))}
			slices.Sort(want)
			if diff := cmp.Diff(want, names(t, p.Directory)); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
			for _, path := range []string{finalPath(p, 0), hiddenPath(p, 0)} {
				if err := write(path, create, pattern(1<<20), 1<<20); !errors.Is(err, unix.EPIPE) {
					t.Errorf("%s: got %v, want EPIPE", path, err)
				}
			}
			must(t, r.Close())
			if left := names(t, p.Directory); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// TestReleaseAfterARefusal: the journal of a Source that died while it refused
// names the pipes that came later, too.
func TestReleaseAfterARefusal(t *testing.T) {
	t.Parallel()
	p := plan(directory(t), 1)
	line, kill := helper(t, "refusing", p.Directory)
	var pipes []fifo.PipeID
	must(t, json.Unmarshal(line, &pipes))
	kill()
	writer := blocked(t, func() error { return write(finalPath(p, 0), 0, pattern(1<<20), 4096) })
	first, err := fifo.Release(p.Directory, pipes, nil)
	must(t, err)
	if err := receive(t, "the end of the writer", writer); !errors.Is(err, unix.EPIPE) {
		t.Errorf("the released writer got %v, want EPIPE", err)
	}
	// As after a second crash: what the first release keeps is released, too.
	second, err := fifo.Release(p.Directory, pipes, nil)
	must(t, err)
	if len(second.Left) > 0 {
		t.Errorf("left: %v", second.Left)
	}
	must(t, first.Close())
	must(t, second.Close())
	if left := names(t, p.Directory); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestReleaseLeavesWhatIsNotOurs(t *testing.T) {
	t.Parallel()
	p, pipes := dead(t)
	must(t, os.Remove(finalPath(p, 0)))
	must(t, os.WriteFile(finalPath(p, 0), []byte("HANA's"), 0o600))
	r, err := fifo.Release(p.Directory, pipes, nil)
	must(t, err)
	if diff := cmp.Diff([]string{p.FileName(id(0))}, r.Left); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
	must(t, r.Close())
	if data, err := os.ReadFile(finalPath(p, 0)); err != nil || string(data) != "HANA's" {
		t.Errorf("the file holds %q, %v", data, err)
	}
	if diff := cmp.Diff([]string{p.FileName(id(0))}, names(t, p.Directory)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestReleaseRefusesWhatNoJournalHolds(t *testing.T) {
	t.Parallel()
	dir := directory(t)
	for _, name := range []string{"", ".", "..", "../x", "/etc/passwd", "a/b", "a\x00b"} {
		pipes := []fifo.PipeID{{Name: name}}
		if _, err := fifo.Release(dir, pipes, nil); err == nil {
			t.Errorf("Release takes %q", name)
		}
		if _, err := fifo.Sweep(dir, pipes); err == nil {
			t.Errorf("Sweep takes %q", name)
		}
	}
	r, err := fifo.Release(filepath.Join(dir, "missing"), []fifo.PipeID{{Name: "x"}}, nil)
	must(t, err)
	must(t, r.Close())
	file := filepath.Join(dir, "file")
	must(t, os.WriteFile(file, nil, 0o600))
	if _, err := fifo.Release(file, nil, nil); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("a file as directory: %v", err)
	}
}
