package fifo_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
	"github.com/pipestreamer/pipestreamer/pkg/fifo"
)

// armed returns a prepared Source of n streams.
func armed(t *testing.T, n int) (*fifo.Source, backup.Plan) {
	t.Helper()
	p := plan(directory(t), n)
	s := fifo.NewSource(fifo.Config{Directory: p.Directory}, nil, nil)
	must(t, s.Prepare(t.Context(), p))
	t.Cleanup(func() { must(t, s.Close()) })
	return s, p
}

// fetch opens and reads a whole stream.
func fetch(ctx context.Context, s *fifo.Source, volume int) ([]byte, error) {
	r, err := s.Open(ctx, stream(volume))
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(r)
	return data, errors.Join(err, r.Close())
}

// profiles are the ways in which HANA may write one file.
func profiles() map[string]func(p backup.Plan, data []byte) (path string, err error) {
	const create = os.O_CREATE | os.O_TRUNC
	plain := func(p backup.Plan, data []byte) (string, error) {
		return finalPath(p, 0), write(finalPath(p, 0), create, data, 1<<20)
	}
	renamed := func(p backup.Plan, data []byte) (string, error) {
		if err := write(hiddenPath(p, 0), create, data, 1<<20); err != nil {
			return "", err
		}
		return hiddenPath(p, 0), os.Rename(hiddenPath(p, 0), finalPath(p, 0))
	}
	return map[string]func(p backup.Plan, data []byte) (string, error){
		"plain":   plain,
		"dotname": renamed,
		"dotname renamed before it is closed": func(p backup.Plan, data []byte) (string, error) {
			f, err := os.OpenFile(hiddenPath(p, 0), os.O_WRONLY|create, 0o640)
			if err != nil {
				return "", err
			}
			_, err = f.Write(data[:len(data)/2])
			err = errors.Join(err, os.Rename(hiddenPath(p, 0), finalPath(p, 0)))
			_, rest := f.Write(data[len(data)/2:])
			return hiddenPath(p, 0), errors.Join(err, rest, f.Close())
		},
		"direct with fallback": func(p backup.Plan, data []byte) (string, error) {
			if err := openOnly(hiddenPath(p, 0), create|unix.O_DIRECT); !errors.Is(err, unix.EINVAL) {
				return "", fmt.Errorf("O_DIRECT on a pipe: %w", err)
			}
			return renamed(p, data)
		},
		"an empty opening before": func(p backup.Plan, data []byte) (string, error) {
			if err := openOnly(finalPath(p, 0), 0); err != nil {
				return "", err
			}
			return plain(p, data)
		},
		"small writes": func(p backup.Plan, data []byte) (string, error) {
			return finalPath(p, 0), write(finalPath(p, 0), 0, data, max(1, len(data)/3000))
		},
		"late": func(p backup.Plan, data []byte) (string, error) {
			time.Sleep(300 * time.Millisecond) // the point: the writer is late
			return plain(p, data)
		},
	}
}

// wantDirect is how many openings of a profile the kernel refuses.
func wantDirect(profile string) int {
	if profile == "direct with fallback" {
		return 1
	}
	return 0
}

func TestSourceReceives(t *testing.T) {
	t.Parallel()
	for name, produce := range profiles() {
		for _, size := range []int{1, 100, 4096, 4097, 65_536, 1<<20 + 13} {
			t.Run(fmt.Sprintf("%s %d", name, size), func(t *testing.T) {
				t.Parallel()
				s, p := armed(t, 1)
				data := pattern(size)
				var path string
				writer := async(func() (err error) {
					path, err = produce(p, data)
					return err
				})
				got, err := fetch(t.Context(), s, 0)
				must(t, err)
				must(t, receive(t, "the writer's end", writer))
				same(t, got, data)

				// Events are handled beside the stream.
				eventually(t, "the count", func() bool { return s.Report()[0].DirectOpens >= wantDirect(name) })
				r := s.Report()[0]
				if r.OpenedAt.IsZero() || r.ClosedAt.Before(r.OpenedAt) {
					t.Errorf("times: opened %v, closed %v", r.OpenedAt, r.ClosedAt)
				}
				want := backup.StreamReport{
					StreamID: id(0), Path: path, Door: backup.DoorFIFO, Opens: 1, Complete: 1, Bytes: int64(size),
					EmptyOpens: r.EmptyOpens, DirectOpens: wantDirect(name), OpenedAt: r.OpenedAt, ClosedAt: r.ClosedAt,
				}
				if diff := cmp.Diff(want, r); diff != "" {
					t.Errorf("report (-want +got):\n%s", diff)
				}
				must(t, s.Close())
				if err := s.Watch(t.Context()); err != nil {
					t.Errorf("an ordinary backup is taken for an intrusion: %v", err)
				}
				if left := names(t, p.Directory); len(left) > 0 {
					t.Errorf("left behind: %v", left)
				}
			})
		}
	}
}

