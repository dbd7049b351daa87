package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/internal/config"
	"github.com/pipestreamer/pipestreamer/internal/job"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
	"github.com/pipestreamer/pipestreamer/pkg/uploader"
)

// writeFiles restores a backup as plain files, without daemon and HANA.
func (a *app) writeFiles(ctx context.Context, configFile string, request job.RestoreRequest, dir string) (err error) {
	cfg, err := config.Load(configFile, a.environ, config.StoreAccess)
	if err != nil {
		return err
	}
	log, err := newLogger(config.Log{Level: "warn", Format: cfg.Log.Format}, a.stderr)
	if err != nil {
		return err
	}
	uploader.Quiet(log)
	store, err := uploader.New(ctx, storeConfig(cfg), log, nil)
	if err != nil {
		return storeRefused(cfg, err)
	}
	defer func() { err = errors.Join(err, store.Close(context.WithoutCancel(ctx))) }()
	m, err := job.ReadManifest(ctx, store, cfg.HANA.SID, request.Database, request.Backup)
	if err != nil {
		return err
	}
	log.Debug("writing files", zap.String("directory", dir))
	record := job.Record{
		ID: "none (without the daemon)", Action: job.ActionRestore, State: job.StateRunning, Stage: job.StageStream,
		SID: m.SID, Database: m.Database, Kind: m.Kind, BackupID: m.BackupID, Prefix: m.Prefix, StartedAt: time.Now().UTC(),
	}
	for _, s := range m.Plan("", dir).Streams {
		record.Streams = append(record.Streams, job.Progress{Stream: s})
	}
	progress := a.newProgress(record)
	var mu sync.Mutex
	err = job.WriteFiles(ctx, store, m, dir, func(id backup.StreamID, n int64) {
		mu.Lock()
		defer mu.Unlock()
		for i := range record.Streams {
			if s := &record.Streams[i]; s.StreamID == id {
				s.Bytes += n
				s.Stored += n
				s.Done = s.Bytes == s.EstimatedSize
			}
		}
		progress.show(record)
	})
	progress.end()
	if err != nil {
		return err
	}
	record.State, record.Stage, record.FinishedAt = job.StateSucceeded, job.StageDone, time.Now().UTC()
	return a.print(m, func() error { return a.printFiles(m, dir) })
}

// storeRefused makes a usage error of what is wrong with the store's settings;
// an error of the network stays as it is.
func storeRefused(cfg *config.Config, err error) error {
	if _, network := errors.AsType[net.Error](err); network {
		return err
	}
	return &failure{
		status: statusUsage, err: fmt.Errorf("configuration, store.type %s: %w", cfg.Store.Type, err),
		hint: "compare store.type, store.root, store.options and store.secrets with rclone's documentation of that backend",
	}
}

func (a *app) printFiles(m *backup.Manifest, dir string) error {
	plan := m.Plan("", dir)
	rows := [][]string{{"FILE", "SIZE", "SHA-256"}}
	for i := range m.Streams {
		s := &m.Streams[i]
		rows = append(rows, []string{plan.Path() + plan.FileName(s.StreamID)[len(plan.Prefix):], byteText(s.Size), s.SHA256})
	}
	return a.table(rows)
}
