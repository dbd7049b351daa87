package fifo_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
	"github.com/pipestreamer/pipestreamer/pkg/fifo"
)

// TestAbuseMidway does to the pipes what nobody should, after the first bytes
// of a stream. The bytes that were written all arrive; whether they may be
// believed is told by the end.
func TestAbuseMidway(t *testing.T) {
	t.Parallel()
	beside := func(p backup.Plan) string { return filepath.Join(p.Directory, "other") }
	regular := func(path string) error { return os.WriteFile(path, []byte("HANA's"), 0o600) }
	for name, c := range map[string]struct {
		act func(p backup.Plan) error
		// want is the intrusion at the end; empty when the bytes stay whole
		// and nothing is in the way.
		want string
	}{
		"unlinked": {func(p backup.Plan) error { return os.Remove(finalPath(p, 0)) }, ""},
		"a regular file renamed over": {func(p backup.Plan) error {
			return errors.Join(regular(beside(p)), os.Rename(beside(p), finalPath(p, 0)))
		}, "is a regular file of 6 bytes"},
		"another pipe renamed over": {func(p backup.Plan) error {
			return errors.Join(unix.Mkfifo(beside(p), 0o600), os.Rename(beside(p), finalPath(p, 0)))
		}, "is a named pipe that is not ours"},
		"replaced by a regular file": {func(p backup.Plan) error {
			return errors.Join(os.Remove(finalPath(p, 0)), regular(finalPath(p, 0)))
		}, "regular file"},
		"replaced by another pipe": {func(p backup.Plan) error {
			return errors.Join(os.Remove(finalPath(p, 0)), unix.Mkfifo(finalPath(p, 0), 0o600))
		}, "is a named pipe that is not ours"},
		"replaced by a directory": {func(p backup.Plan) error {
			return errors.Join(os.Remove(finalPath(p, 0)), os.Mkdir(finalPath(p, 0), 0o700))
		}, "is a directory"},
		"replaced by a link": {func(p backup.Plan) error {
			return errors.Join(os.Remove(finalPath(p, 0)), os.Symlink("/dev/null", finalPath(p, 0)))
		}, "is a symbolic link"},
		"hidden unlinked":               {func(p backup.Plan) error { return os.Remove(hiddenPath(p, 0)) }, ""},
		"hidden became a regular file":  {func(p backup.Plan) error { return errors.Join(os.Remove(hiddenPath(p, 0)), regular(hiddenPath(p, 0))) }, "regular file"},
		"a log backup beside it":        {func(p backup.Plan) error { return regular(beside(p)) }, ""},
		"an unreadable directory":       {func(p backup.Plan) error { return os.Chmod(p.Directory, 0) }, ""},
		"O_DIRECT at the name":          {func(p backup.Plan) error { return direct(finalPath(p, 0)) }, ""},
		"an empty opening at the name":  {func(p backup.Plan) error { return openOnly(finalPath(p, 0), create) }, ""},
		"an empty opening at the other": {func(p backup.Plan) error { return openOnly(hiddenPath(p, 0), create) }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, p := armed(t, 1)
			w, err := os.OpenFile(finalPath(p, 0), os.O_WRONLY|create, 0o640)
			must(t, err)
			data := pattern(300_000)
			_, err = w.Write(data[:1000])
			must(t, err)
			r, err := s.Open(t.Context(), stream(0))
			must(t, err)
			must(t, c.act(p))
			writer := async(func() error {
				_, err := w.Write(data[1000:])
				return errors.Join(err, w.Close())
			})
			got, err := io.ReadAll(r)
			must(t, receive(t, "the writer's end", writer))
			same(t, got, data)
			told := s.Report()[0].Intrusion
			switch {
			case c.want == "" && (err != nil || told != ""):
				t.Errorf("the end is %v, the report says %q", err, told)
			case c.want != "" && (!errors.Is(err, fifo.ErrIntrusion) || !strings.Contains(told, c.want)):
				t.Errorf("the end is %v, the report says %q, want %q", err, told, c.want)
			}
			must(t, r.Close())
			must(t, os.Chmod(p.Directory, 0o700)) //nolint:gosec // a directory needs x
			must(t, s.Close())
		})
	}
}

