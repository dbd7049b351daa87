package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/pipestreamer/pipestreamer/internal/httpapi"
	"github.com/pipestreamer/pipestreamer/internal/job"
)

func (a *app) showCommand() *cobra.Command {
	var (
		database, id string
		follow       bool
	)
	cmd := &cobra.Command{
		Use:   "show JOB [--follow] | show --database NAME --backup ID|latest",
		Short: "Show a job's record or a backup's manifest",
		Long: `Show a job's record or a backup's manifest. With --follow, wait for the end of
the job: the exit status is then the job's. Ctrl-C leaves the job alone.`,
		Args: cobra.MaximumNArgs(1),
		RunE: verb(func(cmd *cobra.Command, args []string) error {
			if (len(args) == 1) == (id != "") || (id != "") != (database != "") || follow && id != "" {
				return &failure{status: statusUsage, err: errors.New("expected either a job id, or --database and --backup")}
			}
			client, err := a.connect()
			if err != nil {
				return err
			}
			defer client.Close()
			if len(args) == 1 {
				return a.showJob(cmd.Context(), client, args[0], follow)
			}
			m, err := client.Backup(cmd.Context(), database, id)
			if err != nil {
				return a.unreachable(cmd.Context(), err)
			}
			return a.print(m, func() error { return a.printManifest(m) })
		}),
	}
	cmd.Flags().StringVar(&database, "database", "", "database of the backup")
	cmd.Flags().StringVar(&id, "backup", "", "backup id, or latest")
	cmd.Flags().BoolVar(&follow, "follow", false, "wait for the end of the job")
	return cmd
}

func (a *app) showJob(ctx context.Context, client *httpapi.Client, id string, follow bool) error {
	record, err := client.Job(ctx, id)
	if err != nil {
		return a.unreachable(ctx, err)
	}
	if !follow {
		return a.print(record, func() error { return a.printJob(record, "") })
	}
	return a.watch(client, record, "", func(show func(job.Record)) (job.Record, error) { return look(ctx, client, id, show) })
}

func (a *app) cancelCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "cancel JOB",
		Short: "Ask a running job to end",
		Long:  "Ask a running job to end. It cleans up first; show JOB --follow waits for that.",
		Args:  cobra.ExactArgs(1),
		RunE: verb(func(cmd *cobra.Command, args []string) error {
			client, err := a.connect()
			if err != nil {
				return err
			}
			defer client.Close()
			if err := client.Cancel(cmd.Context(), args[0]); err != nil {
				return a.unreachable(cmd.Context(), err)
			}
			record, err := client.Job(cmd.Context(), args[0])
			if err != nil {
				return a.unreachable(cmd.Context(), err)
			}
			return a.print(record, func() error {
				return a.println("asked " + record.ID + " to end; pipestreamer show " + record.ID + " --follow waits for it")
			})
		}),
	}
}
