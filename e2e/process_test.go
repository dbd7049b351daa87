package e2e

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait for something that takes milliseconds.
const patience = time.Minute

// eventually polls until done is true. It fails the test when time is up.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatalf("waited %s in vain: %s", patience, what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// tail keeps the end of what is written to it.
type tail struct {
	mu   sync.Mutex
	text []byte
	// copy gets everything; nil is nothing.
	copy io.Writer
}

const tailSize = 64 << 10

// Write implements io.Writer.
func (l *tail) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, p...)
	if l.copy != nil {
		if n, err := l.copy.Write(p); err != nil {
			return n, err
		}
	}
	if excess := len(l.text) - 2*tailSize; excess > 0 {
		l.text = append([]byte(nil), l.text[len(l.text)-tailSize:]...)
	}
	return len(p), nil
}

// Sync implements zapcore.WriteSyncer.
func (l *tail) Sync() error { return nil }

// String is what was kept.
func (l *tail) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(bytes.Clone(l.text))
}

// showOnFailure prints the log at the end of a test that failed.
func (l *tail) showOnFailure(t *testing.T, name string) {
	t.Helper()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("end of the log of %s:\n%s", name, l.String())
		}
	})
}

// process is a program that runs beside the test.
type process struct {
	t     *testing.T
	name  string
	cmd   *exec.Cmd
	ended chan struct{}
}

// startProcess runs a program until it ends or the test does; what it prints
// goes to log.
func startProcess(t *testing.T, name string, log *tail, env []string, program string, args ...string) *process {
	t.Helper()
	// It has to outlive t.Context, which ends before the clean-up begins.
	cmd := exec.Command(program, args...)
	cmd.Env = append(plainEnvironment(), env...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	p := &process{t: t, name: name, cmd: cmd, ended: make(chan struct{})}
	go func() {
		// How it ended is in cmd.ProcessState.
		_ = cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() {
		if !p.hasEnded() {
			p.signal(syscall.SIGKILL)
			<-p.ended
		}
	})
	return p
}

// plainEnvironment is ours without what would configure a daemon.
func plainEnvironment() []string {
	return slices.DeleteFunc(os.Environ(), func(entry string) bool { return strings.HasPrefix(entry, "PIPESTREAMER_") })
}

// directory makes one whose path the daemon accepts: that of t.TempDir has the
// name of the test in it, with any character.
func directory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "e2e-") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func (p *process) hasEnded() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Errorf("signal %s: %v", p.name, err)
	}
}

// wait returns the exit status, -1 for a process that a signal ended. It fails
// the test when the process does not end.
func (p *process) wait() int {
	p.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(patience):
		p.signal(syscall.SIGKILL)
		<-p.ended
		p.t.Fatalf("%s did not end within %s", p.name, patience)
	}
	return p.cmd.ProcessState.ExitCode()
}

// awaitStart polls until ready. It reports false when the process ends before,
// as it does when another one took its port.
func (p *process) awaitStart(ready func() bool) bool {
	p.t.Helper()
	eventually(p.t, p.name+" gets ready", func() bool { return p.hasEnded() || ready() })
	return !p.hasEnded()
}

// freeAddress is an address of the loopback interface that is free now; who
// cannot use port 0 has to be ready to try another.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	return listener.Addr().String()
}

func accepts(address string) bool {
	connection, err := net.DialTimeout("tcp", address, time.Second)
	return err == nil && connection.Close() == nil
}
