package httpapi_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/internal/httpapi"
	"github.com/pipestreamer/pipestreamer/internal/httpapi/apitest"
)

// eventually polls until ok or the test's patience ends.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("timed out waiting for %s", what)
		}
	}
}

// serve runs the real server on a Unix socket until the test or stop ends.
func (a *api) serve(t *testing.T) (socket string, stop func()) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "s.sock")
	listener, err := httpapi.ListenUnix(t.Context(), socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- httpapi.Serve(ctx, listener, a.server.Handler(apitest.Operator), zap.NewNop()) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	}
	t.Cleanup(stop)
	return socket, stop
}

func newClient(t *testing.T, options httpapi.ClientOptions) *httpapi.Client {
	t.Helper()
	options.Pause = 10 * time.Millisecond
	client, err := httpapi.NewClient(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

func TestSocket(t *testing.T) {
	a := newAPI(t)
	socket, stop := a.serve(t)
	info, err := os.Stat(socket)
	if err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("socket: %v %v, expected mode 0660", info, err)
	}
	if _, err := httpapi.ListenUnix(t.Context(), socket); err == nil || !strings.Contains(err.Error(), "another pipestreamer already serves there") {
		t.Errorf("a second ListenUnix: %v", err)
	}
	if _, err := newClient(t, httpapi.ClientOptions{Socket: socket}).Jobs(t.Context()); err != nil {
		t.Errorf("Jobs: %v", err)
	}
	stop()
	if _, err := os.Lstat(socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after the end the socket is still there: %v", err)
	}
}

func TestSocketInTheWay(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.sock")
	dead, err := new(net.ListenConfig).Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	dead.(*net.UnixListener).SetUnlinkOnClose(false) // as a killed process leaves it
	if err := dead.Close(); err != nil {
		t.Fatal(err)
	}
	listener, err := httpapi.ListenUnix(t.Context(), path)
	if err != nil {
		t.Fatalf("with a dead socket in the way: %v", err)
	}
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := httpapi.ListenUnix(t.Context(), path); err == nil {
		t.Error("ListenUnix replaced a regular file")
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "precious" {
		t.Errorf("the file in the way is now %q, %v", text, err)
	}
}

func TestSlowHeaderIsCutOff(t *testing.T) {
	a := newAPI(t)
	listener, err := httpapi.ListenTCP(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() {
		served <- httpapi.ServeWith(ctx, listener, a.server.Handler(apitest.Operator), zap.NewNop(), func(s *http.Server) {
			if s.ReadHeaderTimeout <= 0 || s.IdleTimeout <= 0 || s.WriteTimeout != 0 {
				t.Errorf("timeouts: header %s, idle %s, write %s", s.ReadHeaderTimeout, s.IdleTimeout, s.WriteTimeout)
			}
			s.ReadHeaderTimeout = 50 * time.Millisecond
		})
	}()
	connection, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeAll(t, connection) })
	if _, err := io.WriteString(connection, "GET /v1/jobs HTTP/1.1\r\nHost: x\r\nX-Slow: "); err != nil {
		t.Fatal(err)
	}
	if err := connection.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(connection); err != nil {
		t.Errorf("the connection was not closed: %v", err)
	}
	cancel()
	if err := <-served; err != nil {
		t.Errorf("Serve: %v", err)
	}
}

func TestServeReportsABrokenListener(t *testing.T) {
	listener, err := httpapi.ListenTCP(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	if err := httpapi.Serve(t.Context(), listener, http.NotFoundHandler(), zap.NewNop()); err == nil {
		t.Error("Serve returned nil on a closed listener")
	}
}
