package fifo_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/pipestreamer/pipestreamer/pkg/fifo"
)

// blocked runs f on a thread of its own and returns once that thread sleeps in
// open(2) of a pipe that nobody holds at the other end.
func blocked[T any](t *testing.T, f func() T) <-chan T {
	t.Helper()
	c, tid := make(chan T, 1), make(chan int, 1)
	go func() {
		runtime.LockOSThread()
		tid <- unix.Gettid()
		c <- f()
	}()
	stat := fmt.Sprintf("/proc/self/task/%d/syscall", receive(t, "the thread", tid))
	eventually(t, "the block in open", func() bool {
		text, err := os.ReadFile(stat)
		return err == nil && strings.HasPrefix(string(text), strconv.Itoa(unix.SYS_OPENAT)+" ")
	})
	return c
}

func blockedReader(t *testing.T, path string) <-chan []byte {
	t.Helper()
	return blocked(t, func() []byte {
		data, err := os.ReadFile(path)
		if err != nil {
			return []byte(err.Error())
		}
		return data
	})
}

func TestSweepReleasesWhatADeadProcessLeft(t *testing.T) {
	for _, role := range []string{"source", "sink"} {
		t.Run(role, func(t *testing.T) {
			dir := directory(t)
			p := plan(dir, 1)
			line, kill := helper(t, role, dir)
			var pipes []fifo.PipeID
			must(t, json.Unmarshal(line, &pipes))
			kill()
			stood := names(t, dir)
			if !slices.Contains(stood, p.FileName(id(0))) {
				t.Fatalf("the dead process left only %v", stood)
			}
			foreign := filepath.Join(dir, "foreign")
			must(t, unix.Mkfifo(foreign, 0o600))

			var end func()
			if role == "source" {
				writer := blocked(t, func() error { return write(finalPath(p, 0), 0, pattern(1<<20), 4096) })
				end = func() {
					if err := receive(t, "the end of the writer", writer); !errors.Is(err, unix.EPIPE) {
						t.Errorf("the released writer got %v, want EPIPE", err)
					}
				}
			} else {
				reader := blockedReader(t, finalPath(p, 0))
				end = func() {
					if data := receive(t, "the end of the reader", reader); len(data) > 0 {
						t.Errorf("the released reader got %q", data)
					}
				}
			}
			swept, err := fifo.Sweep(dir, pipes)
			must(t, err)
			end()
			slices.Sort(swept.Removed)
			if diff := cmp.Diff(fifo.Swept{Removed: stood}, swept); diff != "" {
				t.Errorf("swept (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff([]string{"foreign"}, names(t, dir)); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
			swept, err = fifo.Sweep(dir, pipes)
			must(t, err)
			if diff := cmp.Diff(fifo.Swept{}, swept); diff != "" {
				t.Errorf("swept again (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSweepLeavesWhatIsNotOurs(t *testing.T) {
	t.Parallel()
	dir := directory(t)
	path := func(name string) string { return filepath.Join(dir, name) }
	must(t, os.WriteFile(path("file"), []byte("HANA's"), 0o600))
	must(t, os.Symlink("file", path("link")))
	must(t, unix.Mkfifo(path("pipe"), 0o600))
	must(t, unix.Mkfifo(path("renamed"), 0o600))
	var st unix.Stat_t
	must(t, unix.Lstat(path("renamed"), &st))
	swept, err := fifo.Sweep(dir, []fifo.PipeID{
		{Name: "file", Dev: st.Dev},
		{Name: "link", Dev: st.Dev},
		{Name: "pipe", Dev: st.Dev, Ino: st.Ino + 1_000_000},
		{Name: "gone", Dev: st.Dev, Ino: st.Ino},
		{Name: "renamed", Dev: st.Dev, Ino: 1},
	})
	must(t, err)
	want := fifo.Swept{Removed: []string{"renamed"}, Left: []string{"file", "link", "pipe"}}
	if diff := cmp.Diff(want, swept); diff != "" {
		t.Errorf("swept (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"file", "link", "pipe"}, names(t, dir)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	swept, err = fifo.Sweep(path("missing"), []fifo.PipeID{{Name: "x"}})
	must(t, err)
	if diff := cmp.Diff(fifo.Swept{}, swept); diff != "" {
		t.Errorf("swept (-want +got):\n%s", diff)
	}
}

// A process that was killed while it removed a pipe leaves it under a name that no
// journal has.
func TestSweepAside(t *testing.T) {
	dir := directory(t)
	aside := ".pipestreamer-ABCDEFGHIJKL-3"
	for _, name := range []string{aside, ".pipestreamer-ABCDEFGHIJKL-x", ".pipestreamer-abcdefghijkl-1", ".pipestreamer-ABC-1", "ABCDEFGHIJKL-1"} {
		must(t, unix.Mkfifo(filepath.Join(dir, name), 0o600))
	}
	file := ".pipestreamer-ABCDEFGHIJKL-4"
	must(t, os.WriteFile(filepath.Join(dir, file), []byte("HANA's"), 0o600))
	removed, err := fifo.SweepAside(dir)
	must(t, err)
	if diff := cmp.Diff([]string{aside}, removed); diff != "" {
		t.Errorf("removed (-want +got):\n%s", diff)
	}
	if left := names(t, dir); len(left) != 5 || !slices.Contains(left, file) || slices.Contains(left, aside) {
		t.Errorf("left: %q", left)
	}
	if removed, err := fifo.SweepAside(filepath.Join(dir, "absent")); err != nil || len(removed) > 0 {
		t.Errorf("of a directory that is not there: %q, %v", removed, err)
	}
}
