package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/SAP/go-hdb/driver"
	"go.uber.org/goleak"
)

// binaryVariable names a daemon to test instead of the one that is built from
// this tree. The daemon refuses unknown variables that begin with its own name.
const binaryVariable = "E2E_PIPESTREAMER"

// programs holds what the tests built, for the time of this process.
var programs struct {
	directory  string
	daemon     sync.Once
	daemonErr  error
	daemonPath string
	s3, toxic  tool
	age        tool
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(cleaned{m}) }

// atOnce is how many tests run at once: most of them wait most of the time.
const atOnce = "5"

// cleaned runs the tests and removes what they share.
type cleaned struct{ *testing.M }

func (c cleaned) Run() int {
	directory, err := os.MkdirTemp("", "pipestreamer-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	programs.directory = directory
	// Before the flags are parsed, so that -parallel still counts.
	if err := flag.Set("test.parallel", atOnce); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := c.M.Run()
	// go-hdb collects statistics in a goroutine of its own from the first
	// connection on.
	if err := errors.Join(driver.Unregister(), os.RemoveAll(directory)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// daemonProgram is the compiled daemon, as `make build` compiles it.
func daemonProgram(t *testing.T) string {
	t.Helper()
	programs.daemon.Do(func() {
		if programs.daemonPath = os.Getenv(binaryVariable); programs.daemonPath != "" {
			return
		}
		programs.daemonPath = filepath.Join(programs.directory, "pipestreamer")
		programs.daemonErr = build("..", programs.daemonPath, "./cmd/pipestreamer")
	})
	if programs.daemonErr != nil {
		t.Fatal(programs.daemonErr)
	}
	return programs.daemonPath
}

// build compiles without the race detector: what is tested is what is shipped.
func build(module, to, pack string) error {
	command := exec.CommandContext(context.Background(), "go", "build", "-C", module, "-o", to, pack)
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", pack, err, out)
	}
	return nil
}
