package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/internal/config"
	"github.com/pipestreamer/pipestreamer/internal/job"
	"github.com/pipestreamer/pipestreamer/internal/logship"
	"github.com/pipestreamer/pipestreamer/pkg/codec"
	"github.com/pipestreamer/pipestreamer/pkg/fifo"
	"github.com/pipestreamer/pipestreamer/pkg/hdbtrigger"
	"github.com/pipestreamer/pipestreamer/pkg/spool"
	"github.com/pipestreamer/pipestreamer/pkg/uploader"
)

const (
	// openPause is the time between attempts to open a store that is away.
	openPause = 15 * time.Second
	// sweepPause is the time between sweeps of what interrupted uploads left,
	// and leftPause between those of what uploads of this daemon left.
	sweepPause = 24 * time.Hour
	leftPause  = 5 * time.Minute
	// sweepTimeout bounds one sweep.
	sweepTimeout = 30 * time.Minute
	// closeTimeout bounds closing the store.
	closeTimeout = 10 * time.Second
)

// parts are the rooms of the daemon.
type parts struct {
	sid       string
	store     *uploader.Store
	streams   *codec.Store // the store, for HANA's bytes
	trigger   *hdbtrigger.Trigger
	conductor *job.Conductor
	fleet     *logship.Fleet // nil when no logs are shipped
}

// openStore opens the store. Some backends log in at once; while the network
// says no, the daemon stays up and tries again, because Kubernetes does not
// start HANA beside a sidecar that ends; neither is a file that cannot be used a
// reason to end. It returns nil when ctx ended before.
func (d *daemon) openStore(ctx context.Context) (*parts, error) {
	uploader.Quiet(d.log)
	metrics, err := uploader.NewMetrics(d.registry)
	if err != nil {
		return nil, err
	}
	if _, err := storeBeside(d.cfg); err != nil {
		return nil, err
	}
	encoding := codecConfig(d.cfg)
	encoding.Metrics = codec.NewMetrics(d.registry)
	hana := hdbtrigger.NewMetrics(d.registry)
	// Some backends repeat what fails, and say nothing of it at first (azureblob).
	d.log.Info("opens the store", zap.String("type", d.cfg.Store.Type))
	d.setReady(func(context.Context) error { return errors.New("store: it has not answered yet") })
	for {
		p, err := d.connect(ctx, encoding, metrics, hana)
		if err == nil {
			return p, nil
		}
		if ctx.Err() != nil {
			return nil, nil //nolint:nilerr // the end was asked for; that it broke something off is no error
		}
		if refused, is := errors.AsType[*failure](err); is {
			return nil, refused
		}
		d.setReady(func(context.Context) error { return err })
		d.log.Error("there are no jobs yet: store or HANA cannot be used; trying again", zap.Duration("pause", openPause), zap.Error(err))
		pause := time.NewTimer(openPause)
		select {
		case <-ctx.Done():
			pause.Stop()
			return nil, nil
		case <-pause.C:
		}
	}
}

// connect opens the store and prepares the connection to HANA, with what their files
// hold now. A *failure is for a setting that only a restart changes.
func (d *daemon) connect(ctx context.Context, encoding codec.Config, metrics *uploader.Metrics, hana *hdbtrigger.Metrics) (*parts, error) {
	shape, err := freshStore(d.cfg)
	if err != nil {
		return nil, err
	}
	store, err := uploader.New(ctx, shape, d.log, metrics)
	if errors.Is(err, uploader.ErrBackend) {
		return nil, fmt.Errorf("store: %w", err) // the cause may be a file, or a right that the store does not give
	}
	if err != nil {
		return nil, fmt.Errorf("store: %w", storeRefused(d.cfg, err))
	}
	p := &parts{sid: d.cfg.HANA.SID, store: store}
	p.streams, err = newCodec(store, encoding)
	if refused, is := errors.AsType[*failure](err); is && encoding.RecipientsFile != "" {
		err = refused.err // the file may be mended
	}
	if err == nil {
		p.trigger, err = hdbtrigger.New(triggerConfig(d.cfg), d.log, hana)
	}
	if err != nil {
		return nil, errors.Join(err, p.close()) //nolint:contextcheck // closing has its own time
	}
	return p, nil
}

// warnOfOutages tells once what this store cannot do.
func (d *daemon) warnOfOutages(store *uploader.Store) {
	if !store.AbsorbsOutages() {
		d.log.Warn("an outage of this store, or a refusal of its credentials, fails the backups that run: only s3 and azureblob without store.crypt absorb it",
			zap.String("type", d.cfg.Store.Type), zap.Bool("crypt", d.cfg.Store.Crypt.PasswordFile != ""))
	}
}

