package fifo_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
	"github.com/pipestreamer/pipestreamer/pkg/fifo"
)

// journaled gives the names of what is journaled before Prepare.
func journaled(t *testing.T, kind string, p backup.Plan) (list []string, pipes []fifo.PipeID) {
	t.Helper()
	pipes, err := doors(p.Directory)[kind].Names(p)
	must(t, err)
	for _, pipe := range pipes {
		list = append(list, pipe.Name)
	}
	return list, pipes
}

// TestSweepAfterADeathBeforeTheJournal has the first process die with nothing
// but Names in its journal. The next session of the same plan, which for a
// restore has the same names, must find its way free.
func TestSweepAfterADeathBeforeTheJournal(t *testing.T) {
	for _, kind := range []string{"source", "sink"} {
		t.Run(kind, func(t *testing.T) {
			dir := directory(t)
			p := plan(dir, 1)
			list, pipes := journaled(t, kind, p)
			_, kill := helper(t, kind, dir)
			kill()
			stood := names(t, dir)
			if len(stood) < 1 {
				t.Fatal("the dead process left nothing")
			}
			for _, name := range stood {
				if !slices.Contains(list, name) {
					t.Errorf("%s is not in the journal", name)
				}
			}
			if err := doors(dir)[kind].Prepare(t.Context(), p); !errors.Is(err, unix.EEXIST) {
				t.Errorf("Prepare before the sweep: %v", err)
			}
			swept, err := fifo.Sweep(dir, pipes)
			must(t, err)
			slices.Sort(swept.Removed)
			if diff := cmp.Diff(fifo.Swept{Removed: stood}, swept); diff != "" {
				t.Errorf("swept (-want +got):\n%s", diff)
			}
			door := doors(dir)[kind]
			must(t, door.Prepare(t.Context(), p))
			must(t, door.Close())
		})
	}
}

// TestSweepInTheMiddleOfPrepare has every pipe that Prepare makes, at its first
// name, and a file of HANA at the final name of one.
func TestSweepInTheMiddleOfPrepare(t *testing.T) {
	t.Parallel()
	for kind, count := range map[string]int{"source": 5, "sink": 2} {
		dir := directory(t)
		p := plan(dir, 2)
		list, pipes := journaled(t, kind, p)
		if len(list) != 2*count {
			t.Errorf("%s: journaled %v", kind, list)
		}
		must(t, os.WriteFile(finalPath(p, 1), []byte("HANA's"), 0o600))
		must(t, unix.Mkfifo(filepath.Join(dir, ".pipestreamer.FULL_20260101_databackup_9_1.1"), 0o600)) // of another session
		for _, name := range list {
			if path := filepath.Join(dir, name); path != finalPath(p, 1) {
				must(t, unix.Mkfifo(path, 0o600))
			}
		}
		swept, err := fifo.Sweep(dir, pipes)
		must(t, err)
		if diff := cmp.Diff([]string{p.FileName(id(1))}, swept.Left); diff != "" {
			t.Errorf("%s: left (-want +got):\n%s", kind, diff)
		}
		want := []string{".pipestreamer.FULL_20260101_databackup_9_1.1", p.FileName(id(1))}
		if diff := cmp.Diff(want, names(t, dir)); diff != "" {
			t.Errorf("%s: files (-want +got):\n%s", kind, diff)
		}
	}
}

// TestSweepOnAnotherDevice has the volume come back with another number, as
// after it was mounted on another node.
func TestSweepOnAnotherDevice(t *testing.T) {
	t.Parallel()
	p := plan(directory(t), 1)
	_, pipes := journaled(t, "sink", p)
	for i := range pipes {
		pipes[i].Dev++
	}
	must(t, unix.Mkfifo(finalPath(p, 0), 0o600))
	swept, err := fifo.Sweep(p.Directory, pipes)
	must(t, err)
	if diff := cmp.Diff(fifo.Swept{Removed: []string{p.FileName(id(0))}}, swept); diff != "" {
		t.Errorf("swept (-want +got):\n%s", diff)
	}
}

// TestNamesCoverALife looks at the directory whenever it may have changed.
func TestNamesCoverALife(t *testing.T) {
	t.Parallel()
	p := plan(directory(t), 1)
	list, _ := journaled(t, "sink", p)
	s := fifo.NewSink(fifo.Config{Directory: p.Directory}, nil, nil)
	must(t, s.Prepare(t.Context(), p))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	served := async(func() error { return s.Serve(ctx, stream(0), (&store{data: pattern(100)}).open) })
	for range 20 {
		_, err := os.ReadFile(finalPath(p, 0))
		must(t, err)
		for _, name := range names(t, p.Directory) {
			if !slices.Contains(list, name) {
				t.Errorf("%s is not in the journal", name)
			}
		}
	}
	cancel()
	must(t, receive(t, "the end of Serve", served))
	must(t, s.Close())
}

// TestNamesRefusesWhatIsTaken keeps the pipes of others out of the journal: a
// sweep would remove them.
func TestNamesRefusesWhatIsTaken(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"source", "sink"} {
		p := plan(directory(t), 2)
		must(t, unix.Mkfifo(finalPath(p, 0), 0o600))
		must(t, os.WriteFile(finalPath(p, 1), nil, 0o600))
		pipes, err := doors(p.Directory)[kind].Names(p)
		if !errors.Is(err, unix.EEXIST) || len(pipes) > 0 {
			t.Errorf("%s: got %v, %v", kind, pipes, err)
			continue
		}
		for _, name := range names(t, p.Directory) {
			if !strings.Contains(err.Error(), name) {
				t.Errorf("%s: %v does not name %s", kind, err, name)
			}
		}
		p.Prefix = "../x"
		if pipes, err := doors(p.Directory)[kind].Names(p); err == nil {
			t.Errorf("%s: got %v for a prefix that is a path", kind, pipes)
		}
	}
}
