package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/pipestreamer/pipestreamer/internal/httpapi"
	"github.com/pipestreamer/pipestreamer/internal/job"
)

func (a *app) verifyCommand() *cobra.Command {
	var (
		request job.VerificationRequest
		flags   jobFlags
	)
	cmd := &cobra.Command{
		Use:   "verify --database NAME --backup ID|latest",
		Short: "Read a backup back and compare every byte with its manifest",
		Long: `Read a backup back and compare every byte with its manifest; with --sample,
only some parts of each object. Exit status 3 means findings.`,
		Args: cobra.NoArgs,
		RunE: verb(func(cmd *cobra.Command, _ []string) error {
			if request.Sample > 0 {
				flags.note = "sampled " + countText(request.Sample, "part") + " per object, not every byte"
			}
			return a.runJob(cmd.Context(), flags, func(ctx context.Context, client *httpapi.Client, key string) (job.Record, error) {
				return client.StartVerification(ctx, request, key)
			})
		}),
	}
	cmd.Flags().StringVar(&request.Database, "database", "", "SYSTEMDB or a tenant")
	cmd.Flags().StringVar(&request.Backup, "backup", "", "backup id, or latest")
	cmd.Flags().IntVar(&request.Sample, "sample", 0, "read only that many parts of each object; 0 reads all")
	flags.add(cmd)
	require(cmd, "database", "backup")
	return cmd
}
