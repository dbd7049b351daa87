package main

import (
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"strings"

	_ "github.com/SAP/go-hdb/driver" // the database driver
	"github.com/spf13/cobra"
)

func recoverCommand() (*cobra.Command, error) {
	var addr, prefix, user, passwordFile string
	command := &cobra.Command{
		Use:   "recover-sys",
		Short: "Recover SYSTEMDB of a running system from a complete backup, as recoverSys.py --wait does",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			password, err := readPassword(passwordFile)
			if err != nil {
				return err
			}
			dsn := url.URL{Scheme: "hdb", User: url.UserPassword(user, password), Host: addr, RawQuery: "timeout=0"}
			db, err := sql.Open("hdb", dsn.String())
			if err != nil {
				return fmt.Errorf("open %s: %w", addr, err)
			}
			statement := "SIM RECOVER SYSTEMDB '" + strings.ReplaceAll(prefix, "'", "''") + "'"
			_, err = db.ExecContext(cmd.Context(), statement)
			if err = errors.Join(err, db.Close()); err != nil {
				return fmt.Errorf("recover SYSTEMDB: %w", err)
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), "recoverSys finished successfully")
			return err
		},
	}
	f := command.Flags()
	f.StringVar(&addr, "addr", "", "address that serve printed as control (required)")
	f.StringVar(&prefix, "prefix", "", "path prefix of the backup (required)")
	f.StringVar(&user, "user", "SYSTEM", "user")
	f.StringVar(&passwordFile, "password-file", "", "file with the password (required)")
	return command, errors.Join(command.MarkFlagRequired("addr"), command.MarkFlagRequired("prefix"), command.MarkFlagRequired("password-file"))
}
