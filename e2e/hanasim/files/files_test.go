package files

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func sample(size int64) Header {
	return Header{
		DBID: "00000000-0000-4000-8000-000000000001", BackupID: 1755519941920, Host: "hana-0", Service: "indexserver", VolumeID: 3, Destination: "/b/p_databackup_3_1",
		Content: Content{Seed: 42, Volume: 3, Size: size}, To: size,
		Log: Log{History: 7, First: 64, Last: 128, State: "ab", Commit: 1755519941920000000},
	}
}

func writer(profile Profile) Writer {
	return Writer{
		Profile: profile, WriteSize: 1 << 16,
		Pause:   func(context.Context, Point) error { return nil },
		Hold:    func(context.Context) error { return nil },
		Cut:     func() {},
		Written: func(int64) {},
	}
}

func TestHeaderIsReadByTheProduct(t *testing.T) {
	want := sample(1)
	block, err := want.block()
	if err != nil {
		t.Fatal(err)
	}
	got, err := backup.ParseHeader(block)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(backup.Header{BackupID: 1755519941920, VolumeID: 3, DatabaseUUID: want.DBID}, got); diff != "" {
		t.Error(diff)
	}
	own, err := ParseHeader(block)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, own); diff != "" {
		t.Error(diff)
	}
}

func TestHeaderNoticesEveryChangedByte(t *testing.T) {
	block, err := sample(10).block()
	if err != nil {
		t.Fatal(err)
	}
	for at := range block {
		changed := bytes.Clone(block)
		changed[at] ^= 1
		if _, err := ParseHeader(changed); err == nil {
			t.Fatalf("byte %d changed and not noticed", at)
		}
	}
}

