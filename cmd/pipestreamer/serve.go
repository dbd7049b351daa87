package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/pipestreamer/pipestreamer/internal/config"
	"github.com/pipestreamer/pipestreamer/internal/httpapi"
	"github.com/pipestreamer/pipestreamer/internal/job"
)

func (a *app) serveCommand() *cobra.Command {
	var configFile string
	cmd := &cobra.Command{
		Use:   "serve [--config FILE]",
		Short: "Run the daemon beside HANA",
		Long: `Run the daemon beside HANA. SIGTERM refuses new jobs, gives running ones
shutdownGrace to end, then cancels them and cleans up; a second signal ends the
process at once.`,
		Args: cobra.NoArgs,
		RunE: verb(func(cmd *cobra.Command, _ []string) error {
			cfg, err := config.Load(configFile, a.environ, config.Daemon)
			if err != nil {
				return err
			}
			return serve(cmd.Context(), cfg, a.stderr)
		}),
	}
	cmd.Flags().StringVar(&configFile, "config", a.variable(config.ConfigVariable), "configuration file; every key can also be set as PIPESTREAMER_…")
	return cmd
}

// daemon is what serve has built so far.
type daemon struct {
	cfg      *config.Config
	log      *zap.Logger
	registry *prometheus.Registry
	// ready answers /readyz; it changes as the parts come up.
	ready atomic.Pointer[func(context.Context) error]
	// startup answers /startupz.
	startup     startup
	gate        gate
	porter      porter
	counter     counter
	httpMetrics *httpapi.Metrics
	jobMetrics  *job.Metrics
	messenger   *messenger
	problems    *problems
	startedAt   time.Time
}

// serve runs the daemon until ctx ends.
func serve(ctx context.Context, cfg *config.Config, stderr io.Writer) error {
	// A log that nobody reads any more must not end a running backup: without
	// this, writing to a closed standard error kills the process.
	signal.Ignore(syscall.SIGPIPE)
	log, err := newLogger(cfg.Log, stderr)
	if err != nil {
		return err
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(heapLimit(cfg))
	}
	d := &daemon{cfg: cfg, log: log, registry: newRegistry(), gate: gate{log: log}, startedAt: time.Now().UTC()}
	d.problems = newProblems(cfg, log, d.registry)
	d.httpMetrics = httpapi.NewMetrics(d.registry)
	// They are there before the store is open: no alert fires on a series that is not.
	d.jobMetrics = job.NewMetrics(d.registry)
	d.setReady(func(context.Context) error { return errors.New("starting") })
	err = d.run(ctx)
	if err != nil {
		f := classify(ctx, failureOf(err))
		if f.status == statusUsage { // printed, as what is wrong with the file of settings is
			return f
		}
		// The log is where the error's journey ends: beside it on standard error nobody
		// needs it again.
		fields := []zap.Field{zap.Error(err)}
		if f.hint != "" {
			fields = append(fields, zap.String("what_to_do", f.hint))
		}
		log.Error("the daemon ends", fields...)
		f.told = true
		return f
	}
	log.Info("the daemon has ended")
	return nil
}

func (d *daemon) setReady(ready func(context.Context) error) { d.ready.Store(&ready) }

// run keeps metrics and probes up for the whole life of the daemon, also while
// the store cannot be opened yet.
func (d *daemon) run(ctx context.Context) (err error) {
	// Nobody may end the jobs of a process that lives. It comes first because a second
	// daemon finds every address taken, too, and that is not what is wrong.
	lock, err := lockState(d.cfg.StateDirectory)
	if err != nil {
		return fmt.Errorf("stateDirectory: %w", err)
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	listener, err := httpapi.ListenTCP(ctx, d.cfg.Metrics.Listen)
	if err != nil {
		return fmt.Errorf("metrics.listen: %w", err)
	}
	d.log.Info("metrics and probes", zap.Stringer("address", listener.Addr()))
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	group, broken := errgroup.WithContext(serving)
	probes := httpapi.Probes{Started: d.startup.started, Ready: func(ctx context.Context) error { return (*d.ready.Load())(ctx) }}
	ops := httpapi.Ops(d.registry, probes, d.log)
	group.Go(func() error { return httpapi.Serve(broken, listener, ops, d.log) })
	group.Go(func() error { d.problems.watch(broken); return nil })
	// The work ends with ctx, or when the probes cannot be served any more.
	working, cancel := context.WithCancel(ctx)
	context.AfterFunc(broken, cancel)
	err = d.work(working)
	cancel()
	stop()
	return errors.Join(err, group.Wait())
}

// work releases what an earlier process left behind, then serves until ctx ends.
func (d *daemon) work(ctx context.Context) (err error) {
	// HANA waits neither for a store that is away nor for whatever else keeps this
	// daemon from starting.
	d.startup.at("releases the pipes of earlier processes")
	earlier := job.ReleaseEarlier(jobConfig(d.cfg), d.log)
	defer func() { err = errors.Join(err, earlier.Close()) }()
	return d.serveJobs(ctx, earlier)
}

// serveJobs answers at the doors of the interface for jobs until ctx ends. Why
// there are no jobs yet is told there, too.
func (d *daemon) serveJobs(ctx context.Context, earlier *job.Earlier) (err error) {
	d.startup.at("listens for jobs")
	d.porter = d.newPorter()
	if d.messenger, err = d.startMessenger(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.messenger.close()) }() //nolint:contextcheck // closing has its own time, after ctx has ended
	doors, err := d.listen(ctx, d.porter.tls)
	if err != nil {
		return err
	}
	d.tellStarting() //nolint:contextcheck // whoever asks waits for the reason, not the daemon
	d.startup.done()
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	group, broken := errgroup.WithContext(serving)
	group.Go(func() error { return httpapi.Serve(broken, doors.socket, current(&d.counter.socket), d.log) })
	if doors.tcp != nil {
		group.Go(func() error { return httpapi.Serve(broken, doors.tcp, current(&d.counter.tcp), d.log) })
	}
	// The work ends with ctx, or when the doors cannot be served any more.
	working, cancel := context.WithCancel(ctx)
	context.AfterFunc(broken, cancel)
	p, err := d.openStore(working)
	if err == nil && p != nil {
		err = d.runJobs(working, p, earlier, doors)
	}
	cancel()
	stop()
	// Nobody may be served by parts that are closed.
	err = errors.Join(err, group.Wait())
	if p != nil {
		err = errors.Join(err, p.close()) //nolint:contextcheck // closing has its own time, after ctx has ended
	}
	return err
}