// TestDirectoryRemoved takes the whole directory away, before and midway.
func TestDirectoryRemoved(t *testing.T) {
	t.Parallel()
	for _, midway := range []bool{false, true} {
		t.Run(fmt.Sprintf("midway %t", midway), func(t *testing.T) {
			t.Parallel()
			p := plan(filepath.Join(directory(t), "inner"), 1)
			must(t, os.Mkdir(p.Directory, 0o700))
			s := fifo.NewSource(fifo.Config{Directory: p.Directory}, nil, nil)
			must(t, s.Prepare(t.Context(), p))
			var w *os.File
			if midway {
				var err error
				w, err = os.OpenFile(finalPath(p, 0), os.O_WRONLY, 0)
				must(t, err)
				_, err = w.Write(pattern(10))
				must(t, err)
				r, err := s.Open(t.Context(), stream(0))
				must(t, err)
				defer func() { must(t, r.Close()) }()
			}
			must(t, os.RemoveAll(p.Directory))
			err := receive(t, "the intrusion", async(func() error { return s.Watch(t.Context()) }))
			if !errors.Is(err, fifo.ErrIntrusion) {
				t.Errorf("got %v, want an intrusion", err)
			}
			must(t, s.Close())
			if midway {
				if _, err := w.Write(pattern(10)); !errors.Is(err, unix.EPIPE) {
					t.Errorf("the writer got %v, want EPIPE", err)
				}
				must(t, w.Close())
			}
		})
	}
}

// TestPiecesOfAnySize has HANA write one byte at a time, and 64 MiB at once.
func TestPiecesOfAnySize(t *testing.T) {
	for _, c := range []struct{ size, piece int }{{20_000, 1}, {65_537, 4095}, {128 << 20, 64 << 20}} {
		t.Run(fmt.Sprintf("%d by %d", c.size, c.piece), func(t *testing.T) {
			s, p := armed(t, 1)
			data := pattern(c.size)
			writer := async(func() error { return write(finalPath(p, 0), create, data, c.piece) })
			got, err := fetch(t.Context(), s, 0)
			must(t, err)
			must(t, receive(t, "the writer's end", writer))
			same(t, got, data)
		})
	}
}

// TestPacketModeWriter sets O_DIRECT after open(2), which pipes allow: writes
// become packets, of which a read returns one at a time and drops what does not
// fit (pipe(2)). A reader with a buffer of a page or more loses nothing; with a
// smaller one the bytes are short, which the catalog's size shows.
func TestPacketModeWriter(t *testing.T) {
	t.Parallel()
	for _, piece := range []int{100, 4096, 10_000} {
		t.Run(strconv.Itoa(piece), func(t *testing.T) {
			t.Parallel()
			s, p := armed(t, 1)
			data := pattern(200_000)
			writer := async(func() error {
				fd, err := unix.Open(finalPath(p, 0), unix.O_WRONLY, 0)
				if err != nil {
					return err
				}
				if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFL, unix.O_DIRECT); err != nil {
					return err
				}
				for rest := data; len(rest) > 0; {
					n, err := unix.Write(fd, rest[:min(piece, len(rest))])
					if err != nil {
						return err
					}
					rest = rest[n:]
				}
				return unix.Close(fd)
			})
			r, err := s.Open(t.Context(), stream(0))
			must(t, err)
			var got []byte
			for buf := make([]byte, 4096); err == nil; {
				var n int
				n, err = r.Read(buf)
				got = append(got, buf[:n]...)
			}
			if !errors.Is(err, io.EOF) {
				t.Fatal(err)
			}
			must(t, receive(t, "the writer's end", writer))
			must(t, r.Close())
			same(t, got, data)
		})
	}
}

// TestIdleWriter waits between its writes, also at the boundary of the page that
// an armed pipe holds.
func TestIdleWriter(t *testing.T) {
	t.Parallel()
	s, p := armed(t, 1)
	data := pattern(20_000)
	step := make(chan struct{})
	writer := async(func() error {
		w, err := os.OpenFile(finalPath(p, 0), os.O_WRONLY|create, 0o640)
		if err != nil {
			return err
		}
		for rest := data; len(rest) > 0; rest = rest[4000:] {
			<-step
			if _, err := w.Write(rest[:4000]); err != nil {
				return err
			}
		}
		<-step
		return w.Close()
	})
	step <- struct{}{}
	r, err := s.Open(t.Context(), stream(0))
	must(t, err)
	got := make([]byte, 4000, len(data))
	_, err = io.ReadFull(r, got)
	must(t, err)
	for len(got) < len(data) {
		pending := async(func() error {
			buf := make([]byte, 4000)
			n, err := io.ReadFull(r, buf)
			got = append(got, buf[:n]...)
			return err
		})
		select {
		case err := <-pending:
			t.Fatalf("an idle writer was taken for an end: %v", err)
		case <-time.After(5 * time.Millisecond): // the point: nothing comes
		}
		step <- struct{}{}
		must(t, receive(t, "the next bytes", pending))
	}
	step <- struct{}{}
	if _, err := r.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the end is %v", err)
	}
	must(t, receive(t, "the writer's end", writer))
	must(t, r.Close())
	same(t, got, data)
}

