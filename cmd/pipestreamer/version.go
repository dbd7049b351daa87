package main

import (
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Show the version",
		Args:  cobra.NoArgs,
		RunE: verb(func(*cobra.Command, []string) error {
			document := struct {
				Version string `json:"version"`
				Go      string `json:"go"`
			}{versionText(), runtime.Version()}
			return a.print(document, func() error { return a.println("pipestreamer " + document.Version + " " + document.Go) })
		}),
	}
}

// versionText is what the build said, else what the module knows.
func versionText() string {
	if version != "" {
		return version
	}
	if info, known := debug.ReadBuildInfo(); known && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}
