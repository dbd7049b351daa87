package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/pipestreamer/pipestreamer/internal/httpapi"
	"github.com/pipestreamer/pipestreamer/internal/job"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

func (a *app) backupCommand() *cobra.Command {
	var (
		request job.BackupRequest
		kind    string
		flags   jobFlags
	)
	cmd := &cobra.Command{
		Use:   "backup --database NAME",
		Short: "Back up a database and wait for the verdict",
		Long: `Back up a database and wait for the verdict. Ctrl-C cancels the backup, and so
does SIGTERM. With --keep-running they only end the waiting, with exit status 130.`,
		Args: cobra.NoArgs,
		RunE: verb(func(cmd *cobra.Command, _ []string) error {
			request.Kind = backup.Kind(kind)
			return a.runJob(cmd.Context(), flags, func(ctx context.Context, client *httpapi.Client, key string) (job.Record, error) {
				return client.StartBackup(ctx, request, key)
			})
		}),
	}
	cmd.Flags().StringVar(&request.Database, "database", "", "SYSTEMDB or a tenant")
	cmd.Flags().StringVar(&kind, "kind", string(backup.KindComplete), "complete, differential or incremental")
	cmd.Flags().StringVar(&request.Prefix, "prefix", "", "prefix of the files' names; by default made from database and time")
	flags.add(cmd)
	require(cmd, "database")
	return cmd
}
