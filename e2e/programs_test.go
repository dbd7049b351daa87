package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// requireProgram skips when a program of the system is missing; in CI it fails.
func requireProgram(t *testing.T, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		missing(t, "%s is not installed", name)
	}
}

// requireTool returns the absolute path of a program that `make build` put into
// bin. It skips when it is missing; in CI it fails.
func requireTool(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("..", "bin", name))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		missing(t, "bin/%s is not built (make build)", name)
	}
	return path
}

func missing(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}
