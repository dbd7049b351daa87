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

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestFaults(t *testing.T) {
	const whole = HeaderSize + 100_000
	tests := []struct {
		fault Fault
		left  map[string]int64 // the files left, with their sizes
		want  string           // in the error
	}{
		{Fault{What: "open", Errno: syscall.EACCES}, nil, "[2000004] Cannot open file"},
		{Fault{What: "write", At: 70_000, Errno: syscall.ENOSPC}, nil, "rc=28: No space left on device; $fileCallback$=[W], buffer= 0x00007f9f46e14000, offset= 70000, size= 0/34096, file= \"<root>/.X\""},
		{Fault{What: "close", Errno: syscall.EIO}, nil, "rc=5: Input/output error"},
		{Fault{What: "rename", Errno: syscall.EPERM}, nil, "rc=1: Operation not permitted"},
		{Fault{What: "truncate", At: 70_000}, map[string]int64{"X": 70_000}, ""},
		{Fault{What: "truncate"}, map[string]int64{"X": 0}, ""},
		{Fault{What: "header"}, map[string]int64{"X": whole}, ""},
		{Fault{What: "skip"}, nil, ""},
		{Fault{What: "reopen", At: 70_000}, map[string]int64{"X": whole}, ""},
		{Fault{What: "restart", At: 70_000}, map[string]int64{"X": whole}, ""},
		{Fault{What: "restart"}, map[string]int64{"X": whole}, ""},
		{Fault{What: "die", At: 70_000}, map[string]int64{".X": 70_000}, "is not reachable any more"},
		{Fault{What: "unlink", At: 70_000}, nil, "rc=2: No such file or directory"},
		{Fault{What: "unlink"}, nil, "simulator: unlink"},
		{Fault{What: "swap-file", At: 70_000}, map[string]int64{"X": 0}, ""},
		{Fault{What: "swap-pipe", At: whole}, map[string]int64{"X": 0}, ""},
		{Fault{What: "write", At: whole + 1, Errno: syscall.EIO}, map[string]int64{"X": whole}, ""},
	}
	for _, test := range tests {
		t.Run(test.fault.What, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "X")
			w := writer(Dotname)
			w.Faults = []Fault{test.fault}
			err := w.Write(t.Context(), path, sample(100_000))
			switch {
			case test.want == "" && err != nil:
				t.Error(err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("got %v, want %q", err, test.want)
			}
			left := map[string]int64{}
			for _, name := range list(t, filepath.Dir(path)) {
				info, err := os.Stat(filepath.Join(filepath.Dir(path), name))
				if err != nil {
					t.Fatal(err)
				}
				left[name] = info.Size()
			}
			if test.left == nil {
				test.left = map[string]int64{}
			}
			if diff := cmp.Diff(test.left, left); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// opening is what one opening of a pipe brought.
type opening struct {
	bytes []byte
	err   error
}

// readOpenings reads a pipe as often as wanted, each time to its end.
func readOpenings(t *testing.T, path string, want int) <-chan opening {
	t.Helper()
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	openings := make(chan opening, want)
	go func() {
		defer close(openings)
		for range want {
			file, err := os.Open(path)
			if err != nil {
				openings <- opening{err: err}
				return
			}
			data, err := io.ReadAll(file)
			openings <- opening{data, errors.Join(err, file.Close())}
		}
	}()
	return openings
}

// A service that opens its file twice is seen as two openings by the reader of
// a pipe, with all bytes in both together or all of them in the second.
func TestAFileIsOpenedTwice(t *testing.T) {
	want, err := NewImage(sample(100_000))
	if err != nil {
		t.Fatal(err)
	}
	all, err := io.ReadAll(want)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name  string
		fault Fault
		want  [2][]byte
	}{
		{"goes on", Fault{What: "reopen", At: 70_000}, [2][]byte{all[:70_000], all[70_000:]}},
		{"begins again", Fault{What: "restart", At: 70_000}, [2][]byte{all[:70_000], all}},
		{"reads its header first", Fault{What: "restart", At: HeaderSize}, [2][]byte{all[:HeaderSize], all}},
		{"nothing the first time", Fault{What: "restart"}, [2][]byte{{}, all}},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "X")
			openings := readOpenings(t, path, 2)
			w := writer(Plain)
			w.Faults = []Fault{test.fault}
			var total int64
			w.Written = func(n int64) { total += n }
			// Without a pause the reader may see both openings as one.
			var seen []opening
			opens := 0
			w.Pause = func(_ context.Context, at Point) error {
				if at == BeforeOpen {
					opens++
				}
				if at == BeforeOpen && opens == 2 {
					seen = append(seen, <-openings)
				}
				return nil
			}
			if err := w.Write(t.Context(), path, sample(100_000)); err != nil {
				t.Fatal(err)
			}
			for i, got := range append(seen, <-openings) {
				if got.err != nil || !bytes.Equal(got.bytes, test.want[i]) {
					t.Errorf("opening %d brought %d bytes, %v; expected %d", i, len(got.bytes), got.err, len(test.want[i]))
				}
			}
			if total != int64(len(all)) {
				t.Errorf("%d bytes are reported as written, expected %d", total, len(all))
			}
		})
	}
}

