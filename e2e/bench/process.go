package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// patience bounds the end of a process that was asked to end.
const patience = 20 * time.Second

// process is a child.
type process struct {
	name   string
	cmd    *exec.Cmd
	input  io.Closer
	output *bufio.Reader
	errors *tail

	once  sync.Once
	ended error
}

// start runs argv, in a group of its own so that Ctrl-C reaches it through ctx
// alone. When ctx ends it gets SIGTERM.
func start(ctx context.Context, argv, env []string, piped bool) (*process, error) {
	p := &process{name: filepath.Base(argv[0]), cmd: exec.CommandContext(ctx, argv[0], argv[1:]...), errors: new(tail)}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stderr = p.errors
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(syscall.SIGTERM) }
	p.cmd.WaitDelay = patience
	if piped {
		input, errIn := p.cmd.StdinPipe()
		output, errOut := p.cmd.StdoutPipe()
		if err := errors.Join(errIn, errOut); err != nil {
			return nil, fmt.Errorf("start %s: %w", p.name, err)
		}
		p.input, p.output = input, bufio.NewReader(output)
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", p.name, err)
	}
	return p, nil
}

// ready waits for the word and returns what follows it. A process that does not
// say it is ended.
func (p *process) ready() (string, error) {
	line, err := p.output.ReadString('\n')
	word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
	if err != nil || word != "ready" {
		_ = p.cmd.Cancel() // it may have ended by itself
		return "", errors.Join(fmt.Errorf("%s does not get ready", p.name), p.wait())
	}
	return rest, nil
}

// wait waits for the end. It may be called again.
func (p *process) wait() error {
	p.once.Do(func() {
		if err := p.cmd.Wait(); err != nil {
			p.ended = fmt.Errorf("%s: %w\n%s", strings.Join(p.cmd.Args, " "), err, p.errors)
		}
	})
	return p.ended
}

// usage is what the process has taken: CPU time, and memory at its peak in
// bytes. The kernel counts the memory of whoever started it, until the program
// began, as its own: 10 MiB or so.
func (p *process) usage() (cpu time.Duration, peak int64) {
	state := p.cmd.ProcessState
	if used, is := state.SysUsage().(*syscall.Rusage); is {
		peak = used.Maxrss << 10
	}
	return state.UserTime() + state.SystemTime(), peak
}

// tail keeps the end of what is written to it. It is for one process, which is
// waited for before it is read.
type tail struct{ text []byte }

// Write implements io.Writer.
func (t *tail) Write(p []byte) (int, error) {
	const most = 4 << 10
	t.text = append(t.text, p...)
	if over := len(t.text) - most; over > 0 {
		t.text = bytes.Clone(t.text[over:])
	}
	return len(p), nil
}

func (t *tail) String() string { return string(t.text) }
