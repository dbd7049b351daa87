package fifo_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
	"github.com/pipestreamer/pipestreamer/pkg/fifo"
)

// TestDirectorySwapped: a directory, or one above it, that somebody who may write to
// the volume makes a link is not followed, by whatever is done next.
func TestDirectorySwapped(t *testing.T) {
	t.Parallel()
	const pipe = "P_databackup_2_1"
	pipes := []fifo.PipeID{{Name: pipe}}
	for name, do := range map[string]func(dir string) error{
		"source": func(dir string) error {
			s := fifo.NewSource(fifo.Config{Directory: dir}, nil, nil)
			return errors.Join(s.Prepare(t.Context(), backup.Plan{Directory: dir, Prefix: "P", Streams: []backup.Stream{stream(3)}}), s.Close())
		},
		"sink": func(dir string) error {
			s := fifo.NewSink(fifo.Config{Directory: dir}, nil, nil)
			return errors.Join(s.Prepare(t.Context(), backup.Plan{Directory: dir, Prefix: "P", Streams: []backup.Stream{stream(3)}}), s.Close())
		},
		"sweep":   func(dir string) error { _, err := fifo.Sweep(dir, pipes); return err },
		"aside":   func(dir string) error { _, err := fifo.SweepAside(dir); return err },
		"release": func(dir string) error { _, err := fifo.Release(dir, pipes, nil); return err },
	} {
		for _, swapped := range []string{"volume", "volume/above", "volume/above/pipes"} {
			t.Run(name+" "+swapped, func(t *testing.T) {
				t.Parallel()
				top, precious := directory(t), directory(t)
				dir := filepath.Join(top, "volume", "above", "pipes")
				must(t, os.MkdirAll(dir, 0o700))
				// Where the link leads, the rest of the path exists.
				rest, err := filepath.Rel(filepath.Join(top, swapped), dir)
				must(t, err)
				inside := filepath.Join(precious, rest)
				must(t, os.MkdirAll(inside, 0o700))
				must(t, unix.Mkfifo(filepath.Join(inside, pipe), 0o600))
				must(t, os.Rename(filepath.Join(top, swapped), filepath.Join(top, "old")))
				must(t, os.Symlink(precious, filepath.Join(top, swapped)))
				if err := do(dir); !errors.Is(err, unix.ENOTDIR) {
					t.Errorf("got %v", err)
				}
				if diff := cmp.Diff([]string{pipe}, names(t, inside)); diff != "" {
					t.Errorf("where the link leads (-want +got):\n%s", diff)
				}
			})
		}
	}
}
