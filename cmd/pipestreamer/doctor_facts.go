package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/internal/config"
	"github.com/pipestreamer/pipestreamer/internal/doctor"
	"github.com/pipestreamer/pipestreamer/internal/doctor/host"
	"github.com/pipestreamer/pipestreamer/internal/job"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
	"github.com/pipestreamer/pipestreamer/pkg/hdbtrigger"
	"github.com/pipestreamer/pipestreamer/pkg/uploader"
)

const (
	// askTimeout bounds what HANA is asked, and storeTimeout what the store is.
	askTimeout   = 30 * time.Second
	storeTimeout = time.Minute
)

// collect gathers the facts: HANA and the store are asked at the same time.
func collect(ctx context.Context, cfg *config.Config, databases []string) *doctor.Facts {
	f := &doctor.Facts{
		Settings: doctorSettings(cfg), Databases: databases,
		Directory: host.LookAt(cfg.BackupDirectory), State: host.LookAtState(cfg.StateDirectory, cfg.BackupDirectory),
		Kernel: host.Limits("/"), Memory: host.MemoryLimit("/"), Now: time.Now(),
	}
	f.Doors, f.DoorsError = knownDoors(cfg.StateDirectory)
	f.Stopped, _ = job.KnownStopped(cfg.StateDirectory) // without it the advice is the ordinary one
	var asking sync.WaitGroup
	asking.Go(func() { f.HANA, f.HANAError = inspect(ctx, cfg, databases) })
	asking.Go(func() { f.Store = tryStore(ctx, cfg) })
	asking.Wait()
	return f
}

func doctorSettings(c *config.Config) doctor.Settings {
	var logs []host.LogDirectory
	var problem error
	if c.Logs.Directory != "" {
		logs, problem = host.LookAtLogs(c.Logs.Directory)
	}
	return doctor.Settings{
		Logs: logs, LogDirectoryError: problem,
		SID: c.HANA.SID, Host: c.HANA.Host, TLS: c.HANA.TLS.Enabled, Insecure: c.HANA.TLS.Insecure,
		LogDirectory: c.Logs.Directory, Door: c.Door, SpoolOwner: c.Spool.Owner,
		DeleteLost: c.OnLost == config.OnLostDelete, MemoryBudget: int64(c.MemoryBudget),
	}
}

func knownDoors(stateDirectory string) (map[string]doctor.Door, error) {
	known, err := job.KnownDoors(stateDirectory)
	doors := make(map[string]doctor.Door, len(known))
	for version, k := range known {
		doors[version] = doctor.Door{Refused: k.Refused, Job: k.Job, At: k.At, Recommendation: string(k.Recommendation), Summary: k.Summary}
	}
	return doors, err
}

// inspect asks HANA about each database. It stops at the first connection that
// cannot be made: repeating a wrong password locks the user.
func inspect(ctx context.Context, cfg *config.Config, databases []string) (inspections []hdbtrigger.Inspection, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, askTimeout, fmt.Errorf("HANA has not answered within %s", askTimeout))
	defer cancel()
	trigger, err := hdbtrigger.New(triggerConfig(cfg), zap.NewNop(), hdbtrigger.NewMetrics(newRegistry()))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, trigger.Close()) }()
	for _, database := range databases {
		i, err := trigger.Inspect(ctx, database)
		if err != nil {
			return inspections, err
		}
		inspections = append(inspections, i)
	}
	return inspections, nil
}

// tryStore writes, reads and removes a small object, and looks at the store's
// clock.
func tryStore(ctx context.Context, cfg *config.Config) (s doctor.Store) {
	ctx, cancel := context.WithTimeoutCause(ctx, storeTimeout, fmt.Errorf("the store has not answered within %s", storeTimeout))
	defer cancel()
	log := zap.NewNop()
	uploader.Quiet(log)
	shape, err := freshStore(cfg)
	if err != nil {
		s.Error = err
		return s
	}
	store, err := uploader.New(ctx, shape, log, nil)
	if err != nil {
		s.Error = err
		return s
	}
	defer func() {
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		s.Error = errors.Join(s.Error, store.Close(ending))
	}()
	streams, err := newCodec(store, codecConfig(cfg))
	if err != nil {
		s.Error = err
		return s
	}
	if s.Error = streams.Check(ctx); s.Error != nil {
		return s
	}
	s.Ahead, s.Within, s.ClockError = storeClock(ctx, store, cfg.HANA.SID+"/doctor/"+rand.Text())
	return s
}

// storeClock compares the time that the store gives a new object with ours. Where
// a backend lets its client choose that time, the result is that they agree.
func storeClock(ctx context.Context, store backup.Store, key string) (ahead, within time.Duration, err error) {
	before := time.Now()
	upload, err := store.Begin(ctx, key, backup.UploadOptions{EstimatedSize: 1, AtHand: true})
	if err != nil {
		return 0, 0, err
	}
	defer func() {
		cleaning, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		err = errors.Join(err, upload.Abort(cleaning))
	}()
	if _, err := upload.Consume(ctx, strings.NewReader("pipestreamer looks at the store's clock\n")); err != nil {
		return 0, 0, err
	}
	if err := upload.Commit(ctx); err != nil {
		return 0, 0, err
	}
	object, err := store.Stat(ctx, key)
	if err != nil {
		return 0, 0, err
	}
	if object.ModTime.IsZero() {
		return 0, 0, errors.New("it gives no times")
	}
	took := time.Since(before)
	return object.ModTime.Sub(before.Add(took / 2)), took / 2, nil
}