// TestDirectoryFullOfOtherFiles has 5000 files of somebody else in the way.
func TestDirectoryFullOfOtherFiles(t *testing.T) {
	t.Parallel()
	p := plan(directory(t), 4)
	for i := range 5000 {
		must(t, os.WriteFile(filepath.Join(p.Directory, fmt.Sprintf("log_backup_2_0_%d", i)), nil, 0o600))
	}
	s := fifo.NewSource(fifo.Config{Directory: p.Directory}, nil, nil)
	started := time.Now()
	must(t, s.Prepare(t.Context(), p))
	for volume := range 4 {
		must(t, write(hiddenPath(p, volume), 0, pattern(100), 100))
		must(t, os.Rename(hiddenPath(p, volume), finalPath(p, volume)))
		got, err := fetch(t.Context(), s, volume)
		must(t, err)
		same(t, got, pattern(100))
	}
	must(t, s.Close())
	must(t, s.Watch(t.Context()))
	if left := names(t, p.Directory); len(left) != 5000 {
		t.Errorf("%d files left of 5000", len(left))
	}
	if took := time.Since(started); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
}

// TestFullVolume has no free block, or no free inode. Pipes need the latter.
func TestFullVolume(t *testing.T) {
	needRoot(t, "to mount a tmpfs")
	fill := func(t *testing.T, dir string, blocks bool) {
		t.Helper()
		for i := 0; ; i++ {
			f, err := os.Create(filepath.Join(dir, fmt.Sprintf("ballast_%d", i)))
			if err == nil && blocks {
				_, err = io.CopyN(f, zeros{}, 1<<30)
				err = errors.Join(err, f.Close())
			} else if err == nil {
				err = f.Close()
			}
			if errors.Is(err, unix.ENOSPC) {
				return
			}
			must(t, err)
		}
	}
	mounted := func(t *testing.T, options string) string {
		t.Helper()
		dir := directory(t)
		must(t, unix.Mount("tmpfs", dir, "tmpfs", 0, options+",mode=0700"))
		t.Cleanup(func() { must(t, unix.Unmount(dir, 0)) })
		return dir
	}
	t.Run("no block", func(t *testing.T) {
		p := plan(mounted(t, "size=64k"), 1)
		fill(t, p.Directory, true)
		s := fifo.NewSource(fifo.Config{Directory: p.Directory}, nil, nil)
		must(t, s.Prepare(t.Context(), p))
		writer := async(func() error { return write(finalPath(p, 0), create, pattern(4<<20), 1<<20) })
		got, err := fetch(t.Context(), s, 0)
		must(t, err)
		must(t, receive(t, "the writer's end", writer))
		same(t, got, pattern(4<<20))
		must(t, s.Close())
	})
	t.Run("no inode before", func(t *testing.T) {
		p := plan(mounted(t, "nr_inodes=20"), 1)
		fill(t, p.Directory, false)
		s := fifo.NewSource(fifo.Config{Directory: p.Directory}, nil, nil)
		if err := s.Prepare(t.Context(), p); !errors.Is(err, unix.ENOSPC) {
			t.Errorf("Prepare: %v, want ENOSPC", err)
		}
	})
	t.Run("no inode for a refusal", func(t *testing.T) {
		p := plan(mounted(t, "nr_inodes=20"), 1)
		s := fifo.NewSource(fifo.Config{Directory: p.Directory}, nil, nil)
		must(t, s.Prepare(t.Context(), p))
		w, err := os.OpenFile(hiddenPath(p, 0), os.O_WRONLY, 0)
		must(t, err)
		_, err = w.Write(pattern(10))
		must(t, err)
		r, err := s.Open(t.Context(), stream(0))
		must(t, err)
		fill(t, p.Directory, false)
		must(t, r.Close())
		if _, err := w.Write(pattern(10)); !errors.Is(err, unix.EPIPE) {
			t.Errorf("the writer got %v, want EPIPE", err)
		}
		must(t, w.Close())
		// One refusal needs a pipe that cannot be made: then the name goes.
		for _, path := range []string{hiddenPath(p, 0), finalPath(p, 0)} {
			writer := async(func() error { return write(path, 0, pattern(1<<20), 1<<20) })
			if err := receive(t, "the refusal", writer); !errors.Is(err, unix.EPIPE) {
				t.Errorf("a retry got %v, want EPIPE", err)
			}
		}
		must(t, s.Close())
		for _, name := range names(t, p.Directory) {
			if !strings.HasPrefix(name, "ballast_") {
				t.Errorf("left behind: %s", name)
			}
		}
	})
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { return len(b), nil }
