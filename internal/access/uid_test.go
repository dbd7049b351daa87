package access_test

import (
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/pipestreamer/pipestreamer/internal/access"
)

// connectAs connects from a thread that is another user for the rest of its
// life.
func connectAs(uid int, path string) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, ^uintptr(0), uintptr(uid), ^uintptr(0)); errno != 0 {
			done <- errno
			return
		}
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err == nil {
			err = unix.Connect(fd, &unix.SockaddrUnix{Name: path})
		}
		done <- err // the descriptor stays open until the test's process ends
	}()
	return <-done
}

// TestOtherUsers: who is not root and not the daemon's user needs a role.
func TestOtherUsers(t *testing.T) {
	if os.Geteuid() != 0 {
		const reason = "needs root, to become another user"
		if os.Getenv("CI") == "true" {
			t.Fatal(reason)
		}
		t.Skip(reason)
	}
	dir := t.TempDir()
	for d := dir; d != os.TempDir(); d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, "s")
	plain, err := new(net.ListenConfig).Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	listener := access.Peers(plain)
	defer listener.Close() //nolint:errcheck // the test has ended
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	guard := access.NewGuard(access.Config{Roles: access.NewRoles(nil, []string{"uid:4711"}, nil), RateLimit: 1}, zap.NewNop())
	ask := func(uid int) (access.Caller, error) {
		if err := connectAs(uid, path); err != nil {
			t.Fatal(err)
		}
		conn, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close() //nolint:errcheck // the caller is known by then
		return guard.Socket()(request("POST", "").WithContext(access.WithConn(t.Context(), conn)))
	}
	for uid, want := range map[int]access.Caller{4711: {Identity: "uid:4711", Role: access.Trigger}, 4712: {Identity: "uid:4712"}} {
		if got, err := ask(uid); got != want || err != nil {
			t.Errorf("user %d: %+v, %v; expected %+v", uid, got, err, want)
		}
	}
	// One comes back each second that this takes.
	for n := 2; ; n++ {
		if _, err := ask(4711); reasonOf(err) == access.TooManyRequests && n > 100 {
			break
		} else if err != nil || n > 200 {
			t.Fatalf("request %d: %v; expected the limit soon after the burst of 100", n, err)
		}
	}
}
