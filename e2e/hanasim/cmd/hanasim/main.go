// Command hanasim runs a simulated SAP HANA system for tests.
package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	root, err := command() //nolint:contextcheck // the context comes with ExecuteContext
	if err != nil {
		return err
	}
	return root.ExecuteContext(ctx)
}

func command() (*cobra.Command, error) {
	root := &cobra.Command{
		Use:   "hanasim",
		Short: "A simulated SAP HANA system for tests: SQL protocol, system views, backup and recovery",
		Long: `A simulated SAP HANA system for tests.

It speaks the SAP HANA SQL protocol on loopback ports, answers queries of the
system views, and writes and reads backup files. It is no SAP HANA and proves
nothing about one; e2e/hanasim/README.md says what is modelled on evidence.`,
		SilenceUsage: true,
	}
	serve, errServe := serveCommand()
	recoverSys, errRecover := recoverCommand()
	root.AddCommand(serve, recoverSys)
	return root, errors.Join(errServe, errRecover)
}
