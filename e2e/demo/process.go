package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// patience bounds the start and the end of each program.
const patience = 20 * time.Second

// process is a server that the demo started. Its output goes to a file.
type process struct {
	name  string
	cmd   *exec.Cmd
	log   string
	ended chan struct{}
	err   error // valid once ended is closed
}

// start runs a server; its output goes to <dir>/<name>.log.
// It runs until stop, whatever becomes of ctx.
func start(ctx context.Context, dir, program string, env []string, args ...string) (*process, error) {
	cmd := exec.CommandContext(context.WithoutCancel(ctx), program, args...)
	p := &process{name: filepath.Base(program), cmd: cmd, ended: make(chan struct{})}
	p.log = filepath.Join(dir, p.name+".log")
	output, err := os.Create(p.log)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", p.name, err)
	}
	p.cmd.Stdout, p.cmd.Stderr, p.cmd.Env = output, output, append(os.Environ(), env...)
	// A child of its own group: Ctrl-C reaches it through stop only, in order.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", p.name, err), output.Close())
	}
	go func() {
		defer close(p.ended)
		p.err = errors.Join(p.cmd.Wait(), output.Close())
	}()
	return p, nil
}

// await polls ready until it is true, the process ends or time is up.
func (p *process) await(ctx context.Context, ready func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ready() {
		select {
		case <-p.ended:
			return fmt.Errorf("%s ended while it started: %w\n%s", p.name, p.err, p.tail())
		case <-ctx.Done():
			return fmt.Errorf("%s does not get ready: %w\n%s", p.name, ctx.Err(), p.tail())
		case <-tick.C:
		}
	}
	return nil
}

// stop ends the server with SIGTERM. A server that had ended before, ends with
// an error or has to be killed is an error.
func (p *process) stop() error {
	select {
	case <-p.ended:
		return fmt.Errorf("%s had ended: %w\n%s", p.name, p.err, p.tail())
	default:
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("stop %s: %w", p.name, err)
	}
	select {
	case <-p.ended:
	case <-time.After(patience):
		err := p.cmd.Process.Kill()
		<-p.ended
		return errors.Join(fmt.Errorf("%s did not end within %s", p.name, patience), err)
	}
	if p.err != nil {
		return fmt.Errorf("%s: %w\n%s", p.name, p.err, p.tail())
	}
	return nil
}

// tail is the end of the server's output.
func (p *process) tail() []byte {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return []byte(err.Error())
	}
	lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	return bytes.Join(lines[max(0, len(lines)-20):], []byte("\n"))
}
