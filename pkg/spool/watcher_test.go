package spool_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"golang.org/x/sys/unix"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
	"github.com/pipestreamer/pipestreamer/pkg/spool"
)

func watcher(t *testing.T, dir string, change ...func(*spool.Config)) *spool.Watcher {
	t.Helper()
	cfg := spool.Config{Directory: dir, Rescan: soon}
	for _, c := range change {
		c(&cfg)
	}
	w := spool.NewWatcher(cfg, dir, nil, nil)
	t.Cleanup(func() { must(t, w.Close()) })
	return w
}

// noScans lets events alone tell what is finished, after the first scan.
func noScans(c *spool.Config) { c.Rescan = never }

func logName(volume int, first, last int64) string {
	return backup.LogName{VolumeID: volume, First: first, Last: last, BackupID: 1000 + last}.String()
}

func catalogName(id int64) string { return backup.LogName{BackupID: id}.String() }

// next collects n files, however many come at once.
func next(t *testing.T, w *spool.Watcher, n int) []spool.File {
	t.Helper()
	var files []spool.File
	for len(files) < n {
		got := receive(t, "the next files", async(func() outcomeOf[[]spool.File] {
			batch, err := w.Next(t.Context())
			return outcomeOf[[]spool.File]{batch, err}
		}))
		must(t, got.err)
		files = append(files, got.value...)
	}
	return files
}

type outcomeOf[T any] struct {
	value T
	err   error
}

func namesOf(files []spool.File) []string {
	list := []string{}
	for _, f := range files {
		list = append(list, f.Name)
	}
	return list
}

// none fails if the Watcher yields something within a few scans.
func none(t *testing.T, w *spool.Watcher) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*soon)
	defer cancel()
	if files, err := w.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v, %v, want nothing", namesOf(files), err)
	}
}

// TestNextIsSorted has the files stand there before the start.
func TestNextIsSorted(t *testing.T) {
	t.Parallel()
	dir := directory(t)
	want := []string{
		logName(1, 100, 200), logName(2, 64, 128), logName(2, 128, 1000), logName(10, 1, 2),
		catalogName(5), catalogName(1700),
	}
	for _, i := range rand.Perm(len(want)) {
		must(t, hana(dir, want[i], pattern(100)))
	}
	w := watcher(t, dir)
	if diff := cmp.Diff(want, namesOf(next(t, w, len(want)))); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	none(t, w)
}

func TestBatchesAreBounded(t *testing.T) {
	t.Parallel()
	dir := directory(t)
	for i := range int64(7) {
		must(t, hana(dir, logName(2, 100*i, 100*i+100), pattern(10)))
	}
	w := watcher(t, dir, func(c *spool.Config) { c.BatchFiles = 3 })
	var sizes []int
	for range 3 {
		files, err := w.Next(t.Context())
		must(t, err)
		sizes = append(sizes, len(files))
	}
	if diff := cmp.Diff([]int{3, 3, 1}, sizes); diff != "" {
		t.Errorf("batches (-want +got):\n%s", diff)
	}
}

// TestEventsAlone yields a file as soon as it is finished.
func TestEventsAlone(t *testing.T) {
	t.Parallel()
	for name, write := range map[string]func(dir string) error{
		"a hidden name and O_DIRECT": func(dir string) error { return hana(dir, oneLog, pattern(5000)) },
		"the final name at once":     func(dir string) error { return os.WriteFile(filepath.Join(dir, oneLog), pattern(5000), 0o640) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := directory(t)
			must(t, os.WriteFile(filepath.Join(dir, logName(9, 1, 2)), nil, 0o600)) // shows that the first scan is over
			w := watcher(t, dir, noScans)
			files := async(func() []spool.File { return next(t, w, 1) })
			eventually(t, "the start", func() bool { n, _, _ := w.Waiting(); return n == 1 })
			must(t, write(dir))
			got := receive(t, "the file", files)
			if got[0].Name != oneLog || got[0].Size != 5000 {
				t.Errorf("got %v", got)
			}
		})
	}
}

