package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/pipestreamer/pipestreamer/internal/httpapi"
	"github.com/pipestreamer/pipestreamer/internal/job"
)

const (
	// cancelTimeout bounds the request that cancels a job.
	cancelTimeout = 15 * time.Second
	// cleanTimeout bounds the wait for a cancelled job to clean up.
	cleanTimeout = 2 * time.Minute
)

// connect returns a client of the daemon that the flags name.
func (a *app) connect() (*httpapi.Client, error) {
	options := httpapi.ClientOptions{Socket: a.socket, URL: a.url}
	if a.tokenFile != "" {
		options.Token = httpapi.Token(tokenIn(a.tokenFile))
		if _, err := options.Token(); err != nil {
			return nil, &failure{status: statusUsage, err: fmt.Errorf("--token-file: %w", err)}
		}
	}
	var err error
	if options.TLS, err = a.tlsOfClient(); err != nil {
		return nil, &failure{status: statusUsage, err: err}
	}
	client, err := httpapi.NewClient(options)
	if err != nil {
		return nil, &failure{status: statusUsage, err: err}
	}
	return client, nil
}

// jobFlags are the flags of every verb that starts a job.
type jobFlags struct {
	detach bool
	// keep leaves the job alone when this command is interrupted.
	keep bool
	key  string
	// note is shown with the record.
	note string
}

func (f *jobFlags) add(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.detach, "detach", false, "return at once with the job id")
	cmd.Flags().BoolVar(&f.keep, "keep-running", false, "interrupted (Ctrl-C, SIGTERM), leave the job running instead of cancelling it")
	cmd.MarkFlagsMutuallyExclusive("detach", "keep-running")
	cmd.Flags().StringVar(&f.key, "idempotency-key", "", "a repeated request with the same key starts nothing new, so it is sent again while the daemon is away or takes none")
}

// start is one way of starting a job.
type start func(ctx context.Context, client *httpapi.Client, key string) (job.Record, error)

// runJob starts a job, follows it, and turns its end into an exit status.
func (a *app) runJob(ctx context.Context, flags jobFlags, begin start) error {
	client, err := a.connect()
	if err != nil {
		return err
	}
	defer client.Close()
	client.OnLost(func(err error, until time.Time) {
		a.warn(fmt.Sprintf("the daemon has not taken the request (%v), trying again until %s", err, until.Format(time.TimeOnly)))
	})
	record, err := begin(ctx, client, flags.key)
	if err != nil {
		return a.unsure(ctx, err)
	}
	if flags.detach {
		return a.print(record, func() error { return a.println(record.ID) })
	}
	follow := a.follow
	if flags.keep {
		follow = look
	}
	return a.watch(client, record, flags.note, func(show func(job.Record)) (job.Record, error) { return follow(ctx, client, record.ID, show) })
}

// unsure says of a request that was interrupted before its answer that it may have
// started a job.
func (a *app) unsure(ctx context.Context, err error) error {
	if _, answered := errors.AsType[*httpapi.Problem](err); answered || ctx.Err() == nil {
		return a.unreachable(ctx, err)
	}
	return &failure{
		status: statusCanceled, err: fmt.Errorf("interrupted before the daemon had answered: %w", err),
		hint: "the job may run nevertheless: pipestreamer list --jobs",
	}
}

// look follows a job to its end and leaves it alone when ctx ends before.
func look(ctx context.Context, client *httpapi.Client, id string, show func(job.Record)) (job.Record, error) {
	last, err := client.Follow(ctx, id, show)
	if err != nil && ctx.Err() != nil {
		err = &failure{
			status: statusCanceled, err: fmt.Errorf("no longer following job %s", id),
			hint: fmt.Sprintf("the job goes on; to look at it: pipestreamer show %[1]s --follow; to end it: pipestreamer cancel %[1]s", id),
		}
	}
	return last, err
}

