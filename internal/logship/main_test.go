package logship_test

import (
	"fmt"
	"os"
	"testing"

	hdb "github.com/SAP/go-hdb/driver"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/pkg/uploader"
)

func TestMain(m *testing.M) {
	uploader.Quiet(zap.NewNop())
	goleak.VerifyTestMain(withoutDriver{m})
}

// withoutDriver ends the goroutine in which go-hdb collects its statistics, one
// per process from the first connection on, before goleak looks.
type withoutDriver struct{ *testing.M }

func (w withoutDriver) Run() int {
	code := w.M.Run()
	if err := hdb.Unregister(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}
