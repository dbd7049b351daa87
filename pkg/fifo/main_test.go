package fifo_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
	"github.com/pipestreamer/pipestreamer/pkg/fifo"
)

// roleVariable makes the test binary play another process.
const roleVariable = "FIFO_TEST_ROLE"

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		if err := play(role, os.Args[1]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1) //nolint:forbidigo // the end of a helper process
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// play is the main function of a helper process. It says one line when it is
// ready and then waits to be killed, unless the role ends by itself.
func play(role, argument string) error {
	switch role {
	case "source":
		s := fifo.NewSource(fifo.Config{Directory: argument}, nil, nil)
		if err := s.Prepare(context.Background(), plan(argument, 1)); err != nil {
			return err
		}
		return sayAndWait(s.Pipes())
	case "refusing":
		return playRefusing(argument)
	case "sink":
		s := fifo.NewSink(fifo.Config{Directory: argument}, nil, nil)
		if err := s.Prepare(context.Background(), plan(argument, 1)); err != nil {
			return err
		}
		return sayAndWait(s.Pipes())
	case "writer":
		f, err := os.OpenFile(argument, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		if _, err := f.Write(pattern(100_000)); err != nil {
			return err
		}
		return sayAndWait(nil)
	case "quota":
		return playQuota(argument)
	default:
		return fmt.Errorf("unknown role %q", role)
	}
}

// playRefusing is a Source that has closed its stream early.
func playRefusing(dir string) error {
	s, p := fifo.NewSource(fifo.Config{Directory: dir}, nil, nil), plan(dir, 1)
	if err := s.Prepare(context.Background(), p); err != nil {
		return err
	}
	if err := write(hiddenPath(p, 0), 0, pattern(10), 10); err != nil {
		return err
	}
	r, err := s.Open(context.Background(), stream(0))
	if err != nil {
		return err
	}
	if err := r.Close(); err != nil {
		return err
	}
	if err := write(hiddenPath(p, 0), 0, pattern(1<<20), 1<<20); !errors.Is(err, unix.EPIPE) {
		return fmt.Errorf("a refused writer got: %w", err)
	}
	return sayAndWait(s.Pipes())
}

func sayAndWait(what any) error {
	if err := json.NewEncoder(os.Stdout).Encode(what); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

// helper starts a process that plays role and returns its first line. kill ends
// it with SIGKILL and waits for it.
func helper(t *testing.T, role, argument string) (line []byte, kill func()) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", argument) //nolint:gosec // it is this test
	cmd.Env = append(os.Environ(), roleVariable+"="+role)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	killed := false
	kill = func() {
		if killed {
			return
		}
		killed = true
		must(t, cmd.Process.Kill())
		if err := cmd.Wait(); err == nil {
			t.Error("a killed process ended well")
		}
		_ = in.Close() // Wait has closed it
	}
	t.Cleanup(kill)
	var raw json.RawMessage
	must(t, json.NewDecoder(out).Decode(&raw))
	return raw, kill
}

// needRoot leaves a test out for whoever is not root, but not in CI.
func needRoot(t *testing.T, what string) {
	t.Helper()
	switch {
	case os.Getuid() == 0:
	case os.Getenv("CI") == "true":
		t.Fatal("needs root, " + what)
	default:
		t.Skip("needs root, " + what)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually polls until done, and fails after a time that no healthy machine
// needs.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatalf("%s did not happen in time", what)
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

// async runs f on a goroutine and hands its error to the channel.
func async(f func() error) <-chan error {
	c := make(chan error, 1)
	go func() { c <- f() }()
	return c
}

// pattern are n bytes that differ at every offset that matters.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i>>16) ^ byte(i>>8)*31 ^ byte(i)*7
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

// directory is an empty one whose path the grammar of plans accepts.
func directory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "fifo-test-") //nolint:usetesting // t.TempDir has the test's name in its path
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

// descriptors counts the open descriptors of this process.
func descriptors(t *testing.T) int {
	t.Helper()
	return len(names(t, "/proc/self/fd"))
}

func threads(t *testing.T) int {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	must(t, err)
	_, rest, _ := strings.Cut(string(status), "Threads:")
	n, err := strconv.Atoi(strings.Fields(rest)[0])
	must(t, err)
	return n
}

// write opens path like a plain writer, writes chunks and closes.
func write(path string, flags int, data []byte, chunk int) error {
	f, err := os.OpenFile(path, os.O_WRONLY|flags, 0o640)
	if err != nil {
		return err
	}
	for len(data) > 0 {
		n := min(chunk, len(data))
		if _, err := f.Write(data[:n]); err != nil {
			return errors.Join(err, f.Close())
		}
		data = data[n:]
	}
	return f.Close()
}

// openOnly opens path for writing and closes it.
func openOnly(path string, flags int) error {
	fd, err := unix.Open(path, unix.O_WRONLY|flags, 0o640)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}
