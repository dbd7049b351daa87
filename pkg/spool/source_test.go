package spool_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
	"github.com/pipestreamer/pipestreamer/pkg/spool"
)

// TestWaysOfWriting has HANA write in every way that was seen or is thinkable.
func TestWaysOfWriting(t *testing.T) {
	t.Parallel()
	data := pattern(3<<20 + 100)
	plain := func(path string) error { return os.WriteFile(path, data, 0o640) }
	for name, c := range map[string]struct {
		write func(p backup.Plan) error
		// scans says that only scans can tell that the file is finished.
		scans bool
	}{
		"a hidden name and O_DIRECT": {func(p backup.Plan) error {
			return hana(p.Directory, p.FileName(id(0)), data)
		}, false},
		"the final name at once": {func(p backup.Plan) error { return plain(finalPath(p, 0)) }, false},
		"the final name, opened before": {func(p backup.Plan) error {
			return errors.Join(os.WriteFile(finalPath(p, 0), nil, 0o640), plain(finalPath(p, 0)))
		}, false},
		"renamed before it is closed": {func(p backup.Plan) error {
			f, err := os.Create(hiddenPath(p, 0))
			if err != nil {
				return err
			}
			_, err = f.Write(data[:1000])
			err = errors.Join(err, os.Rename(hiddenPath(p, 0), finalPath(p, 0)))
			_, errRest := f.Write(data[1000:])
			return errors.Join(err, errRest, f.Close())
		}, false},
		"a retry after a failure": {func(p backup.Plan) error {
			return errors.Join(regular(hiddenPath(p, 0)), os.Remove(hiddenPath(p, 0)),
				plain(hiddenPath(p, 0)), os.Rename(hiddenPath(p, 0), finalPath(p, 0)))
		}, false},
		"over a pipe at the final name": {func(p backup.Plan) error {
			return errors.Join(unix.Mkfifo(finalPath(p, 0), 0o600), plain(hiddenPath(p, 0)),
				os.Rename(hiddenPath(p, 0), finalPath(p, 0)))
		}, false},
		"instead of pipes at both names": {func(p backup.Plan) error {
			return errors.Join(unix.Mkfifo(finalPath(p, 0), 0o600), unix.Mkfifo(hiddenPath(p, 0), 0o600),
				os.Remove(hiddenPath(p, 0)), plain(hiddenPath(p, 0)), os.Rename(hiddenPath(p, 0), finalPath(p, 0)))
		}, false},
		"a name of its own, then renamed": {func(p backup.Plan) error {
			other := filepath.Join(p.Directory, "other")
			return errors.Join(plain(other), os.Rename(other, finalPath(p, 0)))
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, p := prepared(t, 1, func(cfg *spool.Config) {
				cfg.Pipes = true
				if c.scans {
					scanOften(cfg)
				}
			})
			end := fetch(t, s, stream(0))
			must(t, c.write(p))
			got := receive(t, "the end", end)
			must(t, got.err)
			same(t, got.data, data)

			report := s.Report()[0]
			if report.OpenedAt.IsZero() || report.ClosedAt.Before(report.OpenedAt) {
				t.Errorf("opened %v, closed %v", report.OpenedAt, report.ClosedAt)
			}
			want := backup.StreamReport{
				StreamID: id(0), Path: finalPath(p, 0), Opens: 1, Complete: 1,
				Bytes: int64(len(data)), Written: int64(len(data)), Door: "spool",
			}
			if diff := cmp.Diff(want, report, cmpopts.IgnoreFields(report, "OpenedAt", "ClosedAt")); diff != "" {
				t.Errorf("report (-want +got):\n%s", diff)
			}
			must(t, s.Close())
			must(t, s.Watch(t.Context()))
			if diff := cmp.Diff([]string{p.FileName(id(0))}, names(t, p.Directory)); diff != "" {
				t.Errorf("files after Close (-want +got):\n%s", diff)
			}
		})
	}
}

// TestNotFinished has a file that is not finished: Open waits, and the report
// shows that HANA is moving.
func TestNotFinished(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		path  func(p backup.Plan, volume int) string
		write int
		close bool
	}{
		"hidden and open":   {hiddenPath, 5000, false},
		"hidden and closed": {hiddenPath, 5000, true},
		"final and open":    {finalPath, 5000, false},
		"final and empty":   {finalPath, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, p := prepared(t, 1)
			end := fetch(t, s, stream(0))
			f, err := os.Create(c.path(p, 0))
			must(t, err)
			_, err = f.Write(pattern(c.write))
			must(t, err)
			if c.close {
				must(t, f.Close())
			}
			eventually(t, "the file's appearance", func() bool { return s.Report()[0].Path == c.path(p, 0) })
			if r := s.Report()[0]; r.Written != int64(c.write) || r.Opens != 0 || r.Bytes != 0 {
				t.Errorf("report %+v", r)
			}
			pending(t, "Open", end)
			must(t, s.Close())
			if got := receive(t, "the end", end); !errors.Is(got.err, spool.ErrClosed) {
				t.Errorf("got %v, want ErrClosed", got.err)
			}
			if !c.close {
				must(t, f.Close())
			}
		})
	}
}

