package job

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pipestreamer/pipestreamer/internal/chain"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// shelf opens every stream as its key; before, when set, runs first.
type shelf struct {
	before func(key string) error
	opened atomic.Int64
}

func (s *shelf) OpenStream(_ context.Context, objects []backup.Object) (io.ReadCloser, error) {
	s.opened.Add(1)
	if s.before != nil {
		if err := s.before(objects[0].Key); err != nil {
			return nil, err
		}
	}
	return io.NopCloser(strings.NewReader(objects[0].Key)), nil
}

// shelved is a backup P of n streams whose content is their key.
func shelved(n int) *backup.Manifest {
	m := &backup.Manifest{SID: "HXE", Database: "HXE", Kind: backup.KindComplete, Prefix: "P"}
	for volume := range n {
		id := backup.StreamID{VolumeID: volume, PartID: 1}
		key := backup.StreamKey("HXE", "HXE", "P", id)
		m.Streams = append(m.Streams, backup.ManifestStream{
			StreamID: id, Size: int64(len(key)), Objects: []backup.Object{{Key: key, Size: int64(len(key))}},
		})
	}
	return m
}

func chained(m *backup.Manifest) *chain.Chain { return &chain.Chain{Complete: m} }

func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := make(map[string]string)
	for _, name := range names(t, dir) {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		found[name] = string(text)
	}
	return found
}

func put(t *testing.T, dir, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestWriteFilesAgain has a first run killed in the middle.
func TestWriteFilesAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	put(t, dir, ".P_databackup_0_1.partial", "HXE/HXE/da")
	put(t, dir, ".P_databackup_0_1.probe", "")
	put(t, dir, ".P_databackup_0_1.linked", "")
	put(t, dir, ".P_databackup_9_1.partial", "of another backup")
	if err := WriteFiles(t.Context(), &shelf{}, chained(shelved(2)), dir, nil); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"P_databackup_0_1": "HXE/HXE/data/P/0_1", "P_databackup_1_1": "HXE/HXE/data/P/1_1",
		".P_databackup_9_1.partial": "of another backup",
	}
	if diff := cmp.Diff(want, contents(t, dir)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestWriteFilesLeavesNothingOfAFailure(t *testing.T) {
	t.Parallel()
	broken := errors.New("connection reset")
	dir := t.TempDir()
	store := &shelf{before: func(string) error { return broken }}
	if err := WriteFiles(t.Context(), store, chained(shelved(3)), dir, nil); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	if diff := cmp.Diff(map[string]string{}, contents(t, dir)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

// TestWriteFilesNamesAllThatIsInTheWay has files of the user at the names of the
// second and third stream, and no file where a partial one would be.
func TestWriteFilesNamesAllThatIsInTheWay(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	put(t, dir, ".P_databackup_0_1.partial", "stale")
	put(t, dir, "P_databackup_1_1", "the user's")
	put(t, dir, "P_databackup_2_1", "the user's too")
	if err := os.Mkdir(filepath.Join(dir, ".P_databackup_3_1.partial"), 0o700); err != nil {
		t.Fatal(err)
	}
	before := contents(t, dir)
	store := &shelf{}
	err := WriteFiles(t.Context(), store, chained(shelved(4)), dir, nil)
	if !errors.Is(err, os.ErrExist) {
		t.Fatalf("got %v", err)
	}
	for _, want := range []string{dir, "P_databackup_1_1", "P_databackup_2_1", ".P_databackup_3_1.partial", "empty directory"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
	if store.opened.Load() > 0 {
		t.Error("a stream was opened")
	}
	if diff := cmp.Diff(before, contents(t, dir)); diff != "" {
		t.Errorf("files (-before +after):\n%s", diff)
	}
}

// TestWriteFilesWithoutHardLinks meets a file system such as FAT.
func TestWriteFilesWithoutHardLinks(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := root.Close(); err != nil {
			t.Error(err)
		}
	}()
	store := &shelf{}
	w := &fileWriter{
		store: store, root: root, progress: func(string, int64) {},
		link: func(string, string) error { return syscall.EPERM },
	}
	err = w.write(t.Context(), FilesOf(chained(shelved(2))))
	if !errors.Is(err, syscall.EPERM) || !strings.Contains(err.Error(), "hard links") {
		t.Errorf("got %v", err)
	}
	if store.opened.Load() > 0 {
		t.Error("a stream was opened")
	}
	if left := names(t, dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestWriteFilesTwiceAtOnce starts a second run while the first is in the middle
// of a file. The first must not pass off the second's half file as its own.
func TestWriteFilesTwiceAtOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var second sync.Once
	store := &shelf{}
	store.before = func(string) (err error) {
		second.Do(func() {
			other := filepath.Join(dir, ".P_databackup_0_1.partial")
			err = errors.Join(os.Remove(other), os.WriteFile(other, []byte("half"), 0o600))
		})
		return err
	}
	err := WriteFiles(t.Context(), store, chained(shelved(1)), dir, nil)
	if err == nil || !strings.Contains(err.Error(), "another restore") {
		t.Errorf("got %v", err)
	}
	if diff := cmp.Diff(map[string]string{".P_databackup_0_1.partial": "half"}, contents(t, dir)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

// TestWriteFilesNeverOverwrites has a file appear at a name while its stream is
// written.
func TestWriteFilesNeverOverwrites(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	store := &shelf{before: func(string) error {
		return os.WriteFile(filepath.Join(dir, "P_databackup_0_1"), []byte("the user's"), 0o600)
	}}
	if err := WriteFiles(t.Context(), store, chained(shelved(1)), dir, nil); !errors.Is(err, os.ErrExist) {
		t.Errorf("got %v", err)
	}
	if diff := cmp.Diff(map[string]string{"P_databackup_0_1": "the user's"}, contents(t, dir)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestWriteFilesChecksSizes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	m := shelved(1)
	m.Streams[0].Size++
	if err := WriteFiles(t.Context(), &shelf{}, chained(m), dir, nil); err == nil || !strings.Contains(err.Error(), "expected 19") {
		t.Errorf("got %v", err)
	}
	if left := names(t, dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
