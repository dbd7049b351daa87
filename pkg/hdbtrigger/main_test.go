package hdbtrigger

import (
	"testing"

	"go.uber.org/goleak"
)

// go-hdb collects its own statistics in one goroutine per process that never
// ends.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/SAP/go-hdb/driver.(*metrics).lazyInit.func1.1"))
}
