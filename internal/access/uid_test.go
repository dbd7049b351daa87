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
		t.Skip("the kernel lets only root become another user")
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
	for _, test := range []struct {
		uid    int
		want   access.Caller
		reason access.Reason
	}{
		{4711, access.Caller{Identity: "uid:4711", Role: access.Trigger}, ""},
		{4712, access.Caller{Identity: "uid:4712"}, ""},
		{4711, access.Caller{Identity: "uid:4711", Role: access.Trigger}, ""}, // the second of its burst
		{4711, access.Caller{}, access.TooManyRequests},
	} {
		if err := connectAs(test.uid, path); err != nil {
			t.Fatal(err)
		}
		conn, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		r := request("POST", "").WithContext(access.WithConn(t.Context(), conn))
		if got, err := guard.Socket()(r); got != test.want || reasonOf(err) != test.reason {
			t.Errorf("user %d: %+v, %v; expected %+v, %s", test.uid, got, err, test.want, test.reason)
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}
}
