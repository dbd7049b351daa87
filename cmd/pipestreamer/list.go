package main

import (
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pipestreamer/pipestreamer/internal/httpapi"
	"github.com/pipestreamer/pipestreamer/internal/job"
)

func (a *app) listCommand() *cobra.Command {
	var (
		database string
		jobs     bool
	)
	cmd := &cobra.Command{
		Use:   "list [--database NAME] [--jobs]",
		Short: "List the backups in the store, or the daemon's jobs",
		Args:  cobra.NoArgs,
		RunE: verb(func(cmd *cobra.Command, _ []string) error {
			client, err := a.connect()
			if err != nil {
				return err
			}
			defer client.Close()
			if jobs {
				records, err := client.Jobs(cmd.Context())
				if err != nil {
					return a.unreachable(cmd.Context(), err)
				}
				return a.print(records, func() error { return a.tableOf("jobs", database, jobRows(records, database)) })
			}
			backups, err := client.Backups(cmd.Context(), database)
			if err != nil {
				return a.unreachable(cmd.Context(), err)
			}
			return a.print(backups, func() error { return a.tableOf("backups", database, backupRows(backups)) })
		}),
	}
	cmd.Flags().StringVar(&database, "database", "", "only of this database")
	cmd.Flags().BoolVar(&jobs, "jobs", false, "list jobs instead of backups")
	return cmd
}

// tableOf writes rows, and says so when there are none below the head.
func (a *app) tableOf(things, database string, rows [][]string) error {
	if len(rows) > 1 {
		return a.table(rows)
	}
	text := "no " + things
	if database != "" {
		text += " of " + database
	}
	a.tell(text)
	return nil
}

func backupRows(backups []httpapi.Summary) [][]string {
	rows := [][]string{{"BACKUP ID", "DATABASE", "KIND", "FINISHED", "STREAMS", "SIZE"}}
	for i := range backups {
		b := &backups[i]
		rows = append(rows, []string{strconv.FormatInt(b.BackupID, 10), b.Database, string(b.Kind), timeText(b.FinishedAt), strconv.Itoa(b.Streams), byteText(b.Bytes)})
	}
	return rows
}

func jobRows(records []job.Record, database string) [][]string {
	rows := [][]string{{"JOB", "ACTION", "DATABASE", "STATE", "STAGE", "STARTED", "TOOK"}}
	for i := range records {
		r := &records[i]
		if database != "" && !strings.EqualFold(r.Database, database) {
			continue
		}
		took := ""
		if !r.FinishedAt.IsZero() {
			took = r.FinishedAt.Sub(r.StartedAt).Round(time.Second).String()
		}
		rows = append(rows, []string{r.ID, string(r.Action), r.Database, string(r.State), string(r.Stage), timeText(r.StartedAt), took})
	}
	return rows
}
