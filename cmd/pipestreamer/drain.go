package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pipestreamer/pipestreamer/internal/httpapi"
	"github.com/pipestreamer/pipestreamer/internal/job"
)

func (a *app) drainCommand() *cobra.Command {
	var (
		timeout time.Duration
		abandon bool
	)
	cmd := &cobra.Command{
		Use:   "drain [--timeout 10m] [--cancel]",
		Short: "Take no new jobs, and wait for the running ones",
		Long: `Take no new jobs until the daemon is restarted, and wait for the running ones:
what the preStop hook of the sidecar calls. Log backups are shipped on. With
--cancel, jobs that still run after --timeout are cancelled and waited for.

Exit status 0 when no job runs any more, however the last ones ended or whether
the next daemon has to find that out, and 1 when some still do or the daemon
cannot be reached.`,
		Args: cobra.NoArgs,
		RunE: verb(func(cmd *cobra.Command, _ []string) error {
			if timeout < 0 {
				return &failure{status: statusUsage, err: fmt.Errorf("--timeout %s: expected 0s or more", timeout)}
			}
			client, err := a.connect()
			if err != nil {
				return err
			}
			defer client.Close()
			d := drainage{client: client}
			if err := d.wait(cmd.Context(), timeout); err != nil {
				return a.unreachable(cmd.Context(), err)
			}
			if abandon && d.running() > 0 {
				if err := d.cancel(cmd.Context()); err != nil {
					return err
				}
			}
			return a.printDrainage(&d, timeout)
		}),
	}
	cmd.Flags().DurationVar(&timeout, "timeout", 10*time.Minute, "how long to wait for running jobs; 0s does not wait")
	cmd.Flags().BoolVar(&abandon, "cancel", false, "then cancel those that still run")
	return cmd
}

const (
	// drainPause is the time between two looks at what still runs.
	drainPause = 500 * time.Millisecond
	// drainPatience is how long a daemon that was reached may be away: it may be
	// started again, and has to be told then.
	drainPatience = 15 * time.Second
)

// drainage is a daemon that drains, and the jobs that were seen to run on it.
type drainage struct {
	client *httpapi.Client
	jobs   []job.Record
	// seen is when the daemon answered last.
	seen time.Time
}

// wait waits until no job runs or the time is over, which is no error.
func (d *drainage) wait(ctx context.Context, timeout time.Duration) error {
	for end := time.Now().Add(timeout); ; {
		err := d.ask(ctx)
		p, refused := errors.AsType[*httpapi.Problem](err)
		refused = refused && p.Type != httpapi.ProblemStarting // it was started anew
		switch {
		case ctx.Err() != nil:
			return &failure{status: statusCanceled, err: errors.New("no longer waiting"), hint: "new jobs stay refused until the daemon is restarted"}
		case err == nil && d.running() == 0:
			return nil
		case err == nil:
			d.seen = time.Now()
		case refused || time.Since(d.seen) > drainPatience:
			return err
		}
		pause := time.NewTimer(min(drainPause, time.Until(end)))
		select {
		case <-ctx.Done():
		case <-pause.C:
		}
		pause.Stop()
		if !time.Now().Before(end) {
			return nil
		}
	}
}

// tell asks the daemon to drain unless it does already, and returns what runs then.
// One that was started anew knows nothing of it; one that knows is not asked again,
// because each time leaves a line in the audit log.
func (d *drainage) tell(ctx context.Context) ([]job.Record, error) {
	if !d.seen.IsZero() {
		daemon, err := d.client.Daemon(ctx)
		if err != nil || !daemon.DrainingSince.IsZero() {
			return nil, err
		}
	}
	return d.client.Drain(ctx)
}

// ask sees to it that the daemon drains, and asks what became of the jobs.
func (d *drainage) ask(ctx context.Context) error {
	running, err := d.tell(ctx)
	if err != nil {
		return err
	}
	for i := range d.jobs {
		if d.jobs[i].State.Terminal() {
			continue
		}
		record, err := d.client.Job(ctx, d.jobs[i].ID)
		if err != nil {
			return err
		}
		d.jobs[i] = record
	}
	for i := range running {
		if !slices.ContainsFunc(d.jobs, func(known job.Record) bool { return known.ID == running[i].ID }) {
			d.jobs = append(d.jobs, running[i])
		}
	}
	return nil
}

// cancel cancels the jobs that still run and waits for their clean-up.
func (d *drainage) cancel(ctx context.Context) error {
	for i := range d.jobs {
		if idle(&d.jobs[i]) {
			continue
		}
		err := d.client.Cancel(ctx, d.jobs[i].ID)
		if p, is := errors.AsType[*httpapi.Problem](err); err != nil && (!is || p.Type != httpapi.ProblemFinished) {
			return fmt.Errorf("cancel job %s: %w", d.jobs[i].ID, err)
		}
	}
	return d.wait(ctx, cleanTimeout)
}

// running counts the jobs that still run.
func (d *drainage) running() int {
	n := 0
	for i := range d.jobs {
		if !idle(&d.jobs[i]) {
			n++
		}
	}
	return n
}

// left names the jobs that still run.
func (d *drainage) left() string {
	var names []string
	for i := range d.jobs {
		if !idle(&d.jobs[i]) {
			names = append(names, describe(&d.jobs[i]))
		}
	}
	return strings.Join(names, ", ")
}

// idle says whether the daemon does no more for a job.
func idle(r *job.Record) bool { return r.State.Terminal() || r.Suspended }

func describe(r *job.Record) string {
	return fmt.Sprintf("the %s of %s (job %s)", r.Action, r.Database, r.ID)
}

// drainResult is what drain prints as JSON.
type drainResult struct {
	// Drained says that no job runs any more.
	Drained bool         `json:"drained"`
	Jobs    []job.Record `json:"jobs"`
}

func (a *app) printDrainage(d *drainage, timeout time.Duration) error {
	result := drainResult{Drained: d.running() == 0, Jobs: slices.Concat([]job.Record{}, d.jobs)}
	err := a.print(result, func() error {
		for i := range d.jobs {
			state := string(d.jobs[i].State)
			if d.jobs[i].Suspended {
				state = "left to the next daemon"
			}
			if err := a.println(describe(&d.jobs[i]) + ": " + state); err != nil {
				return err
			}
		}
		if !result.Drained {
			return nil // the error says so
		}
		return a.println("no job runs, and none is taken until the daemon is restarted")
	})
	if err != nil || result.Drained {
		return err
	}
	return &failure{
		status: statusFailed, err: fmt.Errorf("after %s still running: %s", timeout, d.left()),
		hint: "new jobs stay refused until the daemon is restarted; what runs is cancelled by pipestreamer cancel JOB, by drain --cancel, and shutdownGrace after SIGTERM",
	}
}
