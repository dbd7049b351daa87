package hdbtrigger

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/SAP/go-hdb/driver/dial"
	"golang.org/x/sys/unix"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// swallow makes the kernel drop whatever arrives on a connection, without an
// acknowledgement and without a reset: from the other side the host is gone.
func swallow(conn *net.TCPConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	nothing := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 0}}
	var errSet error
	err = raw.Control(func(fd uintptr) {
		errSet = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &nothing[0]})
	})
	return errors.Join(err, errSet)
}

// TestSilentHostIsNoticed lets HANA's host vanish without a packet, before the
// statement has arrived (only TCP_USER_TIMEOUT notices that in time) and while
// HANA works on it (TCP keep-alive does). With a keep-alive of 1 s it takes 5 s,
// as it takes 75 s with the default.
func TestSilentHostIsNoticed(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"before the statement", "while it runs"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hana, config := startScripted(t, nil)
			started, gone := make(chan struct{}, 1), make(chan struct{})
			hana.execute = func(ctx context.Context, _ string) error {
				started <- struct{}{}
				select {
				case <-ctx.Done():
				case <-gone:
				}
				return nil
			}
			clients := make(chan *net.TCPConn, 1)
			config.Port = relayTo(t, config.address(), clients)
			config.KeepAlive = time.Second
			trigger := newTrigger(t, config)
			if name == "before the statement" {
				// The first bytes after the login are the statement.
				conn, err := trigger.long.Conn(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if err := swallow(<-clients); err != nil {
					t.Fatal(err)
				}
				begun := time.Now()
				_, err = conn.ExecContext(t.Context(), "BACKUP DATA")
				expectSilence(t, translate(kindBackup, err), time.Since(begun))
				closeQuietly(conn)
				close(gone)
				return
			}
			done := make(chan error, 1)
			go func() { done <- trigger.Backup(t.Context(), samplePlan(nil)) }()
			<-started
			if err := swallow(<-clients); err != nil {
				t.Fatal(err)
			}
			begun := time.Now()
			expectSilence(t, <-done, time.Since(begun))
			close(gone)
			if n := len(hana.statements()); n != 1 {
				t.Errorf("the statement was sent %d times", n)
			}
		})
	}
}

func expectSilence(t *testing.T, err error, after time.Duration) {
	t.Helper()
	if !errors.Is(err, syscall.ETIMEDOUT) || errors.Is(err, backup.ErrNotSent) || !strings.Contains(err.Error(), "no answer from HANA") {
		t.Errorf("got %v", err)
	}
	if after > 12*time.Second {
		t.Errorf("it took %s", after)
	}
	if !strings.Contains(Hint(err), "stopped answering") {
		t.Errorf("hint %q", Hint(err))
	}
}

// relayTo passes connections on and gives the side of the client.
func relayTo(t *testing.T, address string, clients chan<- *net.TCPConn) (port int) {
	t.Helper()
	port, _ = listen(t, func(client net.Conn) {
		server, err := net.Dial("tcp", address)
		if err != nil {
			t.Error(err)
			return
		}
		clients <- client.(*net.TCPConn)
		var copies sync.WaitGroup
		// A swallowed connection never ends by itself, so each end is cut by the
		// end of the test.
		stop := context.AfterFunc(t.Context(), func() { closeQuietly(client); closeQuietly(server) })
		defer stop()
		copies.Go(func() { _, _ = io.Copy(server, client); closeQuietly(server) })
		copies.Go(func() { _, _ = io.Copy(client, server); closeQuietly(client) })
		copies.Wait()
	})
	return port
}

// By default the kernel is told to notice a silent host within 75 s.
func TestConnectionsHaveKeepAlive(t *testing.T) {
	port, _ := listen(t, silence)
	config := Config{Host: "127.0.0.1", Port: port}.withDefaults()
	dialer := &loginDialer{keepAlive: config.KeepAlive, silence: config.silence()}
	conn, err := dialer.DialContext(t.Context(), config.address(), dial.DialerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer closeQuietly(conn)
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	for _, option := range []struct {
		name          string
		level, number int
		want          int
	}{
		{"keep-alive", unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
		{"idle", unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 15},
		{"interval", unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 15},
		{"probes", unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 4},
		{"user timeout in ms", unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 75_000},
	} {
		var got int
		var errGet error
		err := raw.Control(func(fd uintptr) { got, errGet = unix.GetsockoptInt(int(fd), option.level, option.number) })
		if err := errors.Join(err, errGet); err != nil || got != option.want {
			t.Errorf("%s is %d, expected %d, %v", option.name, got, option.want, err)
		}
	}
}
