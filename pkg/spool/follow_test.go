package spool_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
	"github.com/pipestreamer/pipestreamer/pkg/spool"
)

const (
	kib = 1 << 10
	mib = 1 << 20
	lag = 256 * kib
)

func follow(c *spool.Config) {
	c.Follow, c.FollowLag, c.FollowPoll, c.Head = true, lag, time.Millisecond, 64*kib
}

func punch(c *spool.Config) { c.Punch, c.PunchStep = true, 64*kib }

// growing is a file that HANA writes, and its stream's reader.
type growing struct {
	t    *testing.T
	s    *spool.Source
	p    backup.Plan
	file *os.File
	r    io.ReadCloser
	data []byte // what HANA writes in all
	got  []byte
}

// begin has HANA write the first bytes under the hidden name.
func begin(t *testing.T, size, first int, change ...func(*spool.Config)) *growing {
	t.Helper()
	s, p := prepared(t, 1, append([]func(*spool.Config){follow}, change...)...)
	file, err := os.Create(hiddenPath(p, 0))
	must(t, err)
	g := &growing{t: t, s: s, p: p, file: file, data: pattern(size)}
	g.write(0, first)
	g.r, err = s.Open(t.Context(), stream(0))
	must(t, err)
	t.Cleanup(func() { must(t, g.r.Close()) })
	return g
}

func (g *growing) write(from, to int) {
	g.t.Helper()
	_, err := g.file.WriteAt(g.data[from:to], int64(from))
	must(g.t, err)
}

// read expects the bytes up to an offset.
func (g *growing) read(to int) {
	g.t.Helper()
	buf := make([]byte, to-len(g.got))
	got := receive(g.t, "the bytes", async(func() outcome { _, err := io.ReadFull(g.r, buf); return outcome{err: err} }))
	must(g.t, got.err)
	g.got = append(g.got, buf...)
}

// stuck expects that not a byte more comes now, and returns the Read that waits.
func (g *growing) stuck() <-chan outcome {
	g.t.Helper()
	end := async(func() outcome { data, err := io.ReadAll(g.r); return outcome{data, err} })
	select {
	case got := <-end:
		g.t.Fatalf("got %d bytes more, %v", len(got.data), got.err)
	case <-time.After(10 * time.Millisecond): // several looks at the file
	}
	if bytes := g.s.Report()[0].Bytes; bytes != int64(len(g.got)) {
		g.t.Fatalf("%d bytes passed, want %d", bytes, len(g.got))
	}
	return end
}

// finish has HANA close and rename the file.
func (g *growing) finish() {
	g.t.Helper()
	must(g.t, errors.Join(g.file.Close(), os.Rename(hiddenPath(g.p, 0), finalPath(g.p, 0))))
}

// whole expects that everything arrives.
func (g *growing) whole(end <-chan outcome) {
	g.t.Helper()
	got := receive(g.t, "the end", end)
	must(g.t, got.err)
	same(g.t, append(g.got, got.data...), g.data)
	r := g.s.Report()[0]
	if r.Complete != 1 || r.Opens != 1 || r.Bytes != int64(len(g.data)) || r.Path != finalPath(g.p, 0) || r.ClosedAt.IsZero() {
		g.t.Errorf("report %+v", r)
	}
	must(g.t, g.s.Close())
	must(g.t, g.s.Watch(g.t.Context()))
}

// fails expects an error that wraps want and says text.
func (g *growing) fails(end <-chan outcome, want error, text string) {
	g.t.Helper()
	got := receive(g.t, "the end", end)
	if !errors.Is(got.err, want) || errors.Is(got.err, io.EOF) || !strings.Contains(got.err.Error(), text) {
		g.t.Errorf("got %v, want %v: %s", got.err, want, text)
	}
	if g.s.Report()[0].Complete != 0 {
		g.t.Error("it counts as complete")
	}
}

// TestFollow delivers bytes while HANA writes, but none of the last ones.
func TestFollow(t *testing.T) {
	t.Parallel()
	g := begin(t, 3*mib+100, mib)
	g.read(mib - lag)
	g.write(mib, 2*mib+5)
	g.read(2*mib - lag)
	end := g.stuck()
	g.write(2*mib+5, len(g.data))
	g.finish()
	g.whole(end)
}