// watch shows a job while follow follows it, and turns its end into an exit
// status.
func (a *app) watch(client *httpapi.Client, record job.Record, note string, follow func(show func(job.Record)) (job.Record, error)) error {
	progress := a.newProgress(record)
	client.OnLost(progress.lost)
	last, err := follow(progress.show)
	progress.end()
	if err != nil {
		if _, is := errors.AsType[*failure](err); is {
			return err
		}
		if _, answered := errors.AsType[*httpapi.Problem](err); answered {
			return err
		}
		return &failure{status: statusFailed, err: err, hint: "start the daemon, then: pipestreamer show " + record.ID}
	}
	if err := a.print(last, func() error { return a.printJob(last, note) }); err != nil {
		return err
	}
	return outcome(last)
}

// follow follows a job to its end. When ctx ends before, it asks the daemon to
// cancel the job and waits for its clean-up.
func (a *app) follow(ctx context.Context, client *httpapi.Client, id string, show func(job.Record)) (job.Record, error) {
	record, err := client.Follow(ctx, id, show)
	if err == nil || ctx.Err() == nil {
		record.ID = id
		return record, err
	}
	after := context.WithoutCancel(ctx)
	ask, cancel := context.WithTimeout(after, cancelTimeout)
	defer cancel()
	err = client.Cancel(ask, id)
	if p, is := errors.AsType[*httpapi.Problem](err); err != nil && (!is || p.Type != httpapi.ProblemFinished) {
		return job.Record{ID: id}, fmt.Errorf("cancel job %s: %w", id, err)
	}
	clean, cancel := context.WithTimeout(after, cleanTimeout)
	defer cancel()
	record, err = client.Follow(clean, id, show)
	record.ID = id
	if errors.Is(err, context.DeadlineExceeded) && clean.Err() != nil {
		err = &failure{
			status: statusCanceled, err: fmt.Errorf("job %s was asked to end and is still cleaning up after %s", id, cleanTimeout),
			hint: "pipestreamer show " + id + " --follow",
		}
	}
	return record, err
}

// outcome is the error of a job that did not succeed.
func outcome(r job.Record) error {
	status := statusFailed
	switch {
	case r.State == job.StateSucceeded:
		return nil
	case r.State == job.StateCanceled:
		status = statusCanceled
	case r.State == job.StateLost:
		status = statusLost
	case len(r.Findings) > 0:
		status = statusFindings
	}
	f := &failure{status: status, err: fmt.Errorf("%s of %s: %s", r.Action, r.Database, r.State), record: &r}
	if r.Error != nil {
		f.err = fmt.Errorf("%w: %w", f.err, r.Error)
		f.hint = r.Error.Hint
	}
	return f
}

// unreachable adds where the daemon was looked for to an error that is not an
// answer of it.
func (a *app) unreachable(ctx context.Context, err error) error {
	if _, answered := errors.AsType[*httpapi.Problem](err); answered {
		return err
	}
	if ctx.Err() != nil {
		return err // whoever ended this command knows why
	}
	place := "socket " + a.socket
	if a.url != "" {
		place = a.url
	}
	if hint := hintOfTLS(a.url, err); hint != "" {
		return &failure{status: statusFailed, err: err, hint: hint}
	}
	return &failure{status: statusFailed, err: err, hint: "check that pipestreamer serve runs and listens on " + place + " (--socket, --url)"}
}

// terminal reports whether standard error is a terminal, and its file.
func (a *app) terminal() bool {
	file, is := a.stderr.(*os.File)
	return is && term.IsTerminal(int(file.Fd()))
}

// require makes flags required. Errors of PreRunE are usage errors.
func require(cmd *cobra.Command, names ...string) {
	cmd.PreRunE = func(cmd *cobra.Command, _ []string) error {
		for _, name := range names {
			if cmd.Flag(name).Value.String() == "" {
				return fmt.Errorf("--%s is required: %s", name, cmd.Flag(name).Usage)
			}
		}
		return nil
	}
}
