package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/pipestreamer/pipestreamer/internal/config"
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
		Use:   "restore --database NAME --until TIME|latest|ID [--to-database NAME] [--dry-run] [--to-path DIR --config FILE]",
		Short: "Restore a database to a point in time, or write what that takes as plain files",
		Long: `Restore a database from the store through the daemon.

--until says to which point: a time in whole seconds ("2026-01-31 23:00:00" is
UTC, 2026-01-31T23:00:00+01:00 is not), latest for the newest point that can be
reached, or the backup id of one data backup, of which the state is restored
without any log. --backup takes a backup id, or latest for the newest data
backup. The plan is made from the store alone, and says before anything is
touched what is missing and which point can be reached; --dry-run ends there.

A tenant is stopped, its data is REPLACED, and it is started again; what was
written since that point is gone. If the restore fails or is canceled (Ctrl-C)
on the way, the tenant stays stopped and is not usable until a restore succeeds.
With --to-database another tenant is replaced. For SYSTEMDB the command to run is
printed, and the streams are served until it is done.

Data comes through pipes. Log backups and HANA's backup of its catalog are laid
out in backupDirectory, which needs room for them; so is the data for a HANA
that refuses pipes.

With --to-path everything is read from the store without a daemon and without
HANA, and written as plain files under HANA's own names, with the statement to
use. Existing files are never overwritten.`,
		Args: cobra.NoArgs,
		RunE: verb(func(cmd *cobra.Command, _ []string) error {
			if request.Backup == "" && request.Until == "" {
				return &failure{status: statusUsage, err: errors.New("--until: expected a time, latest or a backup id")}
			}
			if dir != "" {
				return a.writeFiles(cmd.Context(), configFile, request, dir)
			}
			if cmd.Flags().Changed("config") {
				return &failure{status: statusUsage, err: errors.New("--config: only used with --to-path; the daemon has its own")}
			}
			return a.runJob(cmd.Context(), flags, func(ctx context.Context, client *httpapi.Client, key string) (job.Record, error) {
				return client.StartRestore(ctx, request, key)
			})
		}),
	}
	cmd.Flags().StringVar(&request.Database, "database", "", "SYSTEMDB or a tenant")
	cmd.Flags().StringVar(&request.Until, "until", "", "point in time, latest, or a backup id")
	cmd.Flags().StringVar(&request.Backup, "backup", "", "backup id, or latest for the newest data backup")
	cmd.Flags().StringVar(&request.ToDatabase, "to-database", "", "tenant that is replaced; by default the same database")
	cmd.Flags().BoolVar(&request.DryRun, "dry-run", false, "plan only")
	cmd.Flags().StringVar(&dir, "to-path", "", "write plain files into this directory instead")
	cmd.Flags().StringVar(&dir, "to-dir", "", "as --to-path")
	cmd.Flags().Lookup("to-dir").Hidden = true
	cmd.Flags().StringVar(&configFile, "config", a.variable(config.ConfigVariable), "configuration file with the store, for --to-path")
	flags.add(cmd)
	require(cmd, "database")
	cmd.MarkFlagsMutuallyExclusive("until", "backup")
	return cmd
}
