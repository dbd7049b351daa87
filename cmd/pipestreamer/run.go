package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pipestreamer/pipestreamer/internal/config"
	"github.com/pipestreamer/pipestreamer/internal/httpapi"
	"github.com/pipestreamer/pipestreamer/internal/job"
)

// The exit statuses.
const (
	statusSuccess  = 0
	statusFailed   = 1
	statusUsage    = 2
	statusFindings = 3
	statusLost     = 4
	statusCanceled = 130
)

// failure is an error that has its exit status.
type failure struct {
	status int
	err    error
	hint   string
	// told says that standard error has it already.
	told bool
	// record is of the job that ended badly, if it was one.
	record *job.Record
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// app is what every verb needs.
type app struct {
	environ        []string
	stdout, stderr io.Writer
	output         string // text or json
	socket         string
	url            string
	tokenFile      string
	caFile         string
	certFile       string
	keyFile        string
}

// run executes one command line and returns the exit status.
func run(ctx context.Context, args, environ []string, stdout, stderr io.Writer) int {
	a := &app{environ: environ, stdout: stdout, stderr: stderr}
	root := a.root() //nolint:contextcheck // cobra hands the context to the verbs
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return statusSuccess
	}
	f := classify(ctx, err)
	a.printError(f)
	return f.status
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "pipestreamer",
		Short: "Stream SAP HANA backups to object storage and back",
		Long: `Stream SAP HANA backups to object storage and back, without a copy on disk.

Exit status: 0 success, 1 failed, 2 usage or configuration, 3 findings,
4 lost (HANA's catalog has a backup that the store does not have), 130 cancelled.`,
		Version:       versionText(),
		SilenceErrors: true, SilenceUsage: true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			a.preferSocket(cmd)
			if a.output != "text" && a.output != "json" {
				return fmt.Errorf("--output %q: expected text or json", a.output)
			}
			return nil
		},
	}
	root.SetVersionTemplate("pipestreamer {{.Version}} " + runtime.Version() + "\n")
	socket := a.variable("PIPESTREAMER_HTTP_SOCKET")
	if socket == "" {
		socket = "/var/lib/pipestreamer/pipestreamer.sock"
	}
	flags := root.PersistentFlags()
	flags.StringVarP(&a.output, "output", "o", "text", "text or json")
	flags.StringVar(&a.socket, "socket", socket, "Unix socket of the daemon")
	flags.StringVar(&a.url, "url", a.variable(config.URLVariable), "address of the daemon (https://host:port) instead of its socket")
	flags.StringVar(&a.tokenFile, "token-file", a.variable(config.TokenFileVariable), "file with the bearer token for --url; read for each request")
	flags.StringVar(&a.caFile, "ca-file", a.variable(config.CAFileVariable), "PEM file with the authorities of the daemon's certificate; by default those of this machine")
	flags.StringVar(&a.certFile, "cert-file", a.variable(config.CertFileVariable), "PEM file with a client certificate for --url")
	flags.StringVar(&a.keyFile, "key-file", a.variable(config.KeyFileVariable), "PEM file with the key of --cert-file")
	root.AddCommand(a.serveCommand(), a.backupCommand(), a.restoreCommand(), a.listCommand(), a.showCommand(), a.cancelCommand(), a.verifyCommand(), a.probeCommand(), a.bandwidthCommand(), a.drainCommand(), a.doctorCommand(), a.versionCommand())
	root.CompletionOptions.HiddenDefaultCmd = true
	return root
}

// variable gives an environment variable.
func (a *app) variable(name string) string {
	value := ""
	for _, entry := range a.environ {
		if text, found := strings.CutPrefix(entry, name+"="); found {
			value = text
		}
	}
	return value
}

// verb marks errors of the work itself as failures; what cobra refuses before
// stays a usage error.
func verb(work func(cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		err := work(cmd, args)
		if err == nil {
			return nil
		}
		return failureOf(err)
	}
}

