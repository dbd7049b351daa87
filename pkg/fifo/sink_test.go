package fifo_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
	"github.com/pipestreamer/pipestreamer/pkg/fifo"
)

// store opens the same bytes again and again and counts the readers.
type store struct {
	data   []byte
	fail   error // at the end instead of io.EOF
	opened atomic.Int64
	closed atomic.Int64
}

func (s *store) open(context.Context) (io.ReadCloser, error) {
	s.opened.Add(1)
	return &storeReader{Reader: bytes.NewReader(s.data), store: s}, nil
}

type storeReader struct {
	io.Reader
	store *store
}

func (r *storeReader) Read(b []byte) (int, error) {
	n, err := r.Reader.Read(b)
	if errors.Is(err, io.EOF) && r.store.fail != nil {
		err = r.store.fail
	}
	return n, err
}

func (r *storeReader) Close() error {
	r.store.closed.Add(1)
	return nil
}

// serving returns a Sink that serves data as volume 0 until the test ends.
func serving(t *testing.T, st *store) (s *fifo.Sink, path string) {
	t.Helper()
	p := plan(directory(t), 1)
	s = fifo.NewSink(fifo.Config{Directory: p.Directory, PipeSize: 65_536}, nil, nil)
	must(t, s.Prepare(t.Context(), p))
	ctx, cancel := context.WithCancel(context.Background())
	served := async(func() error { return s.Serve(ctx, stream(0), st.open) })
	t.Cleanup(func() {
		cancel()
		must(t, receive(t, "the end of Serve", served))
		must(t, s.Close())
		if opened, closed := st.opened.Load(), st.closed.Load(); opened != closed {
			t.Errorf("%d readers opened, %d closed", opened, closed)
		}
		if left := names(t, p.Directory); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	})
	return s, finalPath(p, 0)
}

// head reads the first n bytes and closes.
func head(path string, n int) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	b := make([]byte, n)
	_, err = io.ReadFull(f, b)
	return b, errors.Join(err, f.Close())
}

func TestSinkServesFromByteZero(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1, 4096, 65_536, 65_537, 3 << 20} {
		t.Run(strconv.Itoa(size), func(t *testing.T) {
			t.Parallel()
			st := &store{data: pattern(size)}
			s, path := serving(t, st)
			for range 20 {
				got, err := head(path, min(size, 4096))
				must(t, err)
				same(t, got, st.data[:min(size, 4096)])
			}
			got, err := os.ReadFile(path)
			must(t, err)
			same(t, got, st.data)
			eventually(t, "the end", func() bool { return s.Report()[0].Complete > 0 })
			r := s.Report()[0]
			complete := 1
			if size <= 4096 { // the header was everything
				eventually(t, "every end", func() bool { r = s.Report()[0]; return r.Complete == 21 })
				complete = 21
			}
			want := backup.StreamReport{
				StreamID: id(0), Path: path, Opens: 21, Complete: complete, Bytes: int64(size),
				OpenedAt: r.OpenedAt, ClosedAt: r.ClosedAt,
			}
			eventually(t, "the last count", func() bool { r = s.Report()[0]; return r.Bytes == int64(size) })
			if diff := cmp.Diff(want, r); diff != "" {
				t.Errorf("report (-want +got):\n%s", diff)
			}
		})
	}
}

// TestSinkSurvivesImmediateReopening is where one inode for all openings fails.
func TestSinkSurvivesImmediateReopening(t *testing.T) {
	t.Parallel()
	st := &store{data: pattern(200_000)}
	_, path := serving(t, st)
	for i := range 500 {
		n := 1 + i*37%5000
		got, err := head(path, n)
		must(t, err)
		same(t, got, st.data[:n])
	}
	got, err := os.ReadFile(path)
	must(t, err)
	same(t, got, st.data)
}

