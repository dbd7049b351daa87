package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/pipestreamer/pipestreamer/internal/chain"
	"github.com/pipestreamer/pipestreamer/internal/config"
	"github.com/pipestreamer/pipestreamer/internal/job"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
	"github.com/pipestreamer/pipestreamer/pkg/uploader"
)

// writeFiles writes everything that a recovery takes as plain files, without
// daemon and HANA.
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
	streams, err := newCodec(store, codecConfig(cfg))
	if err != nil {
		return err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	plan, statement, err := job.PlanFiles(ctx, store, cfg.HANA.SID, request, dir, log)
	if err != nil {
		return err
	}
	files := writtenFiles(&plan, dir, statement)
	if !request.DryRun {
		if err := os.MkdirAll(dir, 0o750); err != nil {
			return err
		}
		if err := a.writeChain(ctx, streams, &plan, dir); err != nil {
			return err
		}
	}
	return a.print(files, func() error { return a.printFiles(files) })
}

// writeChain writes the files of a chain and shows how far it is.
func (a *app) writeChain(ctx context.Context, store backup.StreamOpener, plan *chain.Chain, dir string) error {
	last := plan.Last()
	record := job.Record{
		ID: "without the daemon", Action: job.ActionRestore, State: job.StateRunning, Stage: job.StageStream,
		SID: last.SID, Database: last.Database, Kind: last.Kind, BackupID: last.BackupID, Prefix: last.Prefix, StartedAt: time.Now().UTC(),
	}
	at := make(map[string]int)
	for _, f := range job.FilesOf(plan) {
		at[f.Name] = len(record.Streams)
		record.Streams = append(record.Streams, job.Progress{Stream: backup.Stream{StreamID: f.StreamID, File: f.Name, Service: f.Service, EstimatedSize: f.Size}})
	}
	progress := a.newProgress(record)
	var mu sync.Mutex
	err := job.WriteFiles(ctx, store, plan, dir, func(name string, n int64) {
		mu.Lock()
		defer mu.Unlock()
		s := &record.Streams[at[name]]
		s.Bytes += n
		s.Stored += n
		s.Done = s.Bytes == s.EstimatedSize
		progress.show(record)
	})
	progress.end()
	return err
}

// storeRefused makes a usage error of what is wrong with the store's settings;
// an error of the network, or of a store that is away, stays as it is.
func storeRefused(cfg *config.Config, err error) error {
	if _, network := errors.AsType[net.Error](err); network || errors.Is(err, uploader.ErrNotInTime) {
		return err
	}
	return &failure{
		status: statusUsage, err: fmt.Errorf("configuration, store.type %s: %w", cfg.Store.Type, err),
		hint: "compare store.type, store.root, store.options and store.secrets with rclone's documentation of that backend",
	}
}

// written is what --to-path has written, or would write.
type written struct {
	Directory string        `json:"directory"`
	Reaches   time.Time     `json:"reaches"`
	Statement string        `json:"statement"`
	Files     []writtenFile `json:"files"`
	Notes     []string      `json:"notes,omitempty"`
}

type writtenFile struct {
	Path   string `json:"path"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

func writtenFiles(plan *chain.Chain, dir, statement string) written {
	w := written{Directory: dir, Reaches: plan.Reaches, Statement: statement, Notes: plan.Notes}
	for _, f := range job.FilesOf(plan) {
		w.Files = append(w.Files, writtenFile{Path: filepath.Join(dir, f.Name), Size: f.Size, SHA256: f.SHA256})
	}
	return w
}

func (a *app) printFiles(w written) error {
	rows := [][]string{{"FILE", "SIZE", "SHA-256"}}
	for _, f := range w.Files {
		rows = append(rows, []string{f.Path, byteText(f.Size), f.SHA256})
	}
	if err := a.table(rows); err != nil {
		return err
	}
	for _, note := range w.Notes {
		a.tell("note: " + note)
	}
	a.tell("These files reach " + timeText(w.Reaches) + ". HANA recovers from them with the following; a time in the future means all that is there.")
	a.tell(w.Statement)
	return nil
}