// TestScansAlone leave no events: only two scans without a change between them
// finish a file.
func TestScansAlone(t *testing.T) {
	t.Parallel()
	s, p := prepared(t, 1, scanOften)
	end := fetch(t, s, stream(0))
	f, err := os.Create(finalPath(p, 0)) // never closed before the end
	must(t, err)
	data := pattern(10_000)
	_, err = f.Write(data)
	must(t, err)
	got := receive(t, "the end", end)
	must(t, got.err)
	same(t, got.data, data)
	must(t, f.Close())
}

func TestFound(t *testing.T) {
	t.Parallel()
	const base, delta = "FULL_20260101_databackup_", "FULL_20260101_databackup_incremental_100_200_"
	for name, c := range map[string]struct {
		kind  backup.Kind
		files []string
		want  []backup.Stream
		// planned are the streams of the plan that have a file.
		planned []string
	}{
		"an extra volume": {
			backup.KindComplete,
			[]string{base + "0_1", base + "7_1"},
			[]backup.Stream{{StreamID: id(7), File: base + "7_1"}},
			[]string{base + "0_1"},
		},
		"parts": {
			backup.KindComplete,
			[]string{base + "0_1", base + "0_2", base + "0_3"},
			[]backup.Stream{
				{StreamID: backup.StreamID{PartID: 2}, File: base + "0_2"},
				{StreamID: backup.StreamID{PartID: 3}, File: base + "0_3"},
			},
			[]string{base + "0_1"},
		},
		"a delta": {
			backup.KindIncremental,
			[]string{delta + "0_1", delta + "9_1"},
			[]backup.Stream{{StreamID: id(9), File: delta + "9_1"}},
			[]string{delta + "0_1"},
		},
		"a delta with the name of a complete one": {
			backup.KindIncremental,
			[]string{base + "0_1"},
			nil,
			[]string{base + "0_1"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := plan(directory(t), 1)
			p.Kind = c.kind
			s := prepare(t, p)
			end := fetch(t, s, stream(0))
			var got []backup.Stream
			for i, file := range c.files {
				must(t, hana(p.Directory, file, pattern(1000+i)))
			}
			must(t, s.Settle(t.Context()))
			for st := range s.Found() {
				got = append(got, st)
				o := receive(t, "the end of a found stream", fetch(t, s, st))
				must(t, o.err)
			}
			if diff := cmp.Diff(c.want, got, cmpopts.SortSlices(func(a, b backup.Stream) bool { return a.File < b.File })); diff != "" {
				t.Errorf("found (-want +got):\n%s", diff)
			}
			o := receive(t, "the end", end)
			must(t, o.err)
			same(t, o.data, pattern(1000))
			var paths []string
			for _, f := range s.Files() {
				paths = append(paths, f.Name)
			}
			if diff := cmp.Diff(c.files, paths, cmpopts.SortSlices(strings.Compare)); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
			if got := s.Report()[0].Path; got != filepath.Join(p.Directory, c.planned[0]) {
				t.Errorf("path %s", got)
			}
			must(t, s.Close())
			must(t, s.Watch(t.Context()))
		})
	}
}

// TestFoundAtOnce yields a stream while HANA still writes it under its hidden
// name, before anybody settles, and only once.
func TestFoundAtOnce(t *testing.T) {
	t.Parallel()
	s, p := prepared(t, 1, scanOften)
	f, err := os.Create(hiddenPath(p, 5))
	must(t, err)
	got := receive(t, "the stream", s.Found())
	if diff := cmp.Diff(backup.Stream{StreamID: id(5), File: p.FileName(id(5))}, got); diff != "" {
		t.Errorf("found (-want +got):\n%s", diff)
	}
	_, err = f.Write(pattern(10))
	must(t, errors.Join(err, f.Close(), os.Rename(hiddenPath(p, 5), finalPath(p, 5))))
	o := receive(t, "the end", fetch(t, s, got))
	must(t, o.err)
	must(t, s.Settle(t.Context()))
	if again, more := <-s.Found(); more {
		t.Errorf("found %v again", again)
	}
}