// TestFollowSmallFiles opens nothing before they are finished.
func TestFollowSmallFiles(t *testing.T) {
	t.Parallel()
	g := begin(t, lag, lag/2)
	end := g.stuck()
	if n := descriptors(t, hiddenPath(g.p, 0)); n != 1 {
		t.Errorf("it is open %d times, want HANA's alone", n)
	}
	g.write(lag/2, lag)
	g.finish()
	g.whole(end)
}

// descriptors counts the open ones of this process that lead to path.
func descriptors(t *testing.T, path string) (n int) {
	t.Helper()
	for _, fd := range names(t, "/proc/self/fd") {
		if to, err := os.Readlink("/proc/self/fd/" + fd); err == nil && to == path {
			n++
		}
	}
	return n
}

// TestFollowAClosedFile opens it between HANA's close and rename, and knows of
// the close all the same.
func TestFollowAClosedFile(t *testing.T) {
	t.Parallel()
	s, p := prepared(t, 1, follow)
	data := pattern(mib)
	must(t, direct(hiddenPath(p, 0), data))
	eventually(t, "the file", func() bool { return s.Report()[0].Path != "" })
	r, err := s.Open(t.Context(), stream(0))
	must(t, err)
	g := &growing{t: t, s: s, p: p, r: r, data: data}
	g.read(mib - lag)
	must(t, os.Rename(hiddenPath(p, 0), finalPath(p, 0)))
	g.whole(async(func() outcome { data, err := io.ReadAll(r); return outcome{data, err} }))
	must(t, r.Close())
}

// TestFollowedAndWrittenAgain has HANA come back to a file that it has finished.
func TestFollowedAndWrittenAgain(t *testing.T) {
	t.Parallel()
	again := func(g *growing, at int64) {
		g.t.Helper()
		f, err := os.OpenFile(finalPath(g.p, 0), os.O_WRONLY, 0)
		must(g.t, err)
		_, err = f.WriteAt([]byte("HANA again"), at)
		must(g.t, errors.Join(err, f.Close()))
	}
	for name, c := range map[string]struct {
		freed bool
		read  int // before it is written again
		at    int64
		want  error
		text  string
	}{
		"where it was read":              {false, mib - lag, 300 * kib, backup.ErrCorrupt, "changed after they were read"},
		"at its end, something freed":    {true, mib - lag, 2 * mib, spool.ErrChanged, "bytes of it were freed"},
		"at its end, almost all read":    {false, 2*mib - 10, 2 * mib, spool.ErrChanged, "it had 2097152 bytes and has 2097162"},
		"in its middle, almost all read": {false, 2*mib - 10, mib, spool.ErrChanged, "it was written again"},
		"its head, almost all read":      {false, 2*mib - 10, 100, backup.ErrCorrupt, "the first 65536 bytes changed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := begin(t, 2*mib, mib, punch)
			g.read(mib - lag)
			if c.freed {
				g.r.(spool.Acknowledger).Acknowledge(mib)
				g.write(mib, mib+100*kib)
				g.read(mib + 100*kib - lag)
				g.write(mib+100*kib, 2*mib)
			} else {
				g.write(mib, 2*mib)
			}
			g.finish()
			eventually(t, "the end of HANA", func() bool { return len(g.s.Files()) == 1 })
			if len(g.got) < c.read {
				g.read(c.read)
			}
			again(g, c.at)
			g.fails(async(func() outcome { data, err := io.ReadAll(g.r); return outcome{data, err} }), c.want, c.text)
		})
	}
}

// TestFollowAFinishedFile reads what nobody writes any more.
func TestFollowAFinishedFile(t *testing.T) {
	t.Parallel()
	s, p := prepared(t, 1, follow)
	must(t, hana(p.Directory, p.FileName(id(0)), pattern(mib)))
	eventually(t, "the end of HANA", func() bool { return len(s.Files()) == 1 })
	got := receive(t, "the end", fetch(t, s, stream(0)))
	must(t, got.err)
	same(t, got.data, pattern(mib))
}

// TestFollowStopsAtAHole: a write that has not completed leaves one.
func TestFollowStopsAtAHole(t *testing.T) {
	t.Parallel()
	g := begin(t, 2*mib, 512*kib)
	g.write(768*kib, 2*mib)
	g.read(512 * kib)
	end := g.stuck()
	g.write(512*kib, 768*kib)
	g.finish()
	g.whole(end)
}

