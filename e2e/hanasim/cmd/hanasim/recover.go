package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim"
)

func recoverCommand() (*cobra.Command, error) {
	var addr, prefix, statement, user, passwordFile string
	command := &cobra.Command{
		Use:   "recover-sys",
		Short: "Recover SYSTEMDB of a running system, as recoverSys.py --wait does",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			password, err := readPassword(passwordFile)
			if err != nil {
				return err
			}
			order := hanasim.Order{User: user, Password: password, Statement: "SIM RECOVER SYSTEMDB '" + strings.ReplaceAll(prefix+statement, "'", "''") + "'"}
			if err := hanasim.Send(cmd.Context(), addr, order); err != nil {
				return fmt.Errorf("recover SYSTEMDB: %w", err)
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), "recoverSys finished successfully")
			return err
		},
	}
	f := command.Flags()
	f.StringVar(&addr, "addr", "", "address that serve printed as control (required)")
	f.StringVar(&prefix, "prefix", "", "path prefix of a complete backup")
	f.StringVar(&statement, "command", "", "RECOVER statement, instead of a prefix")
	f.StringVar(&user, "user", "SYSTEM", "user")
	f.StringVar(&passwordFile, "password-file", "", "file with the password (required)")
	command.MarkFlagsOneRequired("prefix", "command")
	command.MarkFlagsMutuallyExclusive("prefix", "command")
	return command, errors.Join(command.MarkFlagRequired("addr"), command.MarkFlagRequired("password-file"))
}