// TestNotShipped never yields what HANA has not finished, or what is none of its
// log backups, and counts what stays.
func TestNotShipped(t *testing.T) {
	t.Parallel()
	old := func(path string) error { return os.Chtimes(path, time.Time{}, time.Now().Add(-2*time.Hour)) }
	for name, c := range map[string]struct {
		make    func(dir string) error
		unknown int
		refused int
	}{
		"a hidden name":       {func(dir string) error { return regular(filepath.Join(dir, "."+oneLog)) }, 0, 0},
		"an old hidden name":  {func(dir string) error { p := filepath.Join(dir, "."+oneLog); return errors.Join(regular(p), old(p)) }, 1, 0},
		"an empty file":       {func(dir string) error { return os.WriteFile(filepath.Join(dir, oneLog), nil, 0o600) }, 0, 0},
		"a new unknown file":  {func(dir string) error { return regular(filepath.Join(dir, "notes")) }, 0, 0},
		"an old unknown file": {func(dir string) error { p := filepath.Join(dir, "notes"); return errors.Join(regular(p), old(p)) }, 1, 0},
		"positions backwards": {func(dir string) error { return regular(filepath.Join(dir, "log_backup_2_0_9_1.5")) }, 0, 0},
		"a link":              {func(dir string) error { return os.Symlink("/etc/passwd", filepath.Join(dir, oneLog)) }, 0, 1},
		"a pipe":              {func(dir string) error { return unix.Mkfifo(filepath.Join(dir, oneLog), 0o600) }, 0, 1},
		"a directory":         {func(dir string) error { return os.Mkdir(filepath.Join(dir, oneLog), 0o700) }, 0, 1},
		"a file with two names": {func(dir string) error {
			return errors.Join(regular(filepath.Join(dir, "x")), os.Link(filepath.Join(dir, "x"), filepath.Join(dir, oneLog)))
		}, 0, 1},
		"a data backup": {func(dir string) error { return regular(filepath.Join(dir, "FULL_databackup_0_1")) }, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := directory(t)
			must(t, c.make(dir))
			registry := prometheus.NewRegistry()
			w := spool.NewWatcher(spool.Config{Directory: dir, Rescan: soon}, dir, nil, spool.NewMetrics(registry))
			defer func() { must(t, w.Close()) }()
			none(t, w)
			text := fmt.Sprintf(`
# HELP pipestreamer_spool_intrusions_total Things found in a directory that HANA does not put there.
# TYPE pipestreamer_spool_intrusions_total counter
pipestreamer_spool_intrusions_total{content="data"} 0
pipestreamer_spool_intrusions_total{content="log"} %d
# HELP pipestreamer_spool_unknown_files_total Files that stay in a log directory and are neither log nor catalog backups.
# TYPE pipestreamer_spool_unknown_files_total counter
pipestreamer_spool_unknown_files_total %d
`, c.refused, c.unknown)
			must(t, testutil.GatherAndCompare(registry, strings.NewReader(text),
				"pipestreamer_spool_intrusions_total", "pipestreamer_spool_unknown_files_total"))
		})
	}
}

// TestStillWritten has a file under its final name that grows between scans.
func TestStillWritten(t *testing.T) {
	t.Parallel()
	dir := directory(t)
	f, err := os.Create(filepath.Join(dir, oneLog))
	must(t, err)
	w := watcher(t, dir, noScans)
	_, err = f.Write(pattern(100))
	must(t, err)
	files := async(func() []spool.File { return next(t, w, 1) })
	eventually(t, "the look at it", func() bool { _, bytes, _ := w.Waiting(); return bytes == 100 })
	_, err = f.Write(pattern(50))
	must(t, err)
	pending(t, "Next", files)
	must(t, f.Close())
	if got := receive(t, "the file", files); got[0].Size != 150 {
		t.Errorf("got %v", got)
	}
}

