package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/pipestreamer/pipestreamer/internal/config"
	"github.com/pipestreamer/pipestreamer/internal/doctor"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

func (a *app) doctorCommand() *cobra.Command {
	var (
		configFile string
		databases  []string
	)
	cmd := &cobra.Command{
		Use:   "doctor [--config FILE] [--database NAME]…",
		Short: "Check everything that backups need, and say what to do",
		Long: `Check everything that backups need, and say what to do: the configuration, HANA
with privileges and parameters, the backup directory, the store, limits. No
daemon is needed and a running one is not disturbed; nothing is changed but for
a trial file in the directories and in the store, which is removed again.

Exit status 3 means that there is an error among the findings; warnings are 0.`,
		Args: cobra.NoArgs,
		RunE: verb(func(cmd *cobra.Command, _ []string) error {
			names, err := databaseNames(databases)
			if err != nil {
				return err
			}
			cfg, err := config.Load(configFile, a.environ, config.Daemon)
			if refused, is := errors.AsType[*config.Error](err); is {
				return a.tellFindings(refusedFindings(refused))
			}
			if err != nil {
				return err
			}
			findings := append(fileFindings(cfg), doctor.Judge(collect(cmd.Context(), cfg, names))...)
			if err := cmd.Context().Err(); err != nil {
				return err // what was not asked is not wrong
			}
			return a.tellFindings(findings)
		}),
	}
	cmd.Flags().StringVar(&configFile, "config", a.variable(config.ConfigVariable), "configuration file; every key can also be set as PIPESTREAMER_…")
	cmd.Flags().StringArrayVar(&databases, "database", []string{backup.SystemDB}, "database to ask about; may be repeated")
	return cmd
}

func databaseNames(given []string) ([]string, error) {
	var names []string
	for _, text := range given {
		name, err := backup.ParseDatabase(text)
		if err != nil {
			return nil, &failure{status: statusUsage, err: fmt.Errorf("--database: %w", err)}
		}
		names = append(names, name)
	}
	return names, nil
}

// fileFindings tells of the files that the settings name.
func fileFindings(cfg *config.Config) []doctor.Finding {
	if problems := fileProblems(cfg); len(problems) > 0 {
		return refusedFindings(&config.Error{Problems: problems})
	}
	return []doctor.Finding{{Check: doctor.CheckConfiguration, Severity: doctor.OK, Message: "every setting was read and none contradicts another"}}
}

func refusedFindings(refused *config.Error) []doctor.Finding {
	var findings []doctor.Finding
	for _, p := range refused.Problems {
		findings = append(findings, doctor.Finding{
			Check: doctor.CheckConfiguration, Severity: doctor.Error, Message: p.String(), Hint: "docs/configuration.md lists every setting.",
		})
	}
	return findings
}

// diagnosis is what -o json prints.
type diagnosis struct {
	Errors   int              `json:"errors"`
	Warnings int              `json:"warnings"`
	Findings []doctor.Finding `json:"findings"`
}

// tellFindings prints findings and turns them into an exit status.
func (a *app) tellFindings(findings []doctor.Finding) error {
	d := diagnosis{Errors: doctor.Count(findings, doctor.Error), Warnings: doctor.Count(findings, doctor.Warning), Findings: findings}
	if err := a.print(d, func() error { return a.printFindings(d) }); err != nil {
		return err
	}
	if d.Errors > 0 {
		return &failure{status: statusFindings, err: fmt.Errorf("%s found", countText(d.Errors, "error"))}
	}
	return nil
}

func (a *app) printFindings(d diagnosis) error {
	var rows [][]string
	for i := range d.Findings {
		f := &d.Findings[i]
		text := f.Message
		if f.Hint != "" {
			text += "\n→ " + f.Hint
		}
		rows = append(rows, []string{string(f.Severity), f.Check, f.Database, text})
	}
	if err := a.table(rows); err != nil {
		return err
	}
	return a.println(fmt.Sprintf("\n%s, %s", countText(d.Errors, "error"), countText(d.Warnings, "warning")))
}
