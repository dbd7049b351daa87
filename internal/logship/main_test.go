package logship_test

import (
	"testing"

	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/pkg/uploader"
)

func TestMain(m *testing.M) {
	uploader.Quiet(zap.NewNop())
	goleak.VerifyTestMain(m)
}
