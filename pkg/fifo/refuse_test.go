package fifo_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
	"github.com/pipestreamer/pipestreamer/pkg/fifo"
)

const create = os.O_CREATE | os.O_TRUNC

// refused returns a Source of two streams, the first of which was closed after
// its first bytes. Its writer is still there.
func refused(t *testing.T, path func(backup.Plan, int) string) (*fifo.Source, backup.Plan, *os.File) {
	t.Helper()
	s, p := armed(t, 2)
	w, err := os.OpenFile(path(p, 0), os.O_WRONLY|create, 0o640)
	must(t, err)
	t.Cleanup(func() { must(t, w.Close()) })
	_, err = w.WriteString("first bytes")
	must(t, err)
	r, err := s.Open(t.Context(), stream(0))
	must(t, err)
	must(t, r.Close())
	return s, p, w
}

// TestRefusedStreamAnswersEveryWriter has HANA try again in every way after our
// side has failed.
func TestRefusedStreamAnswersEveryWriter(t *testing.T) {
	t.Parallel()
	big := func(path string) error { return write(path, create, pattern(1<<20), 1<<20) }
	for name, c := range map[string]struct {
		begun func(backup.Plan, int) string
		try   func(p backup.Plan, w *os.File) error
	}{
		"the writer itself": {finalPath, func(_ backup.Plan, w *os.File) error {
			_, err := w.Write(pattern(1))
			return err
		}},
		"the same name again":         {finalPath, func(p backup.Plan, _ *os.File) error { return big(finalPath(p, 0)) }},
		"the other name":              {finalPath, func(p backup.Plan, _ *os.File) error { return big(hiddenPath(p, 0)) }},
		"the hidden name again":       {hiddenPath, func(p backup.Plan, _ *os.File) error { return big(hiddenPath(p, 0)) }},
		"the final name after hidden": {hiddenPath, func(p backup.Plan, _ *os.File) error { return big(finalPath(p, 0)) }},
		"small writes": {finalPath, func(p backup.Plan, _ *os.File) error {
			return write(finalPath(p, 0), create, pattern(100_000), 100)
		}},
		"a name that HANA removes first": {finalPath, func(p backup.Plan, _ *os.File) error {
			if err := os.Remove(finalPath(p, 0)); err != nil {
				return err
			}
			for { // until the pipe is back
				if _, err := os.Lstat(finalPath(p, 0)); err == nil {
					return big(finalPath(p, 0))
				}
				runtime.Gosched()
			}
		}},
		"the hidden name after it was renamed": {hiddenPath, func(p backup.Plan, _ *os.File) error {
			if err := os.Rename(hiddenPath(p, 0), finalPath(p, 0)); err != nil {
				return err
			}
			for {
				if _, err := os.Lstat(hiddenPath(p, 0)); err == nil {
					return errors.Join(big(hiddenPath(p, 0)), big(finalPath(p, 0)))
				}
				runtime.Gosched()
			}
		}},
		"a writer that came before and waited": {finalPath, func(p backup.Plan, _ *os.File) error {
			late, err := os.OpenFile(finalPath(p, 0), os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			if err := big(finalPath(p, 0)); !errors.Is(err, unix.EPIPE) {
				return err
			}
			_, err = late.Write(pattern(10))
			return errors.Join(err, late.Close())
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, p, w := refused(t, c.begun)
			if err := receive(t, "the answer", async(func() error { return c.try(p, w) })); !errors.Is(err, unix.EPIPE) {
				t.Errorf("the writer got %v, want EPIPE", err)
			}
			for _, path := range []string{finalPath(p, 0), hiddenPath(p, 0)} {
				info, err := os.Lstat(path)
				if err != nil || info.Mode() != os.ModeNamedPipe|0o660 {
					t.Errorf("at %s stands %v, %v", path, info, err)
				}
			}
			if r := s.Report()[0]; r.Intrusion != "" || r.Opens != 1 || r.Complete != 0 {
				t.Errorf("report %+v", r)
			}
			must(t, write(finalPath(p, 1), 0, pattern(5000), 5000)) // the other stream goes on
			got, err := fetch(t.Context(), s, 1)
			must(t, err)
			same(t, got, pattern(5000))
			must(t, s.Close())
			if left := names(t, p.Directory); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// TestRefusalsAreBounded has a writer try as fast as it can.
func TestRefusalsAreBounded(t *testing.T) {
	t.Parallel()
	s, p, _ := refused(t, finalPath)
	before := descriptors(t)
	started := time.Now()
	const tries = 50
	for range tries {
		if err := write(finalPath(p, 0), create, pattern(10_000), 10_000); !errors.Is(err, unix.EPIPE) {
			t.Fatalf("the writer got %v, want EPIPE", err)
		}
	}
	if took := time.Since(started); took < tries*15*time.Millisecond {
		t.Errorf("%d refusals took %v: nothing bounds their number", tries, took)
	}
	must(t, s.Close())
	eventually(t, "the end of the descriptors", func() bool { return descriptors(t) < before+8 })
}

// TestRefusedNamesAreGivenUpAfterAWhile has somebody remove pipes for ever.
func TestRefusedNamesAreGivenUpAfterAWhile(t *testing.T) {
	t.Parallel()
	s, p, _ := refused(t, finalPath)
	removals := async(func() error {
		for s.Report()[0].Intrusion == "" {
			if err := os.Remove(finalPath(p, 0)); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
			runtime.Gosched()
		}
		return nil
	})
	must(t, receive(t, "the end of the contest", removals))
	if err := s.Watch(t.Context()); !errors.Is(err, fifo.ErrIntrusion) {
		t.Errorf("got %v, want an intrusion", err)
	}
}

// TestASecondWriterIsRefused while the first goes on: it must not block until
// the job ends.
func TestASecondWriterIsRefused(t *testing.T) {
	t.Parallel()
	for name, path := range map[string]func(backup.Plan, int) string{"same": finalPath, "other": hiddenPath} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, p := armed(t, 1)
			w, err := os.OpenFile(finalPath(p, 0), os.O_WRONLY, 0)
			must(t, err)
			_, err = w.Write(pattern(10))
			must(t, err)
			r, err := s.Open(t.Context(), stream(0))
			must(t, err)
			second := async(func() error { return write(path(p, 0), create, pattern(1<<20), 1<<20) })
			if err := receive(t, "the refusal", second); !errors.Is(err, unix.EPIPE) {
				t.Errorf("the second writer got %v, want EPIPE", err)
			}
			must(t, w.Close())
			if got, err := io.ReadAll(r); !errors.Is(err, fifo.ErrIntrusion) {
				t.Errorf("the end of an intruded stream is %v", err)
			} else {
				same(t, got, pattern(10))
			}
			must(t, r.Close())
		})
	}
}

// TestCloseOfARefusedStreamLeavesNobodyBlocked has writers come while streams
// are closed early and the Source, too.
func TestCloseOfARefusedStreamLeavesNobodyBlocked(t *testing.T) {
	t.Parallel()
	for round := range 20 {
		s, p := armed(t, 1)
		var writers []<-chan error
		for i := range 12 {
			path := []string{finalPath(p, 0), hiddenPath(p, 0)}[i%2]
			writers = append(writers, async(func() error {
				var err error
				for err == nil {
					err = write(path, 0, pattern(20_000), 20_000)
				}
				return err
			}))
		}
		r, err := s.Open(t.Context(), stream(0))
		must(t, err)
		must(t, r.Close())
		if round%2 == 0 {
			time.Sleep(time.Duration(round) * time.Millisecond) // let some be refused
		}
		must(t, s.Close())
		for _, writer := range writers {
			err := receive(t, "a writer's end", writer)
			if !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EPIPE) {
				t.Errorf("a writer got %v", err)
			}
		}
		if left := names(t, p.Directory); len(left) > 0 {
			t.Fatalf("left behind: %v", left)
		}
	}
}

// TestDirectOpeningsAreToldApart distinguishes O_DIRECT, which a pipe refuses,
// from a writer that closes without a byte.
func TestDirectOpeningsAreToldApart(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		act           func(p backup.Plan) error
		empty, direct int
	}{
		"never opened":  {func(backup.Plan) error { return nil }, 0, 0},
		"O_DIRECT once": {func(p backup.Plan) error { return direct(hiddenPath(p, 0)) }, 1, 1},
		"O_DIRECT beside a reader that is not ours": {func(p backup.Plan) error {
			f, err := os.OpenFile(finalPath(p, 0), os.O_RDONLY|unix.O_NONBLOCK, 0)
			if err != nil {
				return err
			}
			return errors.Join(f.Close(), direct(hiddenPath(p, 0)))
		}, 1, 1},
		"O_DIRECT at both names": {func(p backup.Plan) error {
			return errors.Join(direct(hiddenPath(p, 0)), direct(finalPath(p, 0)))
		}, 2, 2},
		"closed without a byte": {func(p backup.Plan) error { return openOnly(hiddenPath(p, 0), create) }, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, p := armed(t, 1)
			must(t, c.act(p))
			// The last event of all: once it is known, so are the others.
			must(t, os.WriteFile(finalPath(p, 7), nil, 0o600))
			must(t, os.Remove(finalPath(p, 7)))
			if err := receive(t, "the marker", async(func() error { return s.Watch(t.Context()) })); err == nil {
				t.Fatal("the marker was not seen")
			}
			eventually(t, fmt.Sprintf("%d empty openings", c.empty), func() bool {
				r := s.Report()[0]
				return r.EmptyOpens >= c.empty && r.DirectOpens == c.direct
			})
			if r := s.Report()[0]; c.empty == 0 && r.EmptyOpens > 0 || r.EmptyOpens > 2 {
				t.Errorf("report %+v", r)
			}
		})
	}
}

// direct opens like HANA was seen to.
func direct(path string) error {
	if err := openOnly(path, create|unix.O_DIRECT); !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("O_DIRECT on a pipe: %w", err)
	}
	return nil
}