// TestFollowOutOfOrder has HANA's writes complete in any order inside a window
// that is smaller than the lag.
func TestFollowOutOfOrder(t *testing.T) {
	t.Parallel()
	for range 2 {
		const block, window = 16 * kib, 12 // 192 KiB
		g := begin(t, 4*mib, 0)
		end := async(func() outcome { data, err := io.ReadAll(g.r); return outcome{data, err} })
		var waiting []int
		for at := 0; at < len(g.data) || len(waiting) > 0; {
			if at < len(g.data) && len(waiting) < window && (len(waiting) == 0 || at-waiting[0] < window*block) {
				waiting = append(waiting, at)
				at += block
				continue
			}
			i := rand.IntN(len(waiting))
			g.write(waiting[i], waiting[i]+block)
			waiting = append(waiting[:i], waiting[i+1:]...)
		}
		g.finish()
		g.whole(end)
	}
}

// TestFollowDoubts does to a growing file what HANA is not assumed to do. If
// nothing was freed, the finished file decides.
func TestFollowDoubts(t *testing.T) {
	t.Parallel()
	const tail = mib - lag - 100
	again := func(g *growing, at int, what string) {
		g.t.Helper()
		_, err := g.file.WriteAt([]byte(what), int64(at))
		must(g.t, err)
		copy(g.data[at:], what)
	}
	for name, c := range map[string]struct {
		act func(g *growing)
		// equal says that the delivered bytes stay what they were.
		equal bool
		// later says that it is found only at the end.
		later bool
	}{
		"its head rewritten": {func(g *growing) { again(g, 100, "HANA again") }, false, true},
		"its last read bytes rewritten": {func(g *growing) {
			again(g, tail, "HANA again")
		}, false, false},
		"its time turned back": {func(g *growing) {
			must(g.t, os.Chtimes(hiddenPath(g.p, 0), time.Time{}, time.Unix(1, 0)))
		}, true, false},
		"shrunk and grown": {func(g *growing) {
			must(g.t, g.file.Truncate(mib-1))
			eventually(g.t, "the look at it", func() bool { return g.s.Report()[0].Written == mib-1 })
			time.Sleep(20 * time.Millisecond) // a look by the reader, too
			g.write(mib-1, mib)
		}, true, false},
		"replaced by a copy": {func(g *growing) {
			must(g.t, errors.Join(os.Remove(hiddenPath(g.p, 0)), g.file.Close()))
			file, err := os.Create(hiddenPath(g.p, 0))
			must(g.t, err)
			g.file = file
			g.write(0, mib)
		}, true, false},
		"replaced by something else": {func(g *growing) {
			must(g.t, errors.Join(os.Remove(hiddenPath(g.p, 0)), g.file.Close()))
			file, err := os.Create(hiddenPath(g.p, 0))
			must(g.t, err)
			g.file, g.data = file, bytes.Repeat([]byte("x"), len(g.data))
			g.write(0, mib)
		}, false, false},
	} {
		for _, freed := range []bool{false, true} {
			t.Run(name+map[bool]string{false: ", nothing freed", true: ", something freed"}[freed], func(t *testing.T) {
				t.Parallel()
				g := begin(t, 2*mib, mib, punch)
				g.read(mib - lag)
				if freed {
					g.r.(spool.Acknowledger).Acknowledge(mib)
				}
				end := g.stuck()
				if freed {
					eventually(t, "the freeing", func() bool { return allocated(t, hiddenPath(g.p, 0)) < 600*kib })
				}
				c.act(g)
				if freed && !c.later {
					g.fails(end, spool.ErrChanged, "bytes of it were freed")
					must(t, g.file.Close())
					return
				}
				g.write(mib, 2*mib)
				g.finish()
				if c.equal {
					g.whole(end)
				} else {
					g.fails(end, backup.ErrCorrupt, "changed after they were read")
				}
			})
		}
	}
}

// allocated is what a file occupies.
func allocated(t *testing.T, path string) int64 {
	t.Helper()
	var st unix.Stat_t
	must(t, unix.Stat(path, &st))
	return st.Blocks * 512
}