func FuzzParseHeader(f *testing.F) {
	block, err := sample(10).block()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(block)
	f.Fuzz(func(t *testing.T, block []byte) {
		if h, err := ParseHeader(block); err == nil {
			if _, err := NewImage(h); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// The same bytes have to come out wherever and in whatever pieces they are read.
func TestContentIsReproducible(t *testing.T) {
	for _, compressible := range []bool{false, true} {
		content := Content{Seed: 7, Volume: 2, Size: 50_000, Compressible: compressible}
		whole := make([]byte, content.Size)
		fill(t, content, 0, whole)
		for _, from := range []int64{0, 1, 15, 16, 4095, 4096, 5000, 49_999} {
			part := make([]byte, content.Size-from)
			fill(t, content, from, part[:len(part)/2])
			fill(t, content, from+int64(len(part)/2), part[len(part)/2:])
			if !bytes.Equal(part, whole[from:]) {
				t.Errorf("compressible %t: bytes from %d differ", compressible, from)
			}
		}
		zeros := bytes.Count(whole, make([]byte, 64))
		if compressible != (zeros > 100) {
			t.Errorf("compressible %t: %d runs of zeros", compressible, zeros)
		}
	}
}

func fill(t *testing.T, content Content, from int64, p []byte) {
	t.Helper()
	s, err := content.stream(from)
	if err != nil {
		t.Fatal(err)
	}
	s.fill(p)
}

func TestWriteAndVerify(t *testing.T) {
	sizes := []int64{1, pageSize - 1, pageSize, 1 << 16, 1<<20 + 17}
	for _, profile := range Profiles() {
		for _, size := range sizes {
			t.Run(string(profile), func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "made", "p_databackup_3_1")
				header := sample(size)
				var written int64
				w := writer(profile)
				w.Written = func(n int64) { written += n }
				if err := w.Write(t.Context(), path, header); err != nil {
					if errors.Is(err, syscall.EINVAL) && profile == Direct && os.Getenv("CI") != "true" {
						t.Skip("this filesystem refuses O_DIRECT")
					}
					t.Fatal(err)
				}
				info, err := os.Stat(path)
				if err != nil {
					t.Fatal(err)
				}
				if info.Size() != HeaderSize+size || written != info.Size() || info.Mode().Perm() != 0o640 {
					t.Errorf("got %d bytes of mode %o and %d reported, want %d of mode 640", info.Size(), info.Mode().Perm(), written, HeaderSize+size)
				}
				got, err := Reader{profile}.Verify(t.Context(), path)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(header, got); diff != "" {
					t.Error(diff)
				}
				if names := list(t, filepath.Dir(path)); len(names) != 1 {
					t.Errorf("left %v", names)
				}
			})
		}
	}
}

func TestVerifyRefuses(t *testing.T) {
	tests := []struct {
		name   string
		change func([]byte) []byte
		want   string
	}{
		{"a short file", func(b []byte) []byte { return b[:len(b)-1] }, "unexpected end of file, expected 104096 but read 104095"},
		{"a long file", func(b []byte) []byte { return append(b, 0) }, "the file is longer"},
		{"a changed byte", func(b []byte) []byte { b[5000]++; return b }, "at offset 5000: wrong checksum"},
		{"a changed last byte", func(b []byte) []byte { b[len(b)-1]++; return b }, "at offset 104095: wrong checksum"},
		{"a changed header", func(b []byte) []byte { b[900]++; return b }, "wrong checksum of the header"},
		{"half a header", func(b []byte) []byte { return b[:2000] }, "expected a header of 4096 but read 2000"},
		{"no byte", func([]byte) []byte { return nil }, "expected a header of 4096 but read 0"},
		{"another file", func([]byte) []byte { return bytes.Repeat([]byte{1}, 5000) }, "the magic of a backup file is missing"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			image, err := NewImage(sample(100_000))
			if err != nil {
				t.Fatal(err)
			}
			data, err := io.ReadAll(image)
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(t.TempDir(), "f")
			if err := os.WriteFile(path, test.change(data), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err = Reader{Plain}.Verify(t.Context(), path)
			var refused *ReadError
			if !errors.As(err, &refused) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want a ReadError with %q", err, test.want)
			}
		})
	}
}

// What each profile does when pipes stand at the names.
func TestProfilesMeetPipes(t *testing.T) {
	tests := []struct {
		profile Profile
		pipeAt  string // the pipe that gets the bytes, "" for a regular file at X
		errno   syscall.Errno
	}{
		{Plain, "X", 0},
		{Dotname, ".X", 0},
		{Replace, "", 0},
		{Direct, "", syscall.EINVAL},
		{DirectFallback, ".X", 0},
		{Offset, ".X", 0},
	}
	for _, test := range tests {
		t.Run(string(test.profile), func(t *testing.T) {
			dir := t.TempDir()
			got := map[string]func() []byte{}
			for _, name := range []string{"X", ".X"} {
				got[name] = pipe(t, filepath.Join(dir, name))
			}
			err := writer(test.profile).Write(t.Context(), filepath.Join(dir, "X"), sample(300_000))
			var failed *WriteError
			if errors.As(err, &failed) != (test.errno != 0) || !errors.Is(err, errOrNil(test.errno)) {
				t.Fatalf("got error %v, want %v", err, test.errno)
			}
			if test.errno != 0 && !strings.HasPrefix(err.Error(), `[2000004] Cannot open file "<root>/.X" ((open, mode= W, access= rw-r-----, flags= DIRECT|TRUNCATE|`) {
				t.Errorf("got %q", err)
			}
			for name, bytes := range got {
				want := 0
				if name == test.pipeAt {
					want = HeaderSize + 300_000
				}
				if n := len(bytes()); n != want {
					t.Errorf("%s got %d bytes, want %d", name, n, want)
				}
			}
			info, err := os.Lstat(filepath.Join(dir, "X"))
			if err != nil || info.Mode().IsRegular() != (test.profile == Replace) {
				t.Errorf("X is %v, %v", info.Mode(), err)
			}
		})
	}
}

func errOrNil(errno syscall.Errno) error {
	if errno == 0 {
		return nil
	}
	return errno
}

// pipe makes a pipe with a reader and returns a function that gives what was
// read once every writer that there will be is gone.
func pipe(t *testing.T, path string) func() []byte {
	t.Helper()
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	// Our own writing end makes the blocking read see all writers.
	reader, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	keep, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	result := make(chan []byte, 1)
	go func() {
		data, err := io.ReadAll(reader)
		if err != nil {
			t.Error(err)
		}
		result <- data
	}()
	return func() []byte {
		shut(t, keep)
		defer shut(t, reader)
		return <-result
	}
}

func TestReaderGoesAway(t *testing.T) {
	path := filepath.Join(t.TempDir(), "X")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	go func() {
		reader, err := os.Open(path)
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = io.CopyN(io.Discard, reader, 100_000)
		shut(t, reader)
	}()
	err := writer(Plain).Write(t.Context(), path, sample(1<<30))
	if err == nil || !strings.HasPrefix(err.Error(), "[2000008] Error during asynchronous file transfer (io_getevents), rc=32: Broken pipe; $fileCallback$=[W], ") {
		t.Errorf("got %v", err)
	}
}

// A cancelled backup must not hang, whatever the kernel blocks it in.
func TestCancel(t *testing.T) {
	stopped := errors.New("stop it")
	prepare := map[string]func(t *testing.T, path string){
		"open of a pipe without reader": func(*testing.T, string) {},
		"open of a pipe that is unlinked meanwhile": func(t *testing.T, path string) {
			t.Helper()
			waitForWriter(t)
			if err := os.Remove(path); err != nil {
				t.Error(err)
			}
		},
		"write to a pipe that nobody reads": func(t *testing.T, path string) {
			t.Helper()
			reader, err := os.Open(path)
			if err != nil {
				t.Error(err)
				return
			}
			t.Cleanup(func() { shut(t, reader) })
			if _, err := io.ReadFull(reader, make([]byte, 10)); err != nil {
				t.Error(err)
			}
		},
	}
	for name, step := range prepare {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "X")
			if err := syscall.Mkfifo(path, 0o600); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancelCause(t.Context())
			done := make(chan error, 1)
			go func() { done <- writer(Plain).Write(ctx, path, sample(1<<30)) }()
			step(t, path)
			cancel(stopped)
			select {
			case err := <-done:
				if !errors.Is(err, stopped) {
					t.Errorf("got %v", err)
				}
			case <-time.After(10 * time.Second):
				t.Fatal("hangs")
			}
		})
	}
}