// plug builds the other rooms around the store and what is left of earlier jobs.
func (d *daemon) plug(p *parts, earlier *job.Earlier) (err error) {
	var fleet atomic.Pointer[logship.Fleet] // it asks the conductor, so it comes after it
	pipes, pipeMetrics := fifo.Config{Directory: d.cfg.BackupDirectory}, fifo.NewMetrics(d.registry)
	files, fileMetrics := spoolConfig(d.cfg), spool.NewMetrics(d.registry)
	p.conductor, err = job.NewConductor(jobConfig(d.cfg), job.Parts{
		Store: p.streams, Trigger: p.trigger, Recoverer: p.trigger, Historian: p.trigger,
		NewSource: func(rescue bool) job.Source {
			shape := pipes
			shape.Rescue = rescue
			return fifo.NewSource(shape, d.log, pipeMetrics)
		},
		Earlier: earlier,
		NewSink: func() job.Sink { return fifo.NewSink(pipes, d.log, pipeMetrics) },
		Volume:  spool.NewVolume(files),
		NewSpool: func(shared bool) job.Spool {
			shape := files
			shape.Pipes = shared
			return spool.NewSource(shape, d.log, fileMetrics)
		},
		Ended: func(e job.Ending) {
			if f := fleet.Load(); f != nil && e.MovesLog() {
				f.LookNow(e.Record.Database)
			}
			d.messenger.ended(e)
		},
	}, d.log, d.jobMetrics)
	if err == nil && d.cfg.Logs.Directory != "" {
		p.fleet = logship.NewFleet(logsConfig(d.cfg), spoolConfigOf(d.cfg, d.cfg.Logs.Directory),
			logship.Parts{Store: p.streams, Historian: p.trigger, Bases: p.conductor}, d.log, logship.NewMetrics(d.registry), fileMetrics)
		fleet.Store(p.fleet)
		d.messenger.watchLogs(p)
	}
	return err
}

// logs tells how far the shipping of logs is.
func (p *parts) logs() []logship.Status {
	if p.fleet == nil {
		return nil
	}
	return p.fleet.Status()
}

// logsTrouble says what keeps log backups from being found.
func (p *parts) logsTrouble() string {
	if p.fleet == nil {
		return ""
	}
	trouble, _ := p.fleet.Trouble()
	return trouble
}

// logsNote says why none are found where that is no trouble.
func (p *parts) logsNote() string {
	if p.fleet == nil {
		return ""
	}
	return p.fleet.Note()
}

// ready asks HANA and the store.
func (p *parts) ready(ctx context.Context) error {
	if err := p.conductor.Ready(ctx); err != nil {
		return err
	}
	// A list, unlike a look at one key, tells a missing bucket from an empty one.
	if _, err := p.store.List(ctx, p.sid+"/ready/"); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	return nil
}

// sweep removes what interrupted uploads left in the store, now and daily, and
// soon what this daemon could not remove while the store was away.
func (p *parts) sweep(ctx context.Context, cfg *config.Config, log *zap.Logger) {
	daily, soon := time.NewTicker(sweepPause), time.NewTicker(leftPause)
	defer daily.Stop()
	defer soon.Stop()
	everything := func(ctx context.Context) error { return p.store.Sweep(ctx, p.sid+"/", cfg.Store.LeftoverAge) }
	own := p.store.AbortLeft
	for next := everything; ; {
		round, cancel := context.WithTimeout(ctx, sweepTimeout)
		err := next(round)
		cancel()
		if err != nil && ctx.Err() == nil {
			log.Warn("leftovers of interrupted uploads stay in the store", zap.Error(err))
		}
		select {
		case <-ctx.Done():
			return
		case <-daily.C:
			next = everything
		case <-soon.C:
			next = own
		}
	}
}

// close closes what was opened, the conductor first.
func (p *parts) close() error {
	var errs []error
	if p.conductor != nil {
		p.conductor.Close()
	}
	if p.trigger != nil {
		errs = append(errs, p.trigger.Close())
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	return errors.Join(append(errs, p.store.Close(ctx))...)
}

// newCodec lays the codec around the store. What it refuses is a setting.
func newCodec(store *uploader.Store, encoding codec.Config) (*codec.Store, error) {
	streams, err := codec.New(store, encoding)
	if err != nil {
		return nil, &failure{status: statusUsage, err: fmt.Errorf("configuration, %w", err)}
	}
	return streams, nil
}
