package e2e

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestTry goes the way of a newcomer: `make try`, and what it says to type.
func TestTry(t *testing.T) {
	t.Parallel()
	bin, demo := t.TempDir(), filepath.Join(t.TempDir(), "demo")
	for name, program := range map[string]string{"pipestreamer": daemonProgram(t), "versitygw": s3Program(t)} {
		absolute, err := filepath.Abs(program)
		if err == nil {
			err = os.Symlink(absolute, filepath.Join(bin, name))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := build("..", demo, "./e2e/demo"); err != nil {
		t.Fatal(err)
	}
	try := exec.CommandContext(t.Context(), demo, "-bin", bin, "-try")
	said := new(tail)
	try.Stdout, try.Stderr = said, said
	try.Cancel = func() error { return try.Process.Signal(syscall.SIGTERM) }
	orders, err := try.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := try.Start(); err != nil {
		t.Fatal(err)
	}
	order := func(text, answer string) {
		t.Helper()
		before := strings.Count(said.String(), answer)
		if _, err := io.WriteString(orders, text+"\n"); err != nil {
			t.Fatalf("%v\n%s", err, said)
		}
		eventually(t, answer, func() bool { return strings.Count(said.String(), answer) > before })
	}
	eventually(t, "what to type", func() bool { return strings.Contains(said.String(), "quit ") })
	shown := commandsOf(t, said.String())

	preparing, restoring := shown[:len(shown)-1], shown[len(shown)-1]
	if !strings.Contains(restoring, " restore ") {
		t.Fatalf("the last command is %q, expected the restore", restoring)
	}
	typed(t, preparing...)
	order("destroy", "is gone")
	order("compare", "DIFFERENT")
	typed(t, preparing[0], restoring)
	order("compare", "HXE holds what it held.")
	for _, text := range []string{"restart", "store off", "store on"} {
		order(text+"\nnothing", "expected destroy") // which is said when what came before is done
	}
	typed(t, preparing[0], "pipestreamer list --database HXE")
	if _, err := io.WriteString(orders, "quit\n"); err != nil {
		t.Fatal(err)
	}
	if err := try.Wait(); err != nil {
		t.Errorf("%v\n%s", err, said)
	}
	_, rest, _ := strings.Cut(preparing[0], "PIPESTREAMER_HTTP_SOCKET=")
	if _, err := os.Stat(filepath.Dir(filepath.Dir(rest))); !os.IsNotExist(err) {
		t.Errorf("what was written is still there: %v", err)
	}
}

// commandsOf gives the lines that are to be typed in another shell.
func commandsOf(t *testing.T, text string) []string {
	t.Helper()
	_, rest, found := strings.Cut(text, "In another shell:\n\n")
	block, _, ended := strings.Cut(rest, "\n\n")
	if !found || !ended {
		t.Fatalf("it does not say what to type:\n%s", text)
	}
	lines := strings.Split(block, "\n")
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return lines
}

// typed runs the lines in one shell, as they are shown.
func typed(t *testing.T, lines ...string) {
	t.Helper()
	shell := exec.CommandContext(t.Context(), "sh", "-e", "-c", strings.Join(lines, "\n"))
	var out bytes.Buffer
	shell.Stdout, shell.Stderr = &out, &out
	if err := shell.Run(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(lines, "\n"), err, &out)
	}
}
