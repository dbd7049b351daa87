package job

import (
	"testing"

	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/e2e/leaks"
	"github.com/pipestreamer/pipestreamer/pkg/uploader"
)

func TestMain(m *testing.M) {
	uploader.Quiet(zap.NewNop())
	leaks.VerifyTestMain(m)
}