func failureOf(err error) *failure {
	if f, is := errors.AsType[*failure](err); is {
		return f
	}
	return &failure{status: statusFailed, err: err}
}

// classify finds the exit status and the advice for an error.
func classify(ctx context.Context, err error) *failure {
	f, is := errors.AsType[*failure](err)
	if !is {
		return &failure{status: statusUsage, err: err, hint: "pipestreamer --help and pipestreamer VERB --help show the usage"}
	}
	if _, refused := errors.AsType[*config.Error](err); refused {
		f.status, f.hint = statusUsage, "give the settings in a file (--config FILE) or as variables; docs/configuration.md lists every setting"
	}
	if field, is := errors.AsType[*job.FieldError](err); is {
		f.status, f.err = statusUsage, field
	}
	if p, is := errors.AsType[*httpapi.Problem](err); is {
		f.hint = cmp.Or(problemHint(p), f.hint)
		if p.Status == http.StatusBadRequest {
			f.status = statusUsage
		}
	}
	if f.status == statusFailed && ctx.Err() != nil {
		f.status = statusCanceled
	}
	return f
}

// problemHint says what to do in words of the command line; the daemon's own
// hints name its HTTP routes.
func problemHint(p *httpapi.Problem) string {
	if p.Type == "" && strings.Contains(p.Detail, "HTTP request to an HTTPS server") { // net/http says so
		return "the daemon speaks https there: --url https://host:port, with --ca-file unless this machine trusts its certificate"
	}
	switch p.Type {
	case httpapi.ProblemBusy:
		if p.JobID != "" {
			return fmt.Sprintf("wait for that job (pipestreamer show %[1]s --follow), or cancel it (pipestreamer cancel %[1]s)", p.JobID)
		}
	case httpapi.ProblemUnknownJob:
		return "pipestreamer list --jobs shows those that are known"
	case httpapi.ProblemUnknownBackup:
		return "pipestreamer list shows those that exist"
	}
	return p.Hint
}

// printError tells on standard error what happened, where, and what to do.
func (a *app) printError(f *failure) {
	if f.told {
		return
	}
	if a.output == "json" {
		a.printErrorJSON(f)
		return
	}
	text := "pipestreamer: " + strings.TrimSpace(f.err.Error()) + "\n"
	switch {
	case f.record != nil: // its record was shown, with cause and hint
		text = "pipestreamer: " + ending(f.record) + "\n"
	case f.hint != "" && !strings.Contains(text, f.hint):
		text += "  what to do: " + f.hint + "\n"
	}
	// Standard error is the last resort; when it fails, the status remains.
	_, _ = io.WriteString(a.stderr, text)
}

// warn tells on standard error what does not end the command.
func (a *app) warn(text string) {
	if a.output == "json" {
		_ = json.NewEncoder(a.stderr).Encode(map[string]string{"warning": text})
		return
	}
	_, _ = fmt.Fprintln(a.stderr, text)
}

func (a *app) printErrorJSON(f *failure) {
	document := struct {
		Error    string           `json:"error"`
		Status   int              `json:"exit_status"`
		Hint     string           `json:"hint,omitempty"`
		Problem  *httpapi.Problem `json:"problem,omitempty"`
		Problems []config.Problem `json:"problems,omitempty"`
		JobID    string           `json:"job_id,omitempty"`
		Code     string           `json:"code,omitempty"`
	}{Error: f.err.Error(), Status: f.status, Hint: f.hint}
	if p, is := errors.AsType[*httpapi.Problem](f.err); is {
		document.Problem = p
	}
	if refused, is := errors.AsType[*config.Error](f.err); is {
		document.Problems = refused.Problems
	}
	if f.record != nil {
		document.JobID = f.record.ID
		if f.record.Error != nil {
			document.Code = f.record.Error.Code
		}
		if f.record.TenantStopped {
			document.Error += "; " + stoppedText(f.record)
		}
	}
	_ = json.NewEncoder(a.stderr).Encode(document)
}