// TestYieldedOnce, unless it is asked for again or became another file.
func TestYieldedOnce(t *testing.T) {
	t.Parallel()
	dir := directory(t)
	must(t, hana(dir, oneLog, pattern(10)))
	w := watcher(t, dir)
	first := next(t, w, 1)[0]
	read(t, w, first, pattern(10))
	none(t, w)
	w.Again(oneLog)
	w.Again("unknown")
	if again := next(t, w, 1)[0]; again != first {
		t.Errorf("got %v, want %v", again, first)
	}
	none(t, w)
	must(t, hana(dir, oneLog, pattern(11)))
	if other := next(t, w, 1)[0]; other == first || other.Size != 11 {
		t.Errorf("got %v", other)
	}
	removed, err := spool.Remove(dir, dir, first)
	must(t, err)
	if removed {
		t.Error("the new file was removed for the old one")
	}
	none(t, w)
	must(t, os.Remove(filepath.Join(dir, oneLog)))
	if n, bytes, oldest := w.Waiting(); n != 0 || bytes != 0 || !oldest.IsZero() {
		t.Errorf("waiting: %d, %d, %v", n, bytes, oldest)
	}
}

func read(t *testing.T, w *spool.Watcher, f spool.File, want []byte) {
	t.Helper()
	r, err := w.Open(f)
	must(t, err)
	got, err := io.ReadAll(r)
	must(t, errors.Join(err, r.Close()))
	same(t, got, want)
}

func TestOpenLog(t *testing.T) {
	t.Parallel()
	dir := directory(t)
	w := watcher(t, dir)
	if _, err := w.Open(spool.File{Name: oneLog}); err == nil {
		t.Error("opened before the directory was")
	}
	must(t, hana(dir, oneLog, pattern(100_000)))
	f := next(t, w, 1)[0]
	read(t, w, f, pattern(100_000))

	r, err := w.Open(f)
	must(t, err)
	path := filepath.Join(dir, oneLog)
	must(t, os.WriteFile(path, pattern(99), 0o600))
	if _, err := io.ReadAll(r); !errors.Is(err, spool.ErrChanged) {
		t.Errorf("a file that shrinks: %v", err)
	}
	must(t, r.Close())
	if _, err := w.Open(f); !errors.Is(err, spool.ErrChanged) {
		t.Errorf("another content: %v", err)
	}
	must(t, errors.Join(os.Remove(path), os.Symlink("/etc/passwd", path)))
	if _, err := w.Open(f); !errors.Is(err, unix.ELOOP) {
		t.Errorf("a link: %v", err)
	}
	must(t, errors.Join(os.Remove(path), unix.Mkfifo(path, 0o600)))
	if _, err := w.Open(f); !errors.Is(err, spool.ErrRefused) {
		t.Errorf("a pipe: %v", err)
	}
	if _, err := w.Open(spool.File{Name: "../" + oneLog}); err == nil {
		t.Error("a name that leads elsewhere was opened")
	}
}

// TestBurst leaves thousands of files while nobody waits for them.
func TestBurst(t *testing.T) {
	t.Parallel()
	dir := directory(t)
	w := watcher(t, dir)
	const files = 2000
	want := []string{}
	for i := range int64(files) {
		want = append(want, logName(2, 64*i, 64*i+64))
	}
	writer := async(func() error {
		for _, i := range rand.Perm(files) {
			hidden := filepath.Join(dir, "."+want[i])
			if err := errors.Join(os.WriteFile(hidden, []byte("x"), 0o600), os.Rename(hidden, filepath.Join(dir, want[i]))); err != nil {
				return err
			}
		}
		return nil
	})
	found := make(map[string]bool)
	for range 3 {
		for _, f := range next(t, w, 1) {
			found[f.Name] = true
		}
	}
	must(t, receive(t, "the burst", writer))
	n, bytes, oldest := w.Waiting()
	if n != files || bytes != files || time.Since(oldest) > time.Minute {
		t.Errorf("waiting: %d files, %d bytes, since %v", n, bytes, oldest)
	}
	for _, f := range next(t, w, files-len(found)) {
		if found[f.Name] {
			t.Errorf("%s was yielded twice", f.Name)
		}
		found[f.Name] = true
		removed, err := spool.Remove(dir, dir, f)
		must(t, err)
		if !removed {
			t.Errorf("%s was not removed", f.Name)
		}
	}
	if len(found) != files {
		t.Errorf("%d files, want %d", len(found), files)
	}
	none(t, w)
}

