package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/pipestreamer/pipestreamer/internal/httpapi"
	"github.com/pipestreamer/pipestreamer/internal/job"
)

func (a *app) restoreCommand() *cobra.Command {
	var (
		request    job.RestoreRequest
		flags      jobFlags
		dir        string
		configFile string
	)
	cmd := &cobra.Command{
		Use:   "restore --database NAME --backup ID|latest [--to-dir DIR --config FILE]",
		Short: "Restore a database, or write a backup as plain files",
		Long: `Restore a database from the store through the daemon.

A tenant is stopped, its data is REPLACED by that of the backup, and it is
started again; what was written since the backup is gone. If the restore fails
or is canceled (Ctrl-C) on the way, the tenant stays stopped and is not usable
until a restore succeeds. For SYSTEMDB the command to run is printed, and the
streams are served until it is done.

With --to-dir the backup is read from the store without a daemon and without
HANA, and written as plain files under HANA's own names. Existing files are
never overwritten.`,
		Args: cobra.NoArgs,
		RunE: verb(func(cmd *cobra.Command, _ []string) error {
			if dir != "" {
				return a.writeFiles(cmd.Context(), configFile, request, dir)
			}
			if cmd.Flags().Changed("config") {
				return &failure{status: statusUsage, err: errors.New("--config: only used with --to-dir; the daemon has its own")}
			}
			return a.runJob(cmd.Context(), flags, func(ctx context.Context, client *httpapi.Client, key string) (job.Record, error) {
				return client.StartRestore(ctx, request, key)
			})
		}),
	}
	cmd.Flags().StringVar(&request.Database, "database", "", "SYSTEMDB or a tenant")
	cmd.Flags().StringVar(&request.Backup, "backup", "", "backup id, or latest")
	cmd.Flags().StringVar(&dir, "to-dir", "", "write plain files into this directory instead")
	cmd.Flags().StringVar(&configFile, "config", a.variable("PIPESTREAMER_CONFIG"), "configuration file with the store, for --to-dir")
	flags.add(cmd)
	require(cmd, "database", "backup")
	return cmd
}
