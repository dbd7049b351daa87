package main

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/pipestreamer/pipestreamer/internal/config"
	"github.com/pipestreamer/pipestreamer/internal/httpapi"
	"github.com/pipestreamer/pipestreamer/internal/job"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

func (a *app) probeCommand() *cobra.Command {
	request := job.ProbeRequest{MaxSize: job.DefaultProbeSize}
	var flags jobFlags
	cmd := &cobra.Command{
		Use:   "probe --database NAME",
		Short: "Find out what this HANA does with pipes",
		Long: `Find out what this HANA does with pipes: make one complete backup, through pipes
where HANA uses them and through files where it does not, tell what was seen and
which door suits this HANA. The backup is a real one and is kept; deltas will
build on it. Probe a small database, usually SYSTEMDB.`,
		Args: cobra.NoArgs,
		RunE: verb(func(cmd *cobra.Command, _ []string) error {
			return a.runJob(cmd.Context(), flags, func(ctx context.Context, client *httpapi.Client, key string) (job.Record, error) {
				return client.StartProbe(ctx, request, key)
			})
		}),
	}
	cmd.Flags().StringVar(&request.Database, "database", "", "SYSTEMDB or a tenant")
	cmd.Flags().Var((*sizeFlag)(&request.MaxSize), "max-size", "do not probe a database that HANA estimates to be larger")
	flags.add(cmd)
	require(cmd, "database")
	return cmd
}

// sizeFlag is a number of bytes as the configuration writes it.
type sizeFlag int64

// String implements pflag.Value.
func (f *sizeFlag) String() string { return config.Size(*f).String() }

// Set implements pflag.Value.
func (f *sizeFlag) Set(text string) error {
	size, err := config.ParseSize(text)
	*f = sizeFlag(size)
	return err
}

// Type implements pflag.Value.
func (f *sizeFlag) Type() string { return "size" }

// printProbe writes what a probe has seen; of a job that is none, nothing.
func (a *app) printProbe(p *job.ProbeReport) error {
	if p == nil {
		return nil
	}
	for i := range p.Attempts {
		if err := a.printAttempt(i, &p.Attempts[i]); err != nil {
			return err
		}
	}
	rows := [][]string{{""}, {"HANA", p.HANAVersion}}
	if p.Recommendation != "" {
		rows = append(rows, []string{"recommended", "door: " + string(p.Recommendation)}, []string{"kept", "the backup that was made is a real one: it stays in the store, and deltas build on it"})
	}
	return a.table(append(rows, []string{"because", p.Reason}))
}

func (a *app) printAttempt(i int, attempt *job.ProbeAttempt) error {
	offered := map[job.Door]string{job.DoorAuto: "pipes, with a look at files beside them", job.DoorFIFO: "pipes", job.DoorSpool: "no pipes, files only"}[attempt.Door]
	text := fmt.Sprintf("\nAttempt %d: %s. It %s after %s.", i+1, offered, ended(attempt.State), secondsText(attempt.TotalSeconds))
	if attempt.FirstByteSeconds > 0 {
		text += fmt.Sprintf(" First byte in a pipe after %s, HANA's answer %s after the last.", secondsText(attempt.FirstByteSeconds), secondsText(attempt.AnswerSeconds))
	}
	if attempt.Error != "" {
		text += "\n" + attempt.Error
	}
	if attempt.NamesUnseen != "" {
		text += "\nWhich names HANA gave to files was not seen: " + attempt.NamesUnseen
	}
	if err := a.println(text); err != nil {
		return err
	}
	rows := [][]string{{"STREAM", "SERVICE", "OPENED", "CAME THROUGH", "O_DIRECT REFUSED", "EMPTY OPENINGS", "RENAMED", "BYTES", "CATALOG", "HEADER"}}
	for i := range attempt.Streams {
		rows = append(rows, probeRow(&attempt.Streams[i]))
	}
	return a.table(rows)
}

func ended(state job.State) string {
	switch state {
	case job.StateLost, job.StateCanceled:
		return "was " + string(state)
	default:
		return string(state)
	}
}

// probeRow is one line of the table. What was not seen is a dash.
func probeRow(s *job.ProbeStream) []string {
	opened := map[string]string{job.NameHidden: ".name", job.NameFinal: "name", "": "-"}[s.Opened]
	through := map[string]string{backup.DoorFIFO: "pipe", backup.DoorSpool: "file", "": "-"}[s.Door]
	if s.Bypass != "" {
		through += ", past the pipe"
	}
	if s.Extra {
		through += ", not announced"
	}
	catalog := "-"
	if s.CatalogBytes != nil {
		catalog = "same"
		if *s.CatalogBytes != s.Bytes {
			catalog = strconv.FormatInt(*s.CatalogBytes, 10)
		}
	}
	header := "as expected"
	switch {
	case s.Door == "":
		header = "-"
	case s.Header != "":
		header = s.Header
	}
	return []string{
		s.String(), s.Service, opened, through, strconv.Itoa(s.DirectOpens), strconv.Itoa(s.EmptyOpens),
		map[bool]string{true: "yes", false: "no"}[s.Renamed], strconv.FormatInt(s.Bytes, 10), catalog, header,
	}
}
