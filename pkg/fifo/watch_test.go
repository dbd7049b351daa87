package fifo_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
	"github.com/pipestreamer/pipestreamer/pkg/fifo"
)

func TestWatchReports(t *testing.T) {
	t.Parallel()
	const full = "FULL_20260101_databackup_"
	aside := func(path string, create func(path string) error) error {
		other := filepath.Join(filepath.Dir(path), "other")
		return errors.Join(create(other), os.Rename(other, path))
	}
	regular := func(path string) error { return os.WriteFile(path, []byte("HANA's"), 0o600) }
	for name, c := range map[string]struct {
		act func(p backup.Plan) error
		// want is in the error, and in the report unless the act is on no stream.
		want      string
		anyStream bool
		// left are the files that must survive Close.
		left []string
	}{
		"a file renamed onto the final name": {func(p backup.Plan) error {
			return aside(finalPath(p, 0), regular)
		}, full + "0_1 is a regular file of 6 bytes", true, []string{full + "0_1"}},
		"a file created at the hidden name and renamed": {func(p backup.Plan) error {
			return errors.Join(os.Remove(hiddenPath(p, 0)), regular(hiddenPath(p, 0)),
				os.Rename(hiddenPath(p, 0), finalPath(p, 0)))
		}, full + "0_1", true, []string{full + "0_1"}},
		"a symbolic link planted": {func(p backup.Plan) error {
			return errors.Join(os.Remove(finalPath(p, 0)), os.Symlink("/nonexistent", finalPath(p, 0)))
		}, full + "0_1", true, []string{full + "0_1"}},
		"a foreign pipe": {func(p backup.Plan) error {
			return aside(hiddenPath(p, 0), func(path string) error { return unix.Mkfifo(path, 0o600) })
		}, "." + full + "0_1 is a named pipe that is not ours", true, []string{"." + full + "0_1"}},
		"a pipe removed": {func(p backup.Plan) error {
			return os.Remove(finalPath(p, 0))
		}, full + "0_1 was removed before HANA used it", true, nil},
		"a hidden pipe removed": {func(p backup.Plan) error {
			return os.Remove(hiddenPath(p, 0))
		}, "." + full + "0_1 was removed before HANA used it", true, nil},
		"a pipe renamed away": {func(p backup.Plan) error {
			return os.Rename(finalPath(p, 0), finalPath(p, 0)+"x")
		}, full + "0_1", false, nil},
		"a second part": {func(p backup.Plan) error {
			return regular(filepath.Join(p.Directory, full+"0_2"))
		}, full + "0_2", false, []string{full + "0_2"}},
		"an extra volume that came and went": {func(p backup.Plan) error {
			extra := filepath.Join(p.Directory, "."+full+"9_1")
			return errors.Join(regular(extra), os.Remove(extra))
		}, "." + full + "9_1", false, nil},
		"the directory moved": {func(p backup.Plan) error {
			return errors.Join(os.Rename(p.Directory, p.Directory+"x"), os.Rename(p.Directory+"x", p.Directory))
		}, "the directory was removed, moved", false, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, p := armed(t, 1)
			watch := async(func() error { return s.Watch(t.Context()) })
			must(t, c.act(p))
			err := receive(t, "the intrusion", watch)
			if !errors.Is(err, fifo.ErrIntrusion) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an intrusion that says %q", err, c.want)
			}
			if told := s.Report()[0].Intrusion; c.anyStream && !strings.Contains(told, full+"0_1") {
				t.Errorf("the report says %q", told)
			}
			must(t, s.Close())
			left := []string{}
			for _, name := range names(t, p.Directory) {
				if !strings.HasSuffix(name, "x") { // renamed away: nobody's name
					left = append(left, name)
				}
			}
			if diff := cmp.Diff(append([]string{}, c.left...), left); diff != "" {
				t.Errorf("files after Close (-want +got):\n%s", diff)
			}
			for _, name := range left {
				path := filepath.Join(p.Directory, name)
				if info, err := os.Lstat(path); err != nil || !info.Mode().IsRegular() {
					continue
				}
				data, err := os.ReadFile(path)
				must(t, err)
				if string(data) != "HANA's" {
					t.Errorf("%s holds %q", name, data)
				}
			}
		})
	}
}

// TestWatchReportsASecondWriter has it come while the first one writes, and
// after it is gone.
func TestWatchReportsASecondWriter(t *testing.T) {
	t.Parallel()
	for name, path := range map[string]func(p backup.Plan, volume int) string{
		"at the same name": finalPath, "at the other name": hiddenPath,
	} {
		for _, late := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				s, p := armed(t, 1)
				w, err := os.OpenFile(finalPath(p, 0), os.O_WRONLY, 0)
				must(t, err)
				_, err = w.Write(pattern(10))
				must(t, err)
				r, err := s.Open(t.Context(), stream(0))
				must(t, err)
				if late {
					must(t, w.Close())
					got, err := io.ReadAll(r)
					must(t, err)
					same(t, got, pattern(10))
				}
				must(t, write(path(p, 0), os.O_TRUNC, pattern(100), 100))
				err = receive(t, "the intrusion", async(func() error { return s.Watch(t.Context()) }))
				if want := "a second writer wrote to " + path(p, 0); !errors.Is(err, fifo.ErrIntrusion) ||
					!strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want %q", err, want)
				}
				if !late {
					must(t, w.Close())
					got, err := io.ReadAll(r)
					if !errors.Is(err, fifo.ErrIntrusion) {
						t.Errorf("the end of an intruded stream is %v", err)
					}
					same(t, got, pattern(10))
				}
				must(t, r.Close())
			})
		}
	}
}

// TestIntrusionIsFoundAtTheEnd reads to the end without anyone watching.
func TestIntrusionIsFoundAtTheEnd(t *testing.T) {
	t.Parallel()
	s, p := armed(t, 1)
	w, err := os.OpenFile(hiddenPath(p, 0), os.O_WRONLY, 0)
	must(t, err)
	_, err = w.Write(pattern(10_000))
	must(t, err)
	other := filepath.Join(p.Directory, "other")
	must(t, os.WriteFile(other, nil, 0o600))
	must(t, os.Rename(other, finalPath(p, 0)))
	must(t, w.Close())
	if _, err := fetch(t.Context(), s, 0); !errors.Is(err, fifo.ErrIntrusion) {
		t.Errorf("got %v, want an intrusion", err)
	}
}

// TestWatchIgnoresTheRest has other files come and go beside the pipes.
func TestWatchIgnoresTheRest(t *testing.T) {
	t.Parallel()
	s, p := armed(t, 1)
	for _, name := range []string{"log_backup_2_0_1_2.3", "FULL_20260101", "FULL_20260101x_databackup_0_1"} {
		path := filepath.Join(p.Directory, name)
		must(t, os.WriteFile(path, nil, 0o600))
		must(t, os.Rename(path, path+".old"))
		must(t, os.Remove(path+".old"))
	}
	must(t, write(finalPath(p, 0), 0, pattern(5), 5))
	_, err := fetch(t.Context(), s, 0) // scans
	must(t, err)
	must(t, s.Close())
	must(t, s.Watch(t.Context()))
}