// The first writes may have a size of their own, and packets arrive one by one.
func TestSizesOfWrites(t *testing.T) {
	for _, test := range []struct {
		name    string
		change  func(*Writer)
		size    int64
		largest int // read
		reads   int
	}{
		{"one byte each, 100 times", func(w *Writer) { w.First = First{1, 100} }, 1, 1 << 16, 0},
		{"packets", func(w *Writer) { w.Packets = true }, 100_000, 4096, 26},
		{"64 MiB", func(w *Writer) { w.WriteSize = 64 << 20 }, 100 << 20, 1 << 20, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "X")
			if err := unix.Mkfifo(path, 0o600); err != nil {
				t.Fatal(err)
			}
			w := writer(Plain)
			test.change(&w)
			var writes []int64
			w.Written = func(n int64) { writes = append(writes, n) }
			done := make(chan error, 1)
			go func() { done <- w.Write(t.Context(), path, sample(test.size)) }()
			reads, total, largest := readAll(t, path)
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			if total != HeaderSize+test.size || largest > test.largest || (test.reads > 0 && reads != test.reads) {
				t.Errorf("%d bytes came in %d reads of up to %d", total, reads, largest)
			}
			if w.First.Bytes > 0 && (len(writes) != 101 || writes[0] != 1 || writes[99] != 1 || writes[100] != HeaderSize+1-100) {
				t.Errorf("%d writes: %v", len(writes), writes)
			}
		})
	}
}

// readAll reads a pipe with reads of 1 MiB.
func readAll(t *testing.T, path string) (reads int, total int64, largest int) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer shut(t, file)
	buffer := make([]byte, 1<<20)
	for {
		n, err := file.Read(buffer)
		if errors.Is(err, io.EOF) {
			return reads, total, largest
		}
		if err != nil {
			t.Fatal(err)
		}
		reads, total, largest = reads+1, total+int64(n), max(largest, n)
	}
}

// A writer that ignores that its reader has gone believes that all is well.
func TestEPIPEIsIgnored(t *testing.T) {
	path := filepath.Join(t.TempDir(), "X")
	dot := filepath.Join(filepath.Dir(path), ".X")
	if err := unix.Mkfifo(dot, 0o600); err != nil {
		t.Fatal(err)
	}
	w := writer(Dotname)
	w.Faults = []Fault{{What: "ignore-epipe"}}
	var total int64
	w.Written = func(n int64) { total += n }
	done := make(chan error, 1)
	go func() { done <- w.Write(t.Context(), path, sample(1<<20)) }()
	file, err := os.Open(dot)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(dot); err != nil { // while the writer waits for its reader
		t.Error(err)
	}
	if _, err := io.CopyN(io.Discard, file, HeaderSize); err != nil {
		t.Error(err)
	}
	shut(t, file)
	if err := <-done; err != nil || total != HeaderSize+1<<20 {
		t.Errorf("%d bytes, %v", total, err)
	}
}

// The two stalls wait where they should, and a vanished service waits for ever.
func TestStalls(t *testing.T) {
	for _, test := range []struct {
		fault Fault
		left  string
		size  int64
	}{
		{Fault{What: "stall-open", At: 5000}, "", 0},
		{Fault{What: "stall", At: 5000}, ".X", 5000},
		{Fault{What: "vanish", At: 5000}, ".X", 5000},
	} {
		t.Run(test.fault.What, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "X")
			w := writer(Dotname)
			w.Faults = []Fault{test.fault}
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			reached := make(chan struct{})
			w.Hold = func(ctx context.Context) error { close(reached); <-ctx.Done(); return context.Cause(ctx) }
			var total int64
			w.Written = func(n int64) {
				if total += n; test.fault.What == "vanish" && total == test.fault.At {
					close(reached)
				}
			}
			done := make(chan error, 1)
			go func() { done <- w.Write(ctx, path, sample(100_000)) }()
			<-reached
			if names := strings.Join(list(t, filepath.Dir(path)), ","); names != test.left || total != test.size {
				t.Errorf("%q is there, %d bytes were written", names, total)
			}
			cause := errors.New("enough")
			cancel(cause)
			if err := <-done; !errors.Is(err, cause) {
				t.Errorf("%v", err)
			}
			if names := list(t, filepath.Dir(path)); (len(names) > 0) != (test.fault.What == "vanish") {
				t.Errorf("left %v", names)
			}
		})
	}
}

// Somebody takes the pipe away before the file is opened: with O_CREAT a
// regular file comes into being. Another pipe in its place gets the bytes.
func TestThePipeIsGoneBeforeTheOpen(t *testing.T) {
	for _, test := range []struct {
		what string
		mode os.FileMode
	}{{"unlink", 0}, {"swap-file", 0}, {"swap-pipe", os.ModeNamedPipe}} {
		t.Run(test.what, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "X")
			if err := unix.Mkfifo(path, 0o600); err != nil {
				t.Fatal(err)
			}
			before, err := os.Lstat(path)
			if err != nil {
				t.Fatal(err)
			}
			w := writer(Plain)
			w.Faults = []Fault{{What: test.what}}
			done := make(chan error, 1)
			go func() { done <- w.Write(t.Context(), path, sample(10)) }()
			if test.mode != 0 {
				waitForWriter(t)
				if _, total, _ := readAll(t, path); total != HeaderSize+10 {
					t.Errorf("the other pipe got %d bytes", total)
				}
			}
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			after, err := os.Lstat(path)
			if err != nil || after.Mode().Type() != test.mode {
				t.Fatalf("%v, %v", after.Mode(), err)
			}
			if test.mode != 0 && os.SameFile(before, after) { // a regular file may get the inode's number
				t.Error("it is the same pipe")
			}
		})
	}
}
