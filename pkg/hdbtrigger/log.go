package hdbtrigger

import (
	"context"
	"log/slog"

	"go.uber.org/zap"
	"go.uber.org/zap/exp/zapslog"
)

// driverLog writes go-hdb's log into log. go-hdb logs a failed read as an error
// and returns it too; the returned one is logged where its journey ends, so
// the driver's line is only for debugging. Warnings of HANA appear nowhere
// else and stay warnings.
func driverLog(log *zap.Logger) *slog.Logger {
	return slog.New(quietErrors{zapslog.NewHandler(log.Core(), zapslog.WithName(log.Name()))})
}

type quietErrors struct{ to slog.Handler }

func (h quietErrors) level(level slog.Level) slog.Level {
	if level >= slog.LevelError {
		return slog.LevelDebug
	}
	return level
}

// Enabled asks for the level that the record will have.
func (h quietErrors) Enabled(ctx context.Context, level slog.Level) bool {
	return h.to.Enabled(ctx, h.level(level))
}

// Handle passes the record on.
func (h quietErrors) Handle(ctx context.Context, record slog.Record) error {
	record.Level = h.level(record.Level)
	return h.to.Handle(ctx, record)
}

// WithAttrs keeps the levels.
func (h quietErrors) WithAttrs(attrs []slog.Attr) slog.Handler {
	return quietErrors{h.to.WithAttrs(attrs)}
}

// WithGroup keeps the levels.
func (h quietErrors) WithGroup(name string) slog.Handler { return quietErrors{h.to.WithGroup(name)} }
