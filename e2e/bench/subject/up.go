package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
	"github.com/pipestreamer/pipestreamer/pkg/fifo"
)

// abortTimeout bounds the removal of what a failed run has sent.
const abortTimeout = 10 * time.Second

// up is the data path of a backup.
func (s *subject) up(ctx context.Context) (err error) {
	if err := s.store.Check(ctx); err != nil {
		return err
	}
	uploads := make([]backup.Upload, 0, len(s.plan.Streams))
	defer func() {
		if err != nil {
			err = errors.Join(err, abort(ctx, uploads))
		}
	}()
	for _, stream := range s.plan.Streams {
		key := backup.StreamKey(s.plan.SID, s.plan.Database, s.plan.Prefix, stream.StreamID)
		upload, err := s.store.Begin(ctx, key, backup.UploadOptions{EstimatedSize: stream.EstimatedSize, NoSHA256: s.noSHA256})
		if err != nil {
			return err
		}
		uploads = append(uploads, upload)
	}
	stored, err := s.receive(ctx, uploads)
	if err != nil {
		return err
	}
	group, committing := errgroup.WithContext(ctx)
	for _, upload := range uploads {
		group.Go(func() error { return upload.Commit(committing) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return s.write(stored)
}

// receive takes the streams out of their pipes.
func (s *subject) receive(ctx context.Context, uploads []backup.Upload) (stored []backup.Stored, err error) {
	source := fifo.NewSource(fifo.Config{Directory: s.plan.Directory}, s.log, nil)
	if err := source.Prepare(ctx, s.plan); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	if err := ready(); err != nil {
		return nil, err
	}
	stored = make([]backup.Stored, len(uploads))
	group, ctx := errgroup.WithContext(ctx)
	for n, upload := range uploads {
		group.Go(func() error {
			reader, err := source.Open(ctx, s.plan.Streams[n])
			if err != nil {
				return err
			}
			stored[n], err = upload.Consume(ctx, reader)
			return errors.Join(err, reader.Close())
		})
	}
	return stored, group.Wait()
}

func abort(ctx context.Context, uploads []backup.Upload) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTimeout)
	defer cancel()
	var errs []error
	for _, upload := range uploads {
		errs = append(errs, upload.Abort(ctx))
	}
	return errors.Join(errs...)
}

// write keeps what a restore has to know.
func (s *subject) write(stored []backup.Stored) error {
	if s.manifest == "" {
		return nil
	}
	text, err := json.Marshal(stored)
	if err != nil {
		return err
	}
	if err := os.WriteFile(s.manifest, text, 0o600); err != nil {
		return fmt.Errorf("keep the manifest: %w", err)
	}
	return nil
}