// TestSinkServesOverlappingOpenings holds one opening at its header while
// another reads everything.
func TestSinkServesOverlappingOpenings(t *testing.T) {
	t.Parallel()
	st := &store{data: pattern(2 << 20)}
	s, path := serving(t, st)
	var held []*os.File
	for range 3 {
		f, err := os.Open(path)
		must(t, err)
		got := make([]byte, 4096)
		_, err = io.ReadFull(f, got)
		must(t, err)
		same(t, got, st.data[:4096])
		held = append(held, f)
	}
	got, err := os.ReadFile(path)
	must(t, err)
	same(t, got, st.data)
	for _, f := range held {
		rest, err := io.ReadAll(f)
		must(t, err)
		same(t, rest, st.data[4096:])
		must(t, f.Close())
	}
	eventually(t, "every end", func() bool { return s.Report()[0].Complete == 4 })
}

func TestCompleteMeansConsumed(t *testing.T) {
	t.Parallel()
	st := &store{data: pattern(10_000)}
	s, path := serving(t, st)
	f, err := os.Open(path)
	must(t, err)
	_, err = io.ReadFull(f, make([]byte, 9_999))
	must(t, err)
	eventually(t, "the last byte in the pipe", func() bool { return st.closed.Load() == 1 })
	if r := s.Report()[0]; r.Complete != 0 {
		t.Error("complete before the last byte was read")
	}
	_, err = io.ReadAll(f)
	must(t, err)
	must(t, f.Close())
	eventually(t, "the end", func() bool { return s.Report()[0].Complete == 1 })

	_, err = head(path, 9_000) // the rest stays in the pipe
	must(t, err)
	eventually(t, "the count", func() bool { return s.Report()[0].Bytes == 9_000 })
	if r := s.Report()[0]; r.Complete != 1 || r.Opens != 2 {
		t.Errorf("report %+v", r)
	}
}

// memory writes what it has by itself.
type memory struct {
	io.ReadCloser

	data []byte
	fail error
}

func (m *memory) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(m.data)
	return int64(n), errors.Join(err, m.fail)
}

func (*memory) Close() error { return nil }

func TestServeFails(t *testing.T) {
	t.Parallel()
	broken := errors.New("checksum mismatch")
	for name, c := range map[string]struct {
		open func(context.Context) (io.ReadCloser, error)
		is   error
		size int
	}{
		"open":  {func(context.Context) (io.ReadCloser, error) { return nil, broken }, broken, 0},
		"read":  {(&store{data: pattern(5000), fail: broken}).open, broken, 5000},
		"write": {func(context.Context) (io.ReadCloser, error) { return &memory{data: pattern(5000), fail: broken}, nil }, broken, 5000},
		"empty": {(&store{}).open, backup.ErrEmptyStream, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := plan(directory(t), 1)
			s := fifo.NewSink(fifo.Config{Directory: p.Directory}, nil, nil)
			must(t, s.Prepare(t.Context(), p))
			served := async(func() error { return s.Serve(t.Context(), stream(0), c.open) })
			got, err := os.ReadFile(finalPath(p, 0))
			must(t, err)
			same(t, got, pattern(c.size))
			if err := receive(t, "the end of Serve", served); !errors.Is(err, c.is) {
				t.Errorf("Serve: got %v, want %v", err, c.is)
			}
			if r := s.Report()[0]; r.Complete != 0 {
				t.Errorf("report %+v", r)
			}
			must(t, s.Close())
		})
	}
}

// TestServeEnds has HANA stop reading in the middle, by context and by Close.
func TestServeEnds(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		end  func(cancel func(), s *fifo.Sink) error
		want error
	}{
		"context": {func(cancel func(), _ *fifo.Sink) error { cancel(); return nil }, nil},
		"close":   {func(_ func(), s *fifo.Sink) error { return s.Close() }, fifo.ErrClosed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := plan(directory(t), 1)
			s := fifo.NewSink(fifo.Config{Directory: p.Directory}, nil, nil)
			must(t, s.Prepare(t.Context(), p))
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			st := &store{data: pattern(8 << 20)}
			served := async(func() error { return s.Serve(ctx, stream(0), st.open) })
			f, err := os.Open(finalPath(p, 0))
			must(t, err)
			_, err = io.ReadFull(f, make([]byte, 4096))
			must(t, err)
			must(t, c.end(cancel, s))
			if err := receive(t, "the end of Serve", served); !errors.Is(err, c.want) {
				t.Errorf("Serve: got %v, want %v", err, c.want)
			}
			rest, err := io.ReadAll(f)
			must(t, err)
			if len(rest) > 4<<20 {
				t.Error("the stream went on")
			}
			must(t, f.Close())
			must(t, s.Close())
		})
	}
}

