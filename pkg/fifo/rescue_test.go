package fifo_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
	"github.com/pipestreamer/pipestreamer/pkg/fifo"
)

// rescuing is a Source whose bypassed streams somebody else takes care of.
func rescuing(t *testing.T) (*fifo.Source, backup.Plan) {
	t.Helper()
	p := plan(directory(t), 1)
	s := fifo.NewSource(fifo.Config{Directory: p.Directory, Rescue: true}, nil, nil)
	must(t, s.Prepare(t.Context(), p))
	t.Cleanup(func() { must(t, s.Close()) })
	return s, p
}

func TestBypass(t *testing.T) {
	t.Parallel()
	for name, pass := range map[string]func(p backup.Plan) error{
		"the hidden pipe is removed and a file made": func(p backup.Plan) error {
			return errors.Join(os.Remove(hiddenPath(p, 0)), os.WriteFile(hiddenPath(p, 0), pattern(10), 0o640))
		},
		"a file is renamed over the final pipe": func(p backup.Plan) error {
			elsewhere := filepath.Join(p.Directory, "elsewhere")
			return errors.Join(os.WriteFile(elsewhere, pattern(10), 0o640), os.Rename(elsewhere, finalPath(p, 0)))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, p := rescuing(t)
			must(t, pass(p))
			if _, err := s.Open(t.Context(), stream(0)); !errors.Is(err, backup.ErrBypassed) {
				t.Errorf("Open gave %v", err)
			}
			r := s.Report()[0]
			if r.Bypass == "" || r.Intrusion != "" || r.Opens != 0 {
				t.Errorf("report %+v", r)
			}
			must(t, s.Close())
			if err := s.Watch(t.Context()); err != nil {
				t.Errorf("it is called an intrusion: %v", err)
			}
			if left := names(t, p.Directory); len(left) != 1 {
				t.Errorf("the directory has %v, expected HANA's file alone", left)
			}
		})
	}
}

func TestRescueStillSeesIntrusions(t *testing.T) {
	t.Parallel()
	for name, intrude := range map[string]func(s *fifo.Source, p backup.Plan) error{
		"a link where a pipe stood": func(_ *fifo.Source, p backup.Plan) error {
			return errors.Join(os.Remove(finalPath(p, 0)), os.Symlink("/etc/hostname", finalPath(p, 0)))
		},
		"another pipe": func(_ *fifo.Source, p backup.Plan) error {
			return errors.Join(os.Remove(finalPath(p, 0)), unix.Mkfifo(finalPath(p, 0), 0o600))
		},
		"a pipe of a stream that is not in the plan": func(_ *fifo.Source, p backup.Plan) error {
			return unix.Mkfifo(finalPath(p, 7), 0o600)
		},
		"a file after the first bytes": func(s *fifo.Source, p backup.Plan) error {
			if err := write(hiddenPath(p, 0), 0, pattern(10), 10); err != nil {
				return err
			}
			if _, err := s.Open(t.Context(), stream(0)); err != nil {
				return err
			}
			return errors.Join(os.Remove(finalPath(p, 0)), os.WriteFile(finalPath(p, 0), pattern(10), 0o640))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, p := rescuing(t)
			must(t, intrude(s, p))
			if err := s.Watch(t.Context()); !errors.Is(err, fifo.ErrIntrusion) {
				t.Errorf("Watch gave %v", err)
			}
		})
	}
}

// Files of streams that the plan does not know are not this room's.
func TestRescueLeavesOtherFilesAlone(t *testing.T) {
	t.Parallel()
	s, p := rescuing(t)
	must(t, os.WriteFile(finalPath(p, 7), pattern(10), 0o640))
	must(t, write(hiddenPath(p, 0), 0, pattern(10), 10))
	got, err := fetch(t.Context(), s, 0)
	must(t, err)
	same(t, got, pattern(10))
	must(t, s.Close())
	if err := s.Watch(t.Context()); err != nil {
		t.Error(err)
	}
}
