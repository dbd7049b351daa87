package hdbtrigger

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// listen serves every connection with handle and counts them.
func listen(t *testing.T, handle func(net.Conn)) (port int, accepted *atomic.Int64) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	accepted = new(atomic.Int64)
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			accepted.Add(1)
			running.Go(func() {
				handle(conn)
				closeQuietly(conn)
			})
		}
	})
	t.Cleanup(func() {
		closeQuietly(listener)
		running.Wait()
	})
	return listener.Addr().(*net.TCPAddr).Port, accepted
}

// closeQuietly closes what the other side may have closed already.
func closeQuietly(c io.Closer) { _ = c.Close() }

// silence answers nothing until the client goes away.
func silence(conn net.Conn) {
	buffer := make([]byte, 1024)
	for {
		if _, err := conn.Read(buffer); err != nil {
			return
		}
	}
}

func newTrigger(t *testing.T, config Config) *Trigger {
	t.Helper()
	if config.Host == "" {
		config.Host = "127.0.0.1"
	}
	if config.User == "" {
		config.User = "BACKUP"
	}
	if config.PasswordFile == "" {
		config.PasswordFile = writeFile(t, "secret")
	}
	trigger, err := New(config, zap.NewNop(), NewMetrics(prometheus.NewRegistry()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := trigger.Close(); err != nil {
			t.Error(err)
		}
	})
	return trigger
}

func TestSilentServerDoesNotHoldALoginForEver(t *testing.T) {
	port, accepted := listen(t, silence)
	trigger := newTrigger(t, Config{Port: port, TLS: TLS{Off: true}, ConnectTimeout: 50 * time.Millisecond})
	for name, call := range map[string]func() error{
		"query":     func() error { return trigger.Ping(t.Context()) },
		"statement": func() error { return trigger.Backup(t.Context(), samplePlan(nil)) },
	} {
		before := accepted.Load()
		err := call()
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "no login within 50ms") {
			t.Errorf("%s: %v", name, err)
		}
		if n := accepted.Load() - before; n != 1 {
			t.Errorf("%s: %d connections, expected one", name, n)
		}
	}
}

func TestContextEndsALogin(t *testing.T) {
	arrived := make(chan struct{})
	port, _ := listen(t, func(conn net.Conn) {
		close(arrived)
		silence(conn)
	})
	trigger := newTrigger(t, Config{Port: port, TLS: TLS{Off: true}, ConnectTimeout: time.Hour})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- trigger.Backup(ctx, samplePlan(nil)) }()
	<-arrived
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestServerThatHangsUpIsAskedOnce(t *testing.T) {
	port, accepted := listen(t, func(net.Conn) {})
	trigger := newTrigger(t, Config{Port: port, TLS: TLS{Off: true}})
	if err := trigger.Ping(t.Context()); err == nil {
		t.Error("no error")
	}
	if n := accepted.Load(); n != 1 {
		t.Errorf("%d connections, expected one", n)
	}
}

func TestRefusedConnectionHasAHint(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := listener.Addr().(*net.TCPAddr).Port
	closeQuietly(listener)
	trigger := newTrigger(t, Config{Port: port, TLS: TLS{Off: true}})
	_, err = trigger.Plan(t.Context(), "HXE", backup.KindComplete)
	if !errors.Is(err, syscall.ECONNREFUSED) || !strings.Contains(Hint(err), "secondary site") {
		t.Errorf("%v: %s", err, Hint(err))
	}
}

func TestServerWithoutTLSHasAHint(t *testing.T) {
	port, _ := listen(t, func(conn net.Conn) {
		if _, err := conn.Write([]byte("not TLS at all")); err != nil {
			t.Error(err)
		}
		silence(conn)
	})
	trigger := newTrigger(t, Config{Port: port})
	if err := trigger.Ping(t.Context()); !strings.Contains(Hint(err), "does not speak TLS") {
		t.Errorf("%v: %s", err, Hint(err))
	}
}

func TestPasswordFileThatVanishes(t *testing.T) {
	port, accepted := listen(t, silence)
	file := writeFile(t, "secret")
	trigger := newTrigger(t, Config{Port: port, TLS: TLS{Off: true}, PasswordFile: file})
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := trigger.Ping(t.Context()); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("%v", err)
	}
	if n := accepted.Load(); n != 0 {
		t.Errorf("%d connections, expected none", n)
	}
}

func TestStatementAfterCloseIsNotSent(t *testing.T) {
	port, accepted := listen(t, silence)
	trigger := newTrigger(t, Config{Port: port, TLS: TLS{Off: true}})
	if err := trigger.Close(); err != nil {
		t.Fatal(err)
	}
	if err := trigger.Backup(t.Context(), samplePlan(nil)); !errors.Is(err, backup.ErrNotSent) {
		t.Errorf("%v", err)
	}
	if n := accepted.Load(); n != 0 {
		t.Errorf("%d connections, expected none", n)
	}
}

func TestGateKeepsAUserFromBeingLocked(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)
	gate := newGate()
	gate.now = func() time.Time { return now }
	refusal := &backup.HANAError{Code: codeAuthentication, Text: "authentication failed", Statement: "CONNECT"}

	attempts := 0
	// login behaves like connector.Connect at a HANA that knows "right" only.
	login := func(p password) error {
		if err := gate.check(p); err != nil {
			return err
		}
		attempts++
		var err error
		if p != "right" {
			err = refusal
		}
		gate.note(p, err)
		return err
	}
	steps := []struct {
		name     string
		after    time.Duration
		password password
		attempts int
	}{
		{"the first is sent", 0, "wrong", 1},
		{"not again at once", time.Second, "wrong", 1},
		{"nor before a minute", 58 * time.Second, "wrong", 1},
		{"again after it", time.Second, "wrong", 2},
		{"not after another minute", 119 * time.Second, "wrong", 2},
		{"but after two", time.Second, "wrong", 3},
		{"a new password is sent at once", 0, "also wrong", 4},
		{"and has a back-off of its own", 59 * time.Second, "also wrong", 4},
		{"the right one is sent at once", 0, "right", 5},
		{"and always", 0, "right", 6},
		{"after it the count begins anew", 0, "wrong", 7},
		{"a minute", time.Minute, "wrong", 8},
	}
	for _, step := range steps {
		now = now.Add(step.after)
		err := login(step.password)
		if attempts != step.attempts {
			t.Errorf("%s: %d attempts, expected %d", step.name, attempts, step.attempts)
		}
		if (err == nil) != (step.password == "right") || (err != nil && !errors.Is(err, error(refusal))) {
			t.Errorf("%s: %v", step.name, err)
		}
	}

	for range 20 {
		now = now.Add(lastBackoff)
		attempts = 0
		if err := login("wrong"); err == nil || attempts != 1 {
			t.Errorf("back-off beyond %s", lastBackoff)
		}
	}
}

func TestGateIsNotMovedByALostNetwork(t *testing.T) {
	gate := newGate()
	gate.note("secret", &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED})
	if err := gate.check("secret"); err != nil {
		t.Error(err)
	}
}