// TestSettleDecides: HANA is done, so nothing more is waited for.
func TestSettleDecides(t *testing.T) {
	t.Parallel()
	s, p := prepared(t, 3)
	ends := []<-chan outcome{fetch(t, s, stream(0)), fetch(t, s, stream(1)), fetch(t, s, stream(2))}
	// Renamed from a name of its own: no event tells that it is finished.
	other := filepath.Join(p.Directory, "other")
	must(t, errors.Join(regular(other), os.Rename(other, finalPath(p, 0))))
	must(t, regular(hiddenPath(p, 1)))
	must(t, s.Settle(t.Context()))
	first := receive(t, "the finished stream", ends[0])
	must(t, first.err)
	same(t, first.data, []byte("HANA's"))
	if got := receive(t, "the hidden stream", ends[1]).err; got == nil || !strings.Contains(got.Error(), "still has its hidden name") {
		t.Errorf("got %v", got)
	}
	if got := receive(t, "the absent stream", ends[2]).err; !errors.Is(got, backup.ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", got)
	}
	must(t, regular(finalPath(p, 8)))
	err := receive(t, "the intrusion", async(func() error { return s.Watch(t.Context()) }))
	if !errors.Is(err, spool.ErrIntrusion) || !strings.Contains(err.Error(), "after HANA was done") {
		t.Errorf("a late file: %v", err)
	}
}

func TestDirectoryLost(t *testing.T) {
	t.Parallel()
	for name, act := range map[string]func(dir string) error{
		"removed": os.RemoveAll,
		"moved":   func(dir string) error { return os.Rename(dir, dir+"x") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := plan(filepath.Join(directory(t), "inner"), 1)
			must(t, os.Mkdir(p.Directory, 0o700))
			s := prepare(t, p, scanOften)
			must(t, act(p.Directory))
			err := receive(t, "the intrusion", async(func() error { return s.Watch(t.Context()) }))
			if !errors.Is(err, spool.ErrIntrusion) {
				t.Errorf("got %v, want an intrusion", err)
			}
		})
	}
}

func TestOpenEnds(t *testing.T) {
	t.Parallel()
	cause := errors.New("the job was cancelled")
	t.Run("with its context while it waits", func(t *testing.T) {
		t.Parallel()
		s, _ := prepared(t, 1)
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(cause)
		if _, err := s.Open(ctx, stream(0)); !errors.Is(err, cause) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("with its context while it reads", func(t *testing.T) {
		t.Parallel()
		s, p := prepared(t, 1)
		must(t, hana(p.Directory, p.FileName(id(0)), pattern(1<<20)))
		ctx, cancel := context.WithCancelCause(t.Context())
		r, err := s.Open(ctx, stream(0))
		must(t, err)
		_, err = io.ReadFull(r, make([]byte, 10))
		must(t, err)
		cancel(cause)
		if _, err := r.Read(make([]byte, 10)); !errors.Is(err, cause) {
			t.Errorf("got %v", err)
		}
		must(t, errors.Join(r.Close(), r.Close()))
		if _, err := r.Read(make([]byte, 10)); !errors.Is(err, spool.ErrClosed) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("with the Source while it reads", func(t *testing.T) {
		t.Parallel()
		s, p := prepared(t, 1)
		must(t, hana(p.Directory, p.FileName(id(0)), pattern(1<<20)))
		r, err := s.Open(t.Context(), stream(0))
		must(t, err)
		must(t, s.Close())
		if _, err := r.Read(make([]byte, 10)); !errors.Is(err, spool.ErrClosed) {
			t.Errorf("got %v", err)
		}
		must(t, r.Close())
	})
	t.Run("for a stream of nobody", func(t *testing.T) {
		t.Parallel()
		s, _ := prepared(t, 1)
		if _, err := s.Open(t.Context(), stream(4)); err == nil {
			t.Error("it was opened")
		}
	})
	t.Run("the second time", func(t *testing.T) {
		t.Parallel()
		s, p := prepared(t, 1)
		must(t, hana(p.Directory, p.FileName(id(0)), pattern(10)))
		must(t, receive(t, "the end", fetch(t, s, stream(0))).err)
		if _, err := s.Open(t.Context(), stream(0)); err == nil {
			t.Error("it was opened")
		}
	})
}

// TestManyStreams has HANA write many files among many of somebody else.
func TestManyStreams(t *testing.T) {
	t.Parallel()
	p := plan(directory(t), 100)
	for i := range 1000 {
		must(t, os.WriteFile(filepath.Join(p.Directory, fmt.Sprintf("log_backup_2_0_%d", i)), nil, 0o600))
	}
	s := prepare(t, p)
	ends := make([]<-chan outcome, 100)
	for i := range ends {
		ends[i] = fetch(t, s, stream(i))
	}
	for i := range ends {
		must(t, hana(p.Directory, p.FileName(id(i)), pattern(5000+i)))
	}
	for i, end := range ends {
		got := receive(t, "the end", end)
		must(t, got.err)
		same(t, got.data, pattern(5000+i))
	}
	must(t, s.Close())
	must(t, s.Watch(t.Context()))
}