// runJobs takes jobs until ctx ends, and waits for them. p stays open.
func (d *daemon) runJobs(ctx context.Context, p *parts, earlier *job.Earlier, doors doors) error {
	d.warnOfOutages(p.store)
	if err := d.plug(p, earlier); err != nil { //nolint:contextcheck // the conductor has a life of its own, which Drain ends
		return err
	}
	if err := checkDirectory(d.cfg.BackupDirectory); err != nil {
		d.log.Warn("backups and restores will fail until the backup directory is mended", zap.Error(err))
	}
	d.takeJobs(p)
	look := httpapi.ShareLook(p.ready, d.log, d.httpMetrics)
	d.setReady(func(ctx context.Context) error {
		if err := checkDirectory(d.cfg.BackupDirectory); err != nil {
			return err
		}
		if err := p.conductor.Refusing(); err != nil {
			return err
		}
		return look(ctx)
	})
	tending, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	group, broken := errgroup.WithContext(tending)
	group.Go(func() error { p.sweep(broken, d.cfg, d.log); return nil })
	group.Go(func() error { p.conductor.Recall(broken); return nil })
	group.Go(func() error { p.conductor.WatchDatabases(broken); return nil })
	if p.fleet != nil {
		group.Go(func() error { return p.fleet.Run(broken) })
	}
	d.log.Info("serving", zap.String("version", versionText()), zap.String("sid", d.cfg.HANA.SID), zap.Strings("addresses", doors.addresses()))
	select {
	case <-ctx.Done():
	case <-broken.Done():
	}
	d.log.Info("shutting down: no new jobs", zap.Duration("grace", d.cfg.ShutdownGrace))
	patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), d.cfg.ShutdownGrace)
	defer cancel()
	p.conductor.Drain(patience)
	stop()
	return group.Wait()
}

// checkDirectory refuses a backup directory in which no job can work, as far as
// this container sees it. It may be mounted or mended while the daemon runs.
func checkDirectory(dir string) error {
	info, err := os.Stat(dir)
	path, errLinks := filepath.EvalSymlinks(dir)
	switch {
	case err != nil:
		return fmt.Errorf("backupDirectory: %w", err)
	case errLinks == nil && path != dir:
		return fmt.Errorf("backupDirectory: %s leads through a symbolic link, which is never followed because HANA could lead it elsewhere: name %s", dir, path)
	case !info.IsDir():
		return fmt.Errorf("backupDirectory: %s is not a directory", dir)
	case info.Mode()&os.ModeSticky != 0 && info.Mode()&0o022 != 0:
		return fmt.Errorf("backupDirectory: %s is sticky (%s), so the kernel refuses HANA to open our pipes (fs.protected_fifos, proc(5)): use mode 2770", dir, info.Mode())
	}
	return nil
}

// doors are the listeners of the interface for jobs; tcp may be nil.
type doors struct{ socket, tcp net.Listener }

func (d *daemon) listen(ctx context.Context, secured *tls.Config) (doors, error) {
	socket, err := httpapi.ListenUnix(ctx, d.cfg.HTTP.Socket)
	if err != nil {
		return doors{}, fmt.Errorf("http.socket: %w", err)
	}
	if d.cfg.HTTP.Listen == "" {
		return doors{socket: socket}, nil
	}
	tcp, err := httpapi.ListenTCP(ctx, d.cfg.HTTP.Listen)
	if err != nil {
		return doors{}, errors.Join(fmt.Errorf("http.listen: %w", err), socket.Close())
	}
	if secured != nil {
		tcp = tls.NewListener(tcp, secured)
	}
	return doors{socket: socket, tcp: tcp}, nil
}

func (o doors) addresses() []string {
	list := []string{o.socket.Addr().String()}
	if o.tcp != nil {
		list = append(list, o.tcp.Addr().String())
	}
	return list
}