// TestDirectoryComesAndGoes: the directory of a database is made by HANA with
// its first log backup.
func TestDirectoryComesAndGoes(t *testing.T) {
	t.Parallel()
	root := directory(t)
	dir := filepath.Join(root, "DB_HXE")
	w := spool.NewWatcher(spool.Config{Directory: root, Rescan: soon}, dir, nil, nil)
	defer func() { must(t, w.Close()) }()
	if free, total, err := w.Space(); err != nil || free <= 0 || total < free {
		t.Errorf("space %d of %d, %v", free, total, err)
	}
	if n, bytes, oldest := w.Waiting(); n != 0 || bytes != 0 || !oldest.IsZero() {
		t.Errorf("waiting: %d, %d, %v", n, bytes, oldest)
	}
	none(t, w)
	must(t, os.Mkdir(dir, 0o700))
	must(t, hana(dir, oneLog, pattern(10)))
	f := next(t, w, 1)[0]
	read(t, w, f, pattern(10))
	if free, total, err := w.Space(); err != nil || free <= 0 || total < free {
		t.Errorf("space %d of %d, %v", free, total, err)
	}

	must(t, os.RemoveAll(dir))
	for range 3 { // also while it is not there
		if files, err := w.Next(t.Context()); err == nil {
			t.Errorf("got %v, %v, want to hear of the loss", files, err)
		}
	}
	must(t, os.Mkdir(dir, 0o700))
	if files, err := w.Next(t.Context()); err != nil || len(files) > 0 {
		t.Errorf("got %v, %v, want to hear that it is there again", files, err)
	}
	none(t, w)
	must(t, hana(dir, oneLog, pattern(20)))
	if again := next(t, w, 1)[0]; again.Size != 20 {
		t.Errorf("got %v", again)
	}
	must(t, os.Rename(dir, dir+"x"))
	if files, err := w.Next(t.Context()); err == nil {
		t.Errorf("got %v, want to hear of the loss", files)
	}
	must(t, os.Symlink(dir+"x", dir))
	if files, err := w.Next(t.Context()); err == nil {
		t.Errorf("got %v through a link", files)
	}
}

// TestInterruptedRemoval is made good when the next process begins.
func TestInterruptedRemoval(t *testing.T) {
	t.Parallel()
	dir := directory(t)
	must(t, hana(dir, aside+oneLog, pattern(10)))
	w := watcher(t, dir)
	f := next(t, w, 1)[0]
	if f.Name != oneLog {
		t.Errorf("got %v", f)
	}
	read(t, w, f, pattern(10))
}

func TestNextEnds(t *testing.T) {
	t.Parallel()
	cause := errors.New("the daemon stops")
	for name, dir := range map[string]string{"a directory": directory(t), "no directory": filepath.Join(directory(t), "absent")} {
		for _, early := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, early %t", name, early), func(t *testing.T) {
				t.Parallel()
				w := watcher(t, dir, noScans)
				ctx, cancel := context.WithCancelCause(t.Context())
				if early {
					cancel(cause)
				}
				end := async(func() error { _, err := w.Next(ctx); return err })
				cancel(cause)
				if err := receive(t, "the end", end); !errors.Is(err, cause) {
					t.Errorf("got %v", err)
				}
				end = async(func() error { _, err := w.Next(t.Context()); return err })
				must(t, w.Close())
				if err := receive(t, "the end", end); !errors.Is(err, spool.ErrClosed) {
					t.Errorf("got %v", err)
				}
			})
		}
	}
}