// TestPunch frees what the store has, and nothing else.
func TestPunch(t *testing.T) {
	t.Parallel()
	g := begin(t, 4*mib, 2*mib, punch)
	g.read(2*mib - lag)
	store := g.r.(spool.Acknowledger)
	path := hiddenPath(g.p, 0)
	if got := allocated(t, path); got < 2*mib {
		t.Errorf("%d bytes are left before anything was acknowledged", got)
	}
	store.Acknowledge(mib + 100)
	store.Acknowledge(10) // an older answer
	g.write(2*mib, 2*mib+512*kib)
	g.read(2*mib + 512*kib - lag)
	// The head of 64 KiB stays, and whatever is behind the last whole block.
	const least = 64*kib + mib + 512*kib
	if got := allocated(t, path); got < least || got > least+64*kib {
		t.Errorf("%d bytes are left, want %d and little more", got, least)
	}
	left, err := os.ReadFile(path)
	must(t, err)
	want := bytes.Clone(g.data[:2*mib+512*kib])
	clear(want[64*kib : mib])
	same(t, left, want)

	store.Acknowledge(4 * mib) // more than was read
	g.write(2*mib+512*kib, len(g.data))
	g.finish()
	g.whole(async(func() outcome { data, err := io.ReadAll(g.r); return outcome{data, err} }))
	files := g.s.Files()
	if len(files) != 1 {
		t.Fatalf("files %v", files)
	}
	removed, err := spool.Remove(g.p.Directory, g.p.Directory, files[0])
	must(t, err)
	if !removed {
		t.Error("a file with holes is not known again")
	}
}

// TestNoPunchWithoutTheRight follows all the same.
func TestNoPunchWithoutTheRight(t *testing.T) {
	t.Parallel()
	g := begin(t, 2*mib, mib, punch)
	must(t, os.Chmod(hiddenPath(g.p, 0), 0o440))
	if os.Getuid() == 0 { // whom modes do not stop
		must(t, g.r.Close())
		g = begin(t, 2*mib, mib, follow)
	}
	g.r.(spool.Acknowledger).Acknowledge(2 * mib)
	g.read(mib - lag)
	end := g.stuck()
	if got := allocated(t, hiddenPath(g.p, 0)); got < mib {
		t.Errorf("%d bytes are left", got)
	}
	g.write(mib, 2*mib)
	g.finish()
	g.whole(end)
}

func TestFollowEnds(t *testing.T) {
	t.Parallel()
	cause := errors.New("the job was cancelled")
	for name, c := range map[string]struct {
		act  func(g *growing, cancel context.CancelCauseFunc) error
		want error
		text string
	}{
		"the context ends":     {func(_ *growing, cancel context.CancelCauseFunc) error { cancel(cause); return nil }, cause, ""},
		"the Source is closed": {func(g *growing, _ context.CancelCauseFunc) error { return g.s.Close() }, spool.ErrClosed, ""},
		"the reader is closed": {func(g *growing, _ context.CancelCauseFunc) error { return g.r.Close() }, spool.ErrClosed, ""},
		"HANA leaves no file": {func(g *growing, _ context.CancelCauseFunc) error {
			return errors.Join(os.Remove(hiddenPath(g.p, 0)), g.s.Settle(g.t.Context()))
		}, backup.ErrNotFound, ""},
		"something is planted":  {func(g *growing, _ context.CancelCauseFunc) error { return os.Symlink("x", finalPath(g.p, 0)) }, spool.ErrIntrusion, "a symbolic link"},
		"it changes at the end": {func(g *growing, _ context.CancelCauseFunc) error { g.finish(); return nil }, nil, ""},
		"it is never renamed":   {func(g *growing, _ context.CancelCauseFunc) error { return g.s.Settle(g.t.Context()) }, nil, "still has its hidden name"},
		"it stands under a link": {func(g *growing, _ context.CancelCauseFunc) error {
			return os.Link(hiddenPath(g.p, 0), filepath.Join(g.p.Directory, "x"))
		}, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := begin(t, mib, mib)
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			s, p := prepared(t, 1, follow)
			file, err := os.Create(hiddenPath(p, 0))
			must(t, err)
			must(t, g.r.Close())
			g.s, g.p, g.got = s, p, nil
			must(t, g.file.Close())
			g.file = file
			g.write(0, mib)
			g.r, err = s.Open(ctx, stream(0))
			must(t, err)
			g.read(mib - lag)
			end := g.stuck()
			must(t, c.act(g, cancel))
			switch {
			case c.want != nil:
				g.fails(end, c.want, c.text)
			case c.text != "":
				got := receive(t, "the end", end)
				if got.err == nil || !strings.Contains(got.err.Error(), c.text) {
					t.Errorf("got %v, want %q", got.err, c.text)
				}
			default:
				if name == "it stands under a link" {
					must(t, os.Remove(filepath.Join(p.Directory, "x")))
					g.finish()
				}
				g.whole(end)
			}
		})
	}
}
