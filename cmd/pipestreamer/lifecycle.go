package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/internal/httpapi"
	"github.com/pipestreamer/pipestreamer/internal/job"
	"github.com/pipestreamer/pipestreamer/internal/statuspage"
	"github.com/pipestreamer/pipestreamer/pkg/uploader"
)

// gate closes for good when the daemon drains, also when it does so before there
// is anybody who takes jobs.
type gate struct {
	log *zap.Logger

	mu     sync.Mutex
	closed time.Time // zero while it is open
	jobs   refuser   // nil before there are any
}

// refuser is a job.Conductor.
type refuser interface{ Refuse() []job.Record }

// open lets jobs come, unless the gate was closed.
func (g *gate) open(jobs refuser) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.jobs = jobs; !g.closed.IsZero() {
		jobs.Refuse()
	}
}

// drain closes the gate and returns the jobs that still run.
func (g *gate) drain() []job.Record {
	g.mu.Lock()
	defer g.mu.Unlock()
	var running []job.Record
	if g.jobs != nil {
		running = g.jobs.Refuse()
	}
	if g.closed.IsZero() {
		g.closed = time.Now().UTC()
		g.log.Info("draining: no new jobs until a restart", zap.Int("running", len(running)))
	}
	return running
}

// since is when the gate was closed, zero while it is open.
func (g *gate) since() time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.closed
}

// counter serves the interface for jobs with one server at a time: with one that
// tells why there are no jobs yet, then with that of the jobs.
type counter struct {
	socket, tcp atomic.Pointer[http.Handler]
}

// current serves with the handler that stands there when a request comes.
func current(handler *atomic.Pointer[http.Handler]) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { (*handler.Load()).ServeHTTP(w, r) })
}

// options are those of every server of the interface for jobs.
func (d *daemon) options() httpapi.Options {
	o := httpapi.Options{
		Drain: d.gate.drain, DrainingSince: d.gate.since, Page: statuspage.Handler(),
		Daemon: httpapi.Daemon{SID: d.cfg.HANA.SID, Version: versionText(), StartedAt: d.startedAt},
	}
	hidden := func(option string) bool { return uploader.Sensitive(d.cfg.Store.Type, option) }
	for _, s := range d.cfg.Shown(hidden) {
		o.Settings = append(o.Settings, httpapi.Setting{Key: s.Key, Value: s.Value, Source: s.Source})
	}
	return o
}

// tellStarting lets the interface for jobs say why there are none yet.
func (d *daemon) tellStarting() {
	reason := func() error {
		patience, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := (*d.ready.Load())(patience); err != nil {
			return err
		}
		return errors.New("starting") // it has become ready meanwhile
	}
	d.staff(httpapi.NewStarting(reason, d.options(), d.log, d.httpMetrics))
}

// takeJobs lets the interface for jobs take them.
func (d *daemon) takeJobs(p *parts) {
	d.gate.open(p.conductor)
	o := d.options()
	o.Logs, o.LogsTrouble, o.Throttle = p.logs, p.logsTrouble, newThrottle(p.store, d.cfg, d.log)
	d.staff(httpapi.New(p.conductor, o, d.log, d.httpMetrics))
}

// staff lets server answer from now on.
func (d *daemon) staff(server *httpapi.Server) {
	socket, tcp := server.Handler(d.porter.guard.Socket()), server.Handler(d.porter.guard.Network())
	d.counter.socket.Store(&socket)
	d.counter.tcp.Store(&tcp)
}

// startup says why HANA may not be started yet.
type startup struct{ step atomic.Pointer[string] }

func (s *startup) at(step string) { s.step.Store(&step) }

// done is the last step.
func (s *startup) done() { s.at("") }

func (s *startup) started() error {
	switch step := s.step.Load(); {
	case step == nil:
		return errors.New("starting")
	case *step != "":
		return fmt.Errorf("starting: %s", *step)
	default:
		return nil
	}
}