func TestSinkCountsADirectOpening(t *testing.T) {
	t.Parallel()
	st := &store{data: pattern(100_000)}
	s, path := serving(t, st)
	if fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECT, 0); !errors.Is(err, unix.EINVAL) {
		t.Fatalf("O_DIRECT: descriptor %d, %v", fd, err)
	}
	eventually(t, "the count", func() bool { return s.Report()[0].EmptyOpens == 1 })
	got, err := os.ReadFile(path)
	must(t, err)
	same(t, got, st.data)
}

func TestServeNoticesAReplacedPipe(t *testing.T) {
	t.Parallel()
	for name, act := range map[string]func(path string) error{
		"removed": os.Remove,
		"replaced": func(path string) error {
			other := filepath.Join(filepath.Dir(path), "other")
			return errors.Join(unix.Mkfifo(other, 0o600), os.Rename(other, path))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := plan(directory(t), 1)
			s := fifo.NewSink(fifo.Config{Directory: p.Directory}, nil, nil)
			must(t, s.Prepare(t.Context(), p))
			served := async(func() error { return s.Serve(t.Context(), stream(0), (&store{}).open) })
			must(t, act(finalPath(p, 0)))
			err := receive(t, "the end of Serve", served)
			if told := s.Report()[0].Intrusion; !errors.Is(err, fifo.ErrIntrusion) || !strings.Contains(told, "0_1 is") {
				t.Errorf("got %v, report %q", err, told)
			}
			must(t, s.Close())
		})
	}
}

// TestCloseReleasesReaders has readers blocked in open(2), with nobody serving.
func TestCloseReleasesReaders(t *testing.T) {
	const n = 64
	p := plan(directory(t), n)
	before, goroutines, started := descriptors(t), runtime.NumGoroutine(), threads(t)
	s := fifo.NewSink(fifo.Config{Directory: p.Directory}, nil, nil)
	must(t, s.Prepare(t.Context(), p))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var served []<-chan error
	for volume := 1; volume < n; volume++ {
		served = append(served, async(func() error { return s.Serve(ctx, stream(volume), (&store{}).open) }))
	}
	eventually(t, "the start", func() bool { return runtime.NumGoroutine() >= goroutines+n })
	if now := threads(t); now > started+16 {
		t.Errorf("%d threads for %d waiting pipes, %d before", now, n, started)
	}
	reader := blockedReader(t, finalPath(p, 0))
	cancel()
	for _, c := range served {
		must(t, receive(t, "the end of Serve", c))
	}
	must(t, s.Close())
	if data := receive(t, "the end of the reader", reader); len(data) != 0 {
		t.Errorf("a released reader got %d bytes", len(data))
	}
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
	eventually(t, "the end of the goroutines", func() bool { return runtime.NumGoroutine() <= goroutines })
}

// TestTheLastLookAtAPipe has HANA answer as soon as it has read the last byte,
// and keep the pipe open: the stream was read whole.
func TestTheLastLookAtAPipe(t *testing.T) {
	t.Parallel()
	for n := range 50 {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			t.Parallel()
			p := plan(directory(t), 1)
			s := fifo.NewSink(fifo.Config{Directory: p.Directory}, nil, nil)
			must(t, s.Prepare(t.Context(), p))
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			st := &store{data: pattern(10_000)}
			served := async(func() error { return s.Serve(ctx, stream(0), st.open) })
			f, err := os.Open(finalPath(p, 0))
			must(t, err)
			_, err = io.ReadFull(f, make([]byte, 9_999))
			must(t, err)
			eventually(t, "the last byte in the pipe", func() bool { return st.closed.Load() == 1 })
			_, err = io.ReadFull(f, make([]byte, 1))
			must(t, err)
			cancel()
			must(t, receive(t, "the end of Serve", served))
			if r := s.Report()[0]; r.Complete != 1 || r.Bytes != 10_000 {
				t.Errorf("%d complete, %d bytes", r.Complete, r.Bytes)
			}
			must(t, f.Close())
			must(t, s.Close())
		})
	}
}
