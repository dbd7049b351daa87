package files

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"
)

// The profile Offset leaves holes while it writes, and none at the end.
func TestOffsetsAreOutOfOrder(t *testing.T) {
	const step, size = 1 << 16, 20<<16 + 5
	path := filepath.Join(t.TempDir(), "X")
	w := writer(Offset)
	w.WriteSize = step
	var written int64
	w.Written = func(n int64) { written += n }
	holes, furthest := 0, int64(0)
	w.Pause = func(_ context.Context, at Point) error {
		if at != BetweenWrites {
			return nil
		}
		file, err := os.Open(filepath.Join(filepath.Dir(path), ".X"))
		if err != nil {
			return err
		}
		defer shut(t, file)
		info, err := file.Stat()
		if err != nil {
			return err
		}
		frontier, err := unix.Seek(int(file.Fd()), 0, unix.SEEK_HOLE)
		if err != nil {
			return err
		}
		if frontier < info.Size() {
			holes++
		}
		furthest = max(furthest, info.Size()-written)
		return nil
	}
	header := sample(size)
	if err := w.Write(t.Context(), path, header); err != nil {
		t.Fatal(err)
	}
	if holes == 0 || furthest <= 0 || furthest > windowSize*step {
		t.Errorf("%d times a hole was seen, the file's end was up to %d bytes ahead of what was written", holes, furthest)
	}
	got, err := Reader{Offset}.Verify(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(header, got); diff != "" || written != header.FileSize() {
		t.Errorf("%d of %d bytes reported\n%s", written, header.FileSize(), diff)
	}
}

// A fault of the middle comes after exactly so many bytes.
func TestOffsetsAndFaults(t *testing.T) {
	for _, test := range []struct {
		what string
		want int64
	}{{"truncate", 300_000}, {"reopen", HeaderSize + 2_000_000}, {"restart", HeaderSize + 2_000_000}} {
		path := filepath.Join(t.TempDir(), "X")
		w := writer(Offset)
		w.Faults = []Fault{{What: test.what, At: 300_000}}
		if err := w.Write(t.Context(), path, sample(2_000_000)); err != nil {
			t.Errorf("%s: %v", test.what, err)
		}
		if info, err := os.Stat(path); err != nil || info.Size() != test.want {
			t.Errorf("%s: %v, %v", test.what, info, err)
		}
		if test.what == "truncate" {
			continue
		}
		if _, err := (Reader{Plain}).Verify(t.Context(), path); err != nil {
			t.Errorf("%s: %v", test.what, err)
		}
	}
	stalling, written := writer(Offset), int64(0)
	stalling.Faults = []Fault{{What: "stall", At: 300_000}}
	stalling.Written = func(n int64) { written += n }
	stalling.Hold = func(context.Context) error {
		if written != 300_000 {
			t.Errorf("stalled after %d bytes", written)
		}
		return nil
	}
	if err := stalling.Write(t.Context(), filepath.Join(t.TempDir(), "X"), sample(2_000_000)); err != nil {
		t.Error(err)
	}
	failing := writer(Offset)
	failing.Faults = []Fault{{What: "write", At: 300_000, Errno: syscall.ENOSPC}}
	dir := t.TempDir()
	if err := failing.Write(t.Context(), filepath.Join(dir, "X"), sample(2_000_000)); err == nil || len(list(t, dir)) > 0 {
		t.Errorf("got %v, left %v", err, list(t, dir))
	}
}

// A file with Data has them first, and every byte of them counts.
func TestData(t *testing.T) {
	for _, size := range []int64{5, 4096, 2<<20 + 1} {
		header := sample(3 << 20)
		header.Data = make([]byte, size)
		fill(t, Content{Seed: 9}, 0, header.Data)
		path := filepath.Join(t.TempDir(), "X")
		if err := writer(Dotname).Write(t.Context(), path, header); err != nil {
			t.Fatal(err)
		}
		got, err := Reader{Plain}.Verify(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(header.Data, got.Data) {
			t.Error("the data differ")
		}
		if diff := cmp.Diff(header, got, cmpopts.IgnoreFields(Header{}, "Data")); diff != "" {
			t.Error(diff)
		}
		if sum, err := header.SHA256(t.Context()); err != nil || sum != fileSum(t, path) {
			t.Errorf("digest %s, %v", sum, err)
		}
		file, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		last := make([]byte, 1)
		_, errRead := file.ReadAt(last, HeaderSize+size-1)
		last[0] ^= 1
		_, errWrite := file.WriteAt(last, HeaderSize+size-1)
		shut(t, file)
		if errRead != nil || errWrite != nil {
			t.Fatal(errRead, errWrite)
		}
		if _, err := (Reader{Plain}).Verify(t.Context(), path); err == nil {
			t.Errorf("a changed byte at the end of %d bytes of data was not noticed", size)
		}
	}
}

func fileSum(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sha256.Sum256(data))
}