// waitForWriter waits until a thread of this process blocks in the open of a
// pipe (wait_for_partner), as far as the kernel tells.
func waitForWriter(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		channels, err := filepath.Glob("/proc/self/task/*/wchan")
		if err != nil {
			t.Fatal(err)
		}
		for _, channel := range channels {
			if where, err := os.ReadFile(channel); err == nil && (string(where) == "wait_for_partner" || string(where) == "fifo_open") {
				return
			}
		}
	}
}

func TestCancelRecoveryInOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "X")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := (Reader{Plain}).Verify(ctx, path); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

// The release protocol that a reader of stale pipes uses frees a blocked open.
func TestBlockedOpenIsReleasedByAReaderThatLeaves(t *testing.T) {
	path := filepath.Join(t.TempDir(), "X")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- writer(Plain).Write(t.Context(), path, sample(1<<20)) }()
	waitForWriter(t)
	reader, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Remove(path), reader.Close()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; !errors.Is(err, syscall.EPIPE) {
		t.Errorf("got %v, want EPIPE", err)
	}
}

func list(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	names := make([]string, len(entries))
	for i, entry := range entries {
		names[i] = entry.Name()
	}
	return names
}

func BenchmarkImage(b *testing.B) {
	image, err := NewImage(sample(1 << 60))
	if err != nil {
		b.Fatal(err)
	}
	buffer := make([]byte, 1<<20)
	b.SetBytes(1 << 20)
	for b.Loop() {
		if _, err := image.Read(buffer); err != nil {
			b.Fatal(err)
		}
	}
}

func TestSyncIsRefusedByAPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "X")
	got := pipe(t, path)
	w := writer(Plain)
	w.Sync = true
	if err := w.Write(t.Context(), path, sample(10)); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("got %v", err)
	}
	if n := len(got()); n != HeaderSize+10 {
		t.Errorf("got %d bytes", n)
	}
}

func shut(t *testing.T, c io.Closer) {
	t.Helper()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}
