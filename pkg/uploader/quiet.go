package uploader

import (
	"context"
	"log/slog"

	"github.com/rclone/rclone/fs"
	"github.com/rclone/rclone/fs/config"
	"github.com/rclone/rclone/fs/fshttp"
	"github.com/rclone/rclone/lib/atexit"
	"go.uber.org/zap"
	"go.uber.org/zap/exp/zapslog"
)

// Quiet keeps rclone from acting on the process by itself: what it logs goes to
// log, under the name "rclone", and its signal handler, which would call
// os.Exit in the middle of a backup, is never installed. It changes state of the
// whole process: main calls it once, before the first Store is opened.
func Quiet(log *zap.Logger) {
	atexit.IgnoreSignals()
	fshttp.DefaultMetrics = fshttp.NewMetrics("rclone") // for transports that are made from now on
	// rclone loads its configuration, which is kept in memory here and empty,
	// with the first remote and without a lock (fs/config/config.go).
	config.LoadedData()
	fs.SetLogger(rcloneLog{zapslog.NewHandler(log.Named("rclone").Core(), zapslog.WithName(log.Name()+".rclone"))})
}

// rcloneLog brings rclone's levels to those of a daemon: rclone's NOTICE is
// what its command line says unasked, and its ERROR is often retried.
type rcloneLog struct{ slog.Handler }

// Handle passes record on with a level that zap knows.
func (l rcloneLog) Handle(ctx context.Context, record slog.Record) error {
	switch {
	case record.Level >= slog.LevelError:
		record.Level = slog.LevelWarn
	case record.Level == fs.SlogLevelNotice:
		record.Level = slog.LevelInfo
	}
	return l.Handler.Handle(ctx, record)
}
