package hdbtrigger

import (
	"testing"

	"github.com/pipestreamer/pipestreamer/e2e/leaks"
)

func TestMain(m *testing.M) { leaks.VerifyTestMain(m) }
