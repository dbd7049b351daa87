package wire

import (
	"testing"

	"github.com/SAP/go-hdb/driver"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(driverTests{m}) }

// driverTests stops go-hdb's own goroutine, which collects metrics for the whole
// process and outlives every database.
type driverTests struct{ *testing.M }

func (t driverTests) Run() int {
	code := t.M.Run()
	if err := driver.Unregister(); err != nil {
		return 1
	}
	return code
}