func TestSourceCountsEmptyOpenings(t *testing.T) {
	t.Parallel()
	for name, flags := range map[string]int{"O_DIRECT refused": unix.O_DIRECT, "closed without a byte": 0} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, p := armed(t, 1)
			if err := openOnly(hiddenPath(p, 0), flags); (err != nil) != (flags != 0) {
				t.Fatalf("open: %v", err)
			}
			eventually(t, "the count", func() bool { return s.Report()[0].EmptyOpens == 1 })
			cause := errors.New("nobody came")
			ctx, cancel := context.WithCancelCause(t.Context())
			opened := async(func() error {
				_, err := s.Open(ctx, stream(0))
				return err
			})
			cancel(cause)
			if err := receive(t, "the end of Open", opened); !errors.Is(err, cause) {
				t.Errorf("Open: got %v, want the cause", err)
			}
			if r := s.Report()[0]; r.Opens != 0 || r.Path != "" || r.Intrusion != "" {
				t.Errorf("report %+v", r)
			}
		})
	}
}

func TestReadEndsWithTheContext(t *testing.T) {
	t.Parallel()
	s, p := armed(t, 1)
	w, err := os.OpenFile(finalPath(p, 0), os.O_WRONLY, 0)
	must(t, err)
	_, err = w.WriteString("x")
	must(t, err)
	cause := errors.New("the job was cancelled")
	ctx, cancel := context.WithCancelCause(t.Context())
	r, err := s.Open(ctx, stream(0))
	must(t, err)
	read := async(func() error {
		_, err := io.ReadAll(r)
		return err
	})
	eventually(t, "the first byte", func() bool { return s.Report()[0].Bytes == 1 })
	cancel(cause)
	if err := receive(t, "the end of Read", read); !errors.Is(err, cause) {
		t.Errorf("Read: got %v, want the cause", err)
	}
	if _, err := r.Read(make([]byte, 1)); !errors.Is(err, cause) {
		t.Errorf("Read again: got %v, want the cause", err)
	}
	must(t, w.Close())
	must(t, r.Close())
	if _, err := s.Open(t.Context(), stream(0)); err == nil {
		t.Error("a stream was opened twice")
	}
	if _, err := s.Open(t.Context(), stream(7)); err == nil {
		t.Error("a stream outside the plan was opened")
	}
}

// TestCloseBreaksTheWriter covers both closings: of the reader and of the Source.
func TestCloseBreaksTheWriter(t *testing.T) {
	t.Parallel()
	for _, whole := range []bool{false, true} {
		t.Run(fmt.Sprintf("source %t", whole), func(t *testing.T) {
			t.Parallel()
			s, p := armed(t, 2)
			writer := async(func() error { return write(hiddenPath(p, 0), os.O_CREATE, pattern(8<<20), 1<<20) })
			r, err := s.Open(t.Context(), stream(0))
			must(t, err)
			_, err = io.ReadFull(r, make([]byte, 10_000))
			must(t, err)
			if whole {
				read := async(func() error {
					_, err := io.Copy(io.Discard, io.LimitReader(r, 1<<40))
					return err
				})
				must(t, s.Close())
				// Whatever was in the pipe may still be read, but never an end.
				if err := receive(t, "the end of Read", read); !errors.Is(err, fifo.ErrClosed) && err != nil {
					t.Errorf("Read after Close: %v", err)
				}
			}
			must(t, r.Close())
			must(t, r.Close())
			err = receive(t, "the writer's end", writer)
			if !whole && !errors.Is(err, unix.EPIPE) {
				t.Errorf("the writer got %v, want EPIPE", err)
			}
			for _, path := range []string{finalPath(p, 0), hiddenPath(p, 0)} {
				want := unix.EPIPE
				if whole {
					want = unix.ENOENT
				}
				if err := write(path, 0, pattern(1<<20), 1<<20); !errors.Is(err, want) {
					t.Errorf("a retry on %s got %v, want %v", filepath.Base(path), err, want)
				}
			}
			if !whole && len(s.Report()) != 2 {
				t.Error("the other stream is gone")
			}
		})
	}
}

