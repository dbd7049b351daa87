package host

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o750), os.WriteFile(path, []byte(text), 0o600)); err != nil {
		t.Fatal(err)
	}
}

func TestLookAt(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Chmod(dir, fs.ModeSticky|0o770); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "HANA"), "backup")
	d := LookAt(dir)
	if err := errors.Join(d.Error, d.PipeError, d.WatchError); err != nil {
		t.Fatal(err)
	}
	if d.Mode != fs.ModeDir|fs.ModeSticky|0o770 || int(d.UID) != os.Geteuid() || d.OwnUID != os.Geteuid() || len(d.OwnGroups) == 0 {
		t.Errorf("%+v", d)
	}
	if d.FileSystem == "" || d.Total < d.Free || d.Total <= 0 || !d.Events {
		t.Errorf("%+v", d)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestLookAtWhatIsNoDirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "file"), "")
	for name, want := range map[string]string{"none": "no such file", "file": "it is not a directory"} {
		if d := LookAt(filepath.Join(dir, name)); d.Error == nil || !strings.Contains(d.Error.Error(), want) {
			t.Errorf("%s: %v", name, d.Error)
		}
	}
	// Nobody, not even root, can make a pipe in a directory of the kernel.
	if d := LookAt("/proc/" + strconv.Itoa(os.Getpid())); d.Error != nil || d.PipeError == nil || d.Events {
		t.Errorf("%+v", d)
	}
	if _, err := watch(filepath.Join(dir, "file")); err == nil {
		t.Error("a file is watched as a directory")
	}
}

func TestFileSystem(t *testing.T) {
	t.Parallel()
	for kind, want := range map[int64]string{0x6969: "nfs", 0x794c7630: "overlay", 0x1234: "a file system of kind 0x1234"} {
		if got := fileSystem(kind); got != want {
			t.Errorf("%#x is %q, expected %q", kind, got, want)
		}
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	if got := Limits(root); got != (Kernel{-1, -1, -1}) {
		t.Errorf("of nothing: %+v", got)
	}
	write(t, root+"/proc/sys/fs/pipe-max-size", "1048576\n")
	write(t, root+"/proc/sys/fs/pipe-user-pages-soft", "many\n")
	write(t, root+"/proc/sys/fs/protected_fifos", "2\n")
	if diff := cmp.Diff(Kernel{PipeMaxSize: 1 << 20, PipeUserPagesSoft: -1, ProtectedFIFOs: 2}, Limits(root)); diff != "" {
		t.Error(diff)
	}
	if here := Limits("/"); here.PipeMaxSize < 4096 {
		t.Errorf("of this kernel: %+v", here)
	}
}

func TestMemoryLimit(t *testing.T) {
	t.Parallel()
	const second, first = "sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes"
	for _, test := range []struct {
		name, file, text string
		want             int64
		fails            bool
	}{
		{"no cgroup", "elsewhere", "1", 0, false},
		{"limit", second, "1073741824\n", 1 << 30, false},
		{"none", second, "max\n", 0, false},
		{"limit of the first version", first, "536870912\n", 512 << 20, false},
		{"none in the first version", first, "9223372036854771712\n", 0, false},
		{"nonsense", second, "much\n", 0, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			root := t.TempDir()
			write(t, filepath.Join(root, test.file), test.text)
			got := MemoryLimit(root)
			if got.Limit != test.want || (got.Error != nil) != test.fails {
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestLookAtState(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	shared, state := filepath.Join(dir, "backup"), filepath.Join(dir, "state")
	if err := errors.Join(os.MkdirAll(shared+"/below", 0o750), os.Mkdir(state, 0o750), os.Symlink(shared+"/below", dir+"/link")); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]State{
		state: {}, dir + "/none": {Missing: true}, shared: {Inside: true}, shared + "/below": {Inside: true}, dir + "/link": {Inside: true},
	} {
		want.Path = path
		if diff := cmp.Diff(want, LookAtState(path, shared)); diff != "" {
			t.Errorf("%s: %s", path, diff)
		}
	}
	if s := LookAtState("/proc/self", shared); s.Error == nil {
		t.Error("the kernel's directory can be written")
	}
	if left, err := os.ReadDir(state); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
