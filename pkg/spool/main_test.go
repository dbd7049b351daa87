package spool_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"
	"unsafe"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
	"github.com/pipestreamer/pipestreamer/pkg/spool"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// soon is an interval of scans that a test waits for; never is one that no test
// lives to see.
const (
	soon  = 10 * time.Millisecond
	never = time.Hour
)

// needRoot leaves a test out for whoever is not root, but not in CI.
func needRoot(tb testing.TB, what string) {
	tb.Helper()
	switch {
	case os.Getuid() == 0:
	case os.Getenv("CI") == "true":
		tb.Fatal("needs root, " + what)
	default:
		tb.Skip("needs root, " + what)
	}
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// eventually polls until done, and fails after a time that no healthy machine
// needs.
func eventually(tb testing.TB, what string, done func() bool) {
	tb.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !done() {
		if time.Now().After(deadline) {
			tb.Fatalf("%s did not happen in time", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// receive waits for one value.
func receive[T any](t *testing.T, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(20 * time.Second):
		t.Fatalf("%s did not come in time", what)
		panic("not reached")
	}
}

// async runs f on a goroutine and hands its result to the channel.
func async[T any](f func() T) <-chan T {
	c := make(chan T, 1)
	go func() { c <- f() }()
	return c
}

// pending fails if the channel has something now.
func pending[T any](t *testing.T, what string, c <-chan T) {
	t.Helper()
	select {
	case v := <-c:
		t.Fatalf("%s: got %v too early", what, v)
	default:
	}
}

// pattern are n bytes that differ at every offset that matters.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i>>16) ^ byte(i>>8)*31 ^ byte(i)*7 | 1
	}
	return b
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return strconv.Itoa(len(b)) + ":" + hex.EncodeToString(sum[:8])
}

func same(t *testing.T, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Errorf("bytes differ: got %s, want %s", digest(got), digest(want))
	}
}

// directory is an empty one whose path the grammar of plans accepts.
func directory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "spool-test-") //nolint:usetesting // t.TempDir has the test's name in its path
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	return dir
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	list := []string{}
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

func regular(path string) error { return os.WriteFile(path, []byte("HANA's"), 0o600) }

// direct writes data as HANA was seen to: with O_DIRECT, where the file system
// has it, and the last bytes, which fill no block, without.
func direct(path string, data []byte) error {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC|unix.O_DIRECT|unix.O_CLOEXEC, 0o640)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), path)
	whole := len(data) / 4096 * 4096
	_, err = f.Write(aligned(data[:whole]))
	if err == nil && whole < len(data) {
		if _, err = unix.FcntlInt(uintptr(fd), unix.F_SETFL, 0); err == nil {
			_, err = f.Write(data[whole:])
		}
	}
	return errors.Join(err, f.Close())
}

// aligned copies data to memory that begins at a block, as O_DIRECT wants.
func aligned(data []byte) []byte {
	buf := make([]byte, len(data)+4096)
	skip := (4096 - int(uintptr(unsafe.Pointer(unsafe.SliceData(buf)))%4096)) % 4096 //nolint:gosec // only the address counts
	return buf[skip : skip+copy(buf[skip:], data)]
}

// hana leaves a file as HANA was seen to: under a hidden name, then renamed.
func hana(dir, name string, data []byte) error {
	hidden := filepath.Join(dir, "."+name)
	if err := direct(hidden, data); err != nil {
		return err
	}
	return os.Rename(hidden, filepath.Join(dir, name))
}

func id(volume int) backup.StreamID { return backup.StreamID{VolumeID: volume, PartID: 1} }

func stream(volume int) backup.Stream { return backup.Stream{StreamID: id(volume)} }

// plan has streams of the volumes 0 to n-1.
func plan(directory string, n int) backup.Plan {
	p := backup.Plan{Directory: directory, Prefix: "FULL_20260101", Kind: backup.KindComplete}
	for volume := range n {
		p.Streams = append(p.Streams, stream(volume))
	}
	return p
}

func finalPath(p backup.Plan, volume int) string {
	return filepath.Join(p.Directory, p.FileName(id(volume)))
}

func hiddenPath(p backup.Plan, volume int) string {
	return filepath.Join(p.Directory, p.TemporaryName(id(volume)))
}

// prepared returns a Source of n streams.
func prepared(t *testing.T, n int, change ...func(*spool.Config)) (*spool.Source, backup.Plan) {
	t.Helper()
	p := plan(directory(t), n)
	return prepare(t, p, change...), p
}

func prepare(t *testing.T, p backup.Plan, change ...func(*spool.Config)) *spool.Source {
	t.Helper()
	cfg := spool.Config{Directory: p.Directory, Rescan: never}
	for _, c := range change {
		c(&cfg)
	}
	s := spool.NewSource(cfg, nil, nil)
	must(t, s.Prepare(t.Context(), p))
	t.Cleanup(func() { must(t, s.Close()) })
	return s
}

func scanOften(c *spool.Config) { c.Rescan = soon }

// outcome is how a stream ended.
type outcome struct {
	data []byte
	err  error
}

// fetch opens and reads a whole stream.
func fetch(t *testing.T, s *spool.Source, st backup.Stream) <-chan outcome {
	t.Helper()
	return async(func() outcome {
		r, err := s.Open(t.Context(), st)
		if err != nil {
			return outcome{err: err}
		}
		data, err := io.ReadAll(r)
		return outcome{data, errors.Join(err, r.Close())}
	})
}
