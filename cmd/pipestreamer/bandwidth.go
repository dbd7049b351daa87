package main

import (
	"context"
	"strings"
	"sync"
	"time"
	// A container has often no time zones, and a timetable would silently go by
	// UTC then, whatever TZ says.
	_ "time/tzdata"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/internal/config"
	"github.com/pipestreamer/pipestreamer/internal/httpapi"
	"github.com/pipestreamer/pipestreamer/pkg/uploader"
)

// asConfigured goes back to store.bandwidth.
const asConfigured = "configured"

func (a *app) bandwidthCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "bandwidth [LIMIT]",
		Short: "Show or change how much a second may pass to and from the store",
		Long: `Show or change how much a second may pass to and from the store: off, a rate
such as 50MiB/s, a timetable such as

  pipestreamer bandwidth Mon-Fri-07:00,50MiB/s Mon-Fri-20:00,off

by the daemon's clock, or configured for what store.bandwidth says. Streams that
are on their way follow at once. A change lasts until the next one or until the
daemon is restarted.`,
		RunE: verb(func(cmd *cobra.Command, args []string) error {
			client, err := a.connect()
			if err != nil {
				return err
			}
			defer client.Close()
			ask := client.Bandwidth
			if len(args) > 0 {
				ask = func(ctx context.Context) (httpapi.Bandwidth, error) {
					return client.SetBandwidth(ctx, strings.Join(args, " "))
				}
			}
			b, err := ask(cmd.Context())
			if err != nil {
				return a.unreachable(cmd.Context(), err)
			}
			return a.print(b, func() error { return a.printBandwidth(b) })
		}),
	}
}

func (a *app) printBandwidth(b httpapi.Bandwidth) error {
	now := "no limit"
	if b.BytesPerSecond > 0 {
		now = byteText(b.BytesPerSecond) + "/s"
	}
	return a.table([][]string{
		{"limit", b.Limit},
		{"now", now + " (" + b.LocalTime.Format("Mon 15:04 -07:00") + " at the daemon)"},
		{"configured", b.Configured},
	})
}

// throttle is the limit of a store, with the words in which it was given.
type throttle struct {
	store *uploader.Store
	cfg   *config.Config
	log   *zap.Logger

	mu    sync.Mutex
	limit config.Bandwidth
}

func newThrottle(store *uploader.Store, cfg *config.Config, log *zap.Logger) *throttle {
	return &throttle{store: store, cfg: cfg, log: log, limit: cfg.Store.Bandwidth}
}

// Bandwidth implements [httpapi.Throttle].
func (t *throttle) Bandwidth() httpapi.Bandwidth {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	return httpapi.Bandwidth{
		Limit: t.limit.String(), Configured: t.cfg.Store.Bandwidth.String(), BytesPerSecond: t.limit.At(now), LocalTime: now.Truncate(time.Second),
	}
}

// SetBandwidth implements [httpapi.Throttle].
func (t *throttle) SetBandwidth(text string) error {
	limit := t.cfg.Store.Bandwidth
	if text != asConfigured {
		var err error
		if limit, err = config.ParseBandwidth(text); err != nil {
			return err
		}
		if err := t.cfg.CheckBandwidth(limit); err != nil {
			return err
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.log.Info("the bandwidth limit changes", zap.Stringer("from", t.limit), zap.Stringer("to", limit))
	t.limit = limit
	t.store.Limit(bandwidthOf(limit))
	return nil
}

// bandwidthOf is the limit as the store takes it.
func bandwidthOf(b config.Bandwidth) uploader.Bandwidth {
	if len(b) == 0 {
		return nil
	}
	return b.At
}
