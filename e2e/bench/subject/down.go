package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
	"github.com/pipestreamer/pipestreamer/pkg/fifo"
)

// lookInterval is how often it is looked whether all streams have been read.
const lookInterval = 5 * time.Millisecond

// down is the data path of a restore. It ends when each stream was read once.
func (s *subject) down(ctx context.Context) (err error) {
	text, err := os.ReadFile(s.manifest)
	if err != nil {
		return fmt.Errorf("read the manifest: %w", err)
	}
	var stored []backup.Stored
	if err := json.Unmarshal(text, &stored); err != nil {
		return fmt.Errorf("read the manifest: %w", err)
	}
	if len(stored) < len(s.plan.Streams) {
		return fmt.Errorf("the manifest has %d streams, expected %d", len(stored), len(s.plan.Streams))
	}
	sink := fifo.NewSink(fifo.Config{Directory: s.plan.Directory}, s.log, nil)
	if err := sink.Prepare(ctx, s.plan); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sink.Close()) }()
	serving, stop := context.WithCancel(ctx)
	defer stop()
	group, serving := errgroup.WithContext(serving)
	for n, stream := range s.plan.Streams {
		group.Go(func() error {
			return sink.Serve(serving, stream, func(ctx context.Context) (io.ReadCloser, error) {
				return s.store.OpenStream(ctx, stored[n].Objects)
			})
		})
	}
	if err := ready(); err != nil {
		return err
	}
	tick := time.NewTicker(lookInterval)
	defer tick.Stop()
	for !complete(sink) && serving.Err() == nil {
		select {
		case <-serving.Done():
		case <-tick.C:
		}
	}
	stop()
	return errors.Join(group.Wait(), ctx.Err())
}

// complete tells whether every stream was read to its last byte.
func complete(sink *fifo.Sink) bool {
	return !slices.ContainsFunc(sink.Report(), func(r backup.StreamReport) bool { return r.Complete == 0 })
}
