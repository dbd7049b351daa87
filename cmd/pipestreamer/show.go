package main

import (
	"errors"

	"github.com/spf13/cobra"
)

func (a *app) showCommand() *cobra.Command {
	var database, id string
	cmd := &cobra.Command{
		Use:   "show JOB | show --database NAME --backup ID|latest",
		Short: "Show a job's record or a backup's manifest",
		Args:  cobra.MaximumNArgs(1),
		RunE: verb(func(cmd *cobra.Command, args []string) error {
			if (len(args) == 1) == (id != "") || (id != "") != (database != "") {
				return &failure{status: statusUsage, err: errors.New("expected either a job id, or --database and --backup")}
			}
			client, err := a.connect()
			if err != nil {
				return err
			}
			defer client.Close()
			if len(args) == 1 {
				record, err := client.Job(cmd.Context(), args[0])
				if err != nil {
					return a.unreachable(err)
				}
				return a.print(record, func() error { return a.printJob(record) })
			}
			m, err := client.Backup(cmd.Context(), database, id)
			if err != nil {
				return a.unreachable(err)
			}
			return a.print(m, func() error { return a.printManifest(m) })
		}),
	}
	cmd.Flags().StringVar(&database, "database", "", "database of the backup")
	cmd.Flags().StringVar(&id, "backup", "", "backup id, or latest")
	return cmd
}
