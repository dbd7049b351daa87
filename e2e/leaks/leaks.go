// Package leaks looks for goroutines that the tests of a package leave behind when
// they use go-hdb, which has one of its own.
package leaks

import (
	"fmt"
	"os"
	"testing"

	"github.com/SAP/go-hdb/driver"
	"go.uber.org/goleak"
)

// VerifyTestMain is goleak's, for packages that use go-hdb.
func VerifyTestMain(m *testing.M) { goleak.VerifyTestMain(withoutDriver{m}) }

// withoutDriver ends the goroutine in which go-hdb collects its statistics, one
// per process from the first connection on, before goleak looks.
type withoutDriver struct{ *testing.M }

// Run runs the tests.
func (w withoutDriver) Run() int {
	code := w.M.Run()
	if err := driver.Unregister(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}
