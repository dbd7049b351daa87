package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// s3Program is versitygw, an S3 server that shares nothing with rclone.
func s3Program(t *testing.T) string {
	t.Helper()
	return programs.s3.program(t, "versitygw", "s3server", "github.com/versity/versitygw/cmd/versitygw")
}

// toxiproxyProgram is toxiproxy, which breaks TCP connections.
func toxiproxyProgram(t *testing.T) string {
	t.Helper()
	return programs.toxic.program(t, "toxiproxy", "toxiproxy", "github.com/Shopify/toxiproxy/v2/cmd/server")
}

// ageProgram is the command line of age.
func ageProgram(t *testing.T) string {
	t.Helper()
	return programs.age.program(t, "age", "agetool", "filippo.io/age/cmd/age")
}

// tool is a program of others. It is the one of `make tools` when that is there,
// and built otherwise.
type tool struct {
	once sync.Once
	path string
	err  error
}

func (p *tool) program(t *testing.T, name, module, pack string) string {
	t.Helper()
	p.once.Do(func() {
		p.path = filepath.Join("..", "bin", name)
		if _, err := os.Stat(p.path); err == nil {
			return
		}
		p.path = filepath.Join(programs.directory, name)
		p.err = build(module, p.path, pack)
	})
	if p.err != nil {
		t.Fatal(p.err)
	}
	return p.path
}

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