// TestCloseLeavesNobodyBlocked opens names while Close takes them away.
func TestCloseLeavesNobodyBlocked(t *testing.T) {
	t.Parallel()
	for range 20 {
		s, p := armed(t, 2)
		var openers []<-chan error
		for i := range 20 {
			path := []string{finalPath(p, 0), hiddenPath(p, 0), finalPath(p, 1), hiddenPath(p, 1)}[i%4]
			openers = append(openers, async(func() error { return write(path, 0, pattern(100), 100) }))
		}
		must(t, s.Close())
		for _, opener := range openers {
			err := receive(t, "an opener's end", opener)
			if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EPIPE) {
				t.Errorf("an opener got %v", err)
			}
		}
		if left := names(t, p.Directory); len(left) > 0 {
			t.Fatalf("left behind: %v", left)
		}
	}
}

func TestKilledWriterLooksLikeAnEnd(t *testing.T) {
	t.Parallel()
	s, p := armed(t, 1)
	got := make(chan []byte, 1)
	reader := async(func() error {
		data, err := fetch(t.Context(), s, 0)
		got <- data
		return err
	})
	_, kill := helper(t, "writer", finalPath(p, 0))
	kill()
	must(t, receive(t, "the reader's end", reader))
	same(t, receive(t, "the bytes", got), pattern(100_000))
}

// TestManyPipes has 64 streams wait and then flow at once.
func TestManyPipes(t *testing.T) {
	const n = 64
	p := plan(directory(t), n)
	before, goroutines, started := descriptors(t), runtime.NumGoroutine(), threads(t)
	s := fifo.NewSource(fifo.Config{Directory: p.Directory, PipeSize: 65_536}, nil, nil)
	must(t, s.Prepare(t.Context(), p))
	var readers []<-chan error
	for volume := range n {
		readers = append(readers, async(func() error {
			data, err := fetch(t.Context(), s, volume)
			if err == nil && len(data) != 20_000+volume {
				err = fmt.Errorf("volume %d: %d bytes", volume, len(data))
			}
			return err
		}))
	}
	eventually(t, "the start of the readers", func() bool { return runtime.NumGoroutine() >= goroutines+4*n-4 })
	if now := threads(t); now > started+16 {
		t.Errorf("%d threads for %d waiting pipes, %d before", now, 3*n, started)
	}
	for volume := range n {
		must(t, write(hiddenPath(p, volume), 0, pattern(20_000+volume), 4096))
		must(t, os.Rename(hiddenPath(p, volume), finalPath(p, volume)))
	}
	for _, reader := range readers {
		must(t, receive(t, "a reader's end", reader))
	}
	must(t, s.Close())
	if err := s.Watch(t.Context()); err != nil {
		t.Error(err)
	}
	if left := names(t, p.Directory); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
	eventually(t, "the end of the goroutines", func() bool { return runtime.NumGoroutine() <= goroutines })
}

// TestSourceRaces goes through whole lives with delays on both sides.
func TestSourceRaces(t *testing.T) {
	t.Parallel()
	dir := directory(t)
	for cycle := range 300 {
		pause := func() { time.Sleep(time.Duration(rand.IntN(300)) * time.Microsecond) }
		p := plan(dir, 1)
		s := fifo.NewSource(fifo.Config{Directory: dir}, nil, nil)
		must(t, s.Prepare(t.Context(), p))
		data := pattern(1 + rand.IntN(12_000))
		early := rand.IntN(4) == 0
		writer := async(func() error {
			pause()
			if cycle%2 == 0 {
				return write(finalPath(p, 0), os.O_TRUNC, data, 1+rand.IntN(len(data)))
			}
			if err := write(hiddenPath(p, 0), os.O_TRUNC, data, 1+rand.IntN(len(data))); err != nil {
				return err
			}
			pause()
			return os.Rename(hiddenPath(p, 0), finalPath(p, 0))
		})
		pause()
		if !early {
			got, err := fetch(t.Context(), s, 0)
			must(t, err)
			must(t, receive(t, "the writer's end", writer))
			same(t, got, data)
		}
		must(t, s.Close())
		if early {
			if err := receive(t, "the writer's end", writer); err != nil &&
				!errors.Is(err, unix.EPIPE) && !errors.Is(err, unix.ENOENT) {
				t.Fatalf("cycle %d: the writer got %v", cycle, err)
			}
		}
		if err := s.Watch(t.Context()); err != nil {
			t.Fatalf("cycle %d: %v", cycle, err)
		}
		if left := names(t, dir); len(left) > 0 {
			t.Fatalf("cycle %d: left behind: %v", cycle, left)
		}
	}
}
