package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/internal/config"
	"github.com/pipestreamer/pipestreamer/internal/job"
	"github.com/pipestreamer/pipestreamer/internal/notify"
	"github.com/pipestreamer/pipestreamer/internal/trace"
)

// logsLook is the time between two looks at how shipping logs is.
const logsLook = 30 * time.Second

// messenger tells others of jobs; the zero value tells nobody.
type messenger struct {
	notifier *notify.Notifier
	tracer   *trace.Tracer // nil without
	running  sync.WaitGroup
	life     context.Context //nolint:containedctx // it is the life of the messenger, ended by close
	end      context.CancelFunc
}

// startMessenger starts what d is configured to tell of its jobs.
func (d *daemon) startMessenger(ctx context.Context) (*messenger, error) {
	n := &d.cfg.Notify
	metrics := notify.NewMetrics(d.registry)
	tracer := d.startTracer(ctx)
	if n.URLFile == "" {
		return &messenger{tracer: tracer}, nil
	}
	notifier, err := notify.New(notifyConfig(d.cfg), d.log, metrics)
	if err != nil {
		return nil, errors.Join(&failure{status: statusUsage, err: fmt.Errorf("configuration, %w", err)}, closeTracer(tracer)) //nolint:contextcheck // closing has its own time
	}
	m := &messenger{notifier: notifier, tracer: tracer}
	m.life, m.end = context.WithCancel(context.Background())
	m.running.Go(func() { notifier.Run(m.life) })
	d.log.Info("the ends of jobs are told to a webhook", zap.Strings("on", n.On), zap.Bool("signed", n.SecretFile != ""))
	return m, nil
}

func notifyConfig(c *config.Config) notify.Config {
	n := &c.Notify
	return notify.Config{
		SID: c.HANA.SID, Directory: filepath.Join(c.StateDirectory, "notifications"), On: n.On, CAFile: n.CAFile, TemplateFile: n.Template,
		ReadURL: secretReader(n.URLFile), ReadSecret: secretReader(n.SecretFile),
	}
}

// secretReader reads a file at each call; there is nothing in none.
func secretReader(file string) func() (string, error) {
	return func() (string, error) {
		if file == "" {
			return "", nil
		}
		secret, err := config.ReadSecret(file)
		return secret.Reveal(), err
	}
}

// watchLogs tells of the logs of p from now on.
func (m *messenger) watchLogs(p *parts) {
	if m.notifier != nil && p.fleet != nil {
		m.running.Go(func() { m.notifier.Watch(m.life, logsLook, p.logTroubles) })
	}
}

// unfoundPatience is for how long log backups may not be found before that is told:
// at the first start of a system HANA needs minutes before it can say that it has
// written none yet.
const unfoundPatience = 10 * time.Minute

// logTroubles says what is wrong with the logs of each database, and of no database
// (the empty name) what keeps logs from being found. It does not name those of which
// nothing wrong is known yet, after a start; of the troubled ones it names those, too,
// that have ended with their database.
func (p *parts) logTroubles(troubled []string) map[string]string {
	troubles := make(map[string]string)
	if trouble, since := p.fleet.Trouble(); trouble != "" && time.Since(since) >= unfoundPatience {
		troubles[""] = "log backups cannot be found: " + trouble
	}
	for _, database := range troubled {
		if p.fleet.Absent(database) {
			troubles[database] = ""
		}
	}
	for _, status := range p.logs() { //nolint:gocritic // seldom called
		if text := troubleText(&status); text != "" || status.Judged {
			troubles[status.Database] = text
		}
	}
	return troubles
}

// close sends what is left, for a while.
func (m *messenger) close() error {
	if m.notifier != nil {
		m.end()
		m.running.Wait()
	}
	return closeTracer(m.tracer)
}

// ended tells of a job. It does not block.
func (m *messenger) ended(e job.Ending) {
	if m.notifier != nil {
		m.notifier.Tell(eventOf(e))
	}
	m.traced(&e.Record)
}

// eventOf is what a webhook is told of a job.
func eventOf(e job.Ending) notify.Event {
	r := &e.Record
	types := map[job.State]string{
		job.StateSucceeded: notify.JobSucceeded, job.StateFailed: notify.JobFailed, job.StateCanceled: notify.JobCanceled, job.StateLost: notify.JobLost,
	}
	event := notify.Event{Type: types[r.State], Timestamp: r.FinishedAt, Data: notify.Data{
		Database: r.Database, JobID: r.ID, Action: string(r.Action), Kind: string(r.Kind), State: string(r.State), BackupID: r.BackupID,
		Seconds: r.FinishedAt.Sub(r.StartedAt).Seconds(),
	}}
	if e.Recovered {
		event.Type = notify.JobRecovered
	}
	for i := range r.Streams {
		event.Data.Bytes += r.Streams[i].Bytes
	}
	if r.Error != nil {
		event.Data.Code, event.Data.HANACode, event.Data.Message, event.Data.Hint = r.Error.Code, r.Error.HANACode, r.Error.Error(), r.Error.Hint
	}
	return event
}
