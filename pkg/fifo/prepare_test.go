package fifo_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
	"github.com/pipestreamer/pipestreamer/pkg/fifo"
)

// frontDoor is what Source and Sink have in common.
type frontDoor interface {
	Prepare(ctx context.Context, plan backup.Plan) error
	Names(plan backup.Plan) ([]fifo.PipeID, error)
	Pipes() []fifo.PipeID
	Close() error
}

func doors(root string) map[string]frontDoor {
	cfg := fifo.Config{Directory: root}
	return map[string]frontDoor{"source": fifo.NewSource(cfg, nil, nil), "sink": fifo.NewSink(cfg, nil, nil)}
}

func TestPrepareRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		// arrange makes the directory unfit, and returns root and plan.
		arrange func(t *testing.T, dir string) (string, backup.Plan)
		want    string
		is      error
	}{
		"a stale pipe": {func(t *testing.T, dir string) (string, backup.Plan) {
			t.Helper()
			p := plan(dir, 2)
			must(t, unix.Mkfifo(finalPath(p, 1), 0o600))
			return dir, p
		}, "FULL_20260101_databackup_1_1", unix.EEXIST},
		"a regular file": {func(t *testing.T, dir string) (string, backup.Plan) {
			t.Helper()
			p := plan(dir, 2)
			must(t, os.WriteFile(finalPath(p, 1), []byte("x"), 0o600))
			return dir, p
		}, "FULL_20260101_databackup_1_1", unix.EEXIST},
		"a symbolic link": {func(t *testing.T, dir string) (string, backup.Plan) {
			t.Helper()
			p := plan(dir, 2)
			must(t, os.Symlink("/nonexistent", finalPath(p, 0)))
			return dir, p
		}, "FULL_20260101_databackup_0_1", unix.EEXIST},
		"a sticky directory": {func(t *testing.T, dir string) (string, backup.Plan) {
			t.Helper()
			must(t, unix.Chmod(dir, 0o1777))
			return dir, plan(dir, 1)
		}, "fs.protected_fifos", nil},
		"a missing directory": {func(t *testing.T, dir string) (string, backup.Plan) {
			t.Helper()
			return filepath.Join(dir, "missing"), plan(filepath.Join(dir, "missing"), 1)
		}, "missing", unix.ENOENT},
		"a file as directory": {func(t *testing.T, dir string) (string, backup.Plan) {
			t.Helper()
			must(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
			return dir, plan(filepath.Join(dir, "file"), 1)
		}, "element file", unix.ENOTDIR},
		"a link as directory": {func(t *testing.T, dir string) (string, backup.Plan) {
			t.Helper()
			must(t, os.Symlink("/tmp", filepath.Join(dir, "link")))
			return dir, plan(filepath.Join(dir, "link"), 1)
		}, "element link", unix.ENOTDIR},
		"a directory outside": {func(t *testing.T, dir string) (string, backup.Plan) {
			t.Helper()
			return dir, plan(dir+"x", 1)
		}, "not below", nil},
		"a prefix that is a path": {func(t *testing.T, dir string) (string, backup.Plan) {
			t.Helper()
			p := plan(dir, 1)
			p.Prefix = "../x"
			return dir, p
		}, "prefix", nil},
		"a stream twice": {func(t *testing.T, dir string) (string, backup.Plan) {
			t.Helper()
			p := plan(dir, 1)
			p.Streams = append(p.Streams, p.Streams...)
			return dir, p
		}, "twice", nil},
		"no stream": {func(t *testing.T, dir string) (string, backup.Plan) {
			t.Helper()
			return dir, plan(dir, 0)
		}, "no streams", nil},
	} {
		t.Run(name, func(t *testing.T) {
			dir := directory(t)
			root, p := c.arrange(t, dir)
			stood, before := names(t, dir), descriptors(t)
			for kind, door := range doors(root) {
				err := door.Prepare(t.Context(), p)
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("%s: got %v, want it to say %q", kind, err, c.want)
				}
				if c.is != nil && !errors.Is(err, c.is) {
					t.Errorf("%s: %v is not %v", kind, err, c.is)
				}
				must(t, door.Close())
			}
			if diff := cmp.Diff(stood, names(t, dir)); diff != "" {
				t.Errorf("the directory changed (-before +after):\n%s", diff)
			}
			if after := descriptors(t); after != before {
				t.Errorf("%d descriptors before, %d after", before, after)
			}
		})
	}
}

func TestPrepareObeysTheContext(t *testing.T) {
	cause := errors.New("stopped")
	for _, kind := range []string{"source", "sink"} {
		dir := directory(t)
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(cause)
		if err := doors(dir)[kind].Prepare(ctx, plan(dir, 2)); !errors.Is(err, cause) {
			t.Errorf("%s: got %v, want the cause", kind, err)
		}
		if left := names(t, dir); len(left) > 0 {
			t.Errorf("%s: left behind: %v", kind, left)
		}
	}
}

// TestPrepareInASubdirectory also checks mode and journal of the pipes.
func TestPrepareInASubdirectory(t *testing.T) {
	old := unix.Umask(0o077)
	defer unix.Umask(old)
	for _, kind := range []string{"source", "sink"} {
		root := directory(t)
		p := plan(filepath.Join(root, "HXE", "SYSTEMDB"), 1)
		must(t, os.MkdirAll(p.Directory, 0o770))
		door := doors(root)[kind]
		must(t, door.Prepare(t.Context(), p))
		info, err := os.Lstat(finalPath(p, 0))
		must(t, err)
		if want := os.ModeNamedPipe | 0o660; info.Mode() != want {
			t.Errorf("%s: mode %v, want %v", kind, info.Mode(), want)
		}
		journaled := map[string]bool{}
		for _, pipe := range door.Pipes() {
			journaled[pipe.Name] = true
		}
		for _, name := range names(t, p.Directory) {
			if !journaled[name] {
				t.Errorf("%s: %s is not in the journal", kind, name)
			}
		}
		if err := door.Prepare(t.Context(), p); err == nil {
			t.Errorf("%s: prepared twice", kind)
		}
		must(t, door.Close())
		must(t, door.Close())
		if err := door.Prepare(t.Context(), p); err == nil {
			t.Errorf("%s: prepared after Close", kind)
		}
	}
}
