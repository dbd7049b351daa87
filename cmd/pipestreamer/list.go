package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pipestreamer/pipestreamer/internal/httpapi"
	"github.com/pipestreamer/pipestreamer/internal/job"
	"github.com/pipestreamer/pipestreamer/internal/logship"
)

func (a *app) listCommand() *cobra.Command {
	var (
		database       string
		jobs, recovery bool
	)
	cmd := &cobra.Command{
		Use:   "list [--database NAME] [--jobs] [--recovery]",
		Short: "List the backups in the store, the daemon's jobs, or what can be recovered",
		Args:  cobra.NoArgs,
		RunE: verb(func(cmd *cobra.Command, _ []string) error {
			client, err := a.connect()
			if err != nil {
				return err
			}
			defer client.Close()
			if jobs {
				records, err := client.Jobs(cmd.Context())
				if err != nil {
					return a.unreachable(cmd.Context(), err)
				}
				return a.print(records, func() error { return a.tableOf("jobs", database, jobRows(records, database)) })
			}
			if recovery {
				return a.listRecovery(cmd.Context(), client, database)
			}
			return a.listBackups(cmd.Context(), client, database)
		}),
	}
	cmd.Flags().StringVar(&database, "database", "", "only of this database")
	cmd.Flags().BoolVar(&jobs, "jobs", false, "list jobs instead of backups")
	cmd.Flags().BoolVar(&recovery, "recovery", false, "list the times to which --database can be restored")
	cmd.MarkFlagsMutuallyExclusive("jobs", "recovery")
	return cmd
}

// listBackups writes the backups, and how far the log backups are. Of these the
// daemon knows while the store is away, and nobody waits for the store to see them
// when it is known to fail.
func (a *app) listBackups(ctx context.Context, client *httpapi.Client, database string) error {
	if a.output == "json" {
		stored, err := client.Backups(ctx, database)
		if err != nil {
			return a.storeAway(ctx, "backups", err)
		}
		a.tellUnreadable(stored.Unreadable)
		return a.print(stored.Backups, nil)
	}
	list, err := client.Logs(ctx)
	if err != nil {
		return a.unreachable(ctx, err)
	}
	first := slices.ContainsFunc(list.Logs, func(s logship.Status) bool { return s.StoreTrouble != "" })
	if first {
		if err := a.printLogs(&list, database); err != nil {
			return err
		}
	}
	stored, err := client.Backups(ctx, database)
	if err == nil {
		err = a.tableOf("backups", database, backupRows(stored.Backups))
		a.tellUnreadable(stored.Unreadable)
	} else {
		err = a.storeAway(ctx, "backups", err)
	}
	if first {
		return err
	}
	return errors.Join(err, a.printLogs(&list, database))
}

// tellUnreadable names the backups that are in the store and in no list.
func (a *app) tellUnreadable(manifests []job.UnreadableManifest) {
	for i := range manifests {
		a.warn("a backup of " + manifests[i].Database + " is not listed: " + manifests[i].Error)
	}
}

// storeAway says of an answer to a question that only the store can answer whether
// it was the store that did not.
func (a *app) storeAway(ctx context.Context, what string, err error) error {
	p, answered := errors.AsType[*httpapi.Problem](err)
	if !answered || p.Status != http.StatusInternalServerError && p.Status != http.StatusGatewayTimeout {
		return a.unreachable(ctx, err)
	}
	return &failure{
		status: statusFailed, err: fmt.Errorf("%s: the store does not answer: %w", what, err),
		hint: "see whether the store is up, and compare network and credentials with the message (pipestreamer doctor tries them); what HANA has written meanwhile waits on the volume",
	}
}

// printLogs writes how far the log backups are, when any are shipped, and what
// keeps them from being found.
func (a *app) printLogs(list *httpapi.LogList, database string) error {
	if list.Note != "" {
		if err := a.println("\n" + list.Note + "."); err != nil {
			return err
		}
	}
	if list.Trouble != "" {
		if err := a.println("\nLog backups cannot be found: " + list.Trouble); err != nil {
			return err
		}
	}
	rows := logRows(list.Logs, database)
	if len(rows) == 1 {
		return nil
	}
	if err := a.println(""); err != nil {
		return err
	}
	return a.table(rows)
}

func logRows(logs []logship.Status, database string) [][]string {
	rows := [][]string{{"DATABASE", "RECOVERY POINT", "AGE", "WAITING", "VOLUME LASTS", "TROUBLE"}}
	for i := range logs {
		s := &logs[i]
		if database != "" && !strings.EqualFold(s.Database, database) {
			continue
		}
		point, age, lasts := "none", "", ""
		if !s.RecoveryPoint.IsZero() {
			point, age = timeText(s.RecoveryPoint), (time.Duration(s.AgeSeconds) * time.Second).String()
		}
		if s.Lasts != nil {
			lasts = lastsText(time.Duration(*s.Lasts) * time.Second)
		}
		waiting := countText(s.WaitingFiles, "file") + ", " + byteText(s.WaitingBytes)
		rows = append(rows, []string{s.Database, point, age, waiting, lasts, troubleText(s)})
	}
	return rows
}

// lastsText writes for how long the volume is enough. Nobody plans with the minutes
// of what is months away.
func lastsText(d time.Duration) string {
	const day = 24 * time.Hour
	if d > 30*day {
		return "> 30d"
	}
	return d.String()
}

// unconfirmedPatience is for how long a log backup that is in the store may be missing
// in HANA's catalog before it counts as trouble: each is, for a moment.
const unconfirmedPatience = time.Hour

// troubleText says what keeps log backups from being shipped, or from being of
// use.
func troubleText(s *logship.Status) string {
	var troubles []string
	add := func(n int, thing string) {
		if n > 0 {
			troubles = append(troubles, countText(n, thing))
		}
	}
	if s.StoreTrouble != "" {
		troubles = append(troubles, "the store fails since "+timeText(s.StoreTroubleSince)+": "+s.StoreTrouble)
	}
	if s.VolumeTrouble != "" {
		troubles = append(troubles, "new log backups cannot be seen since "+timeText(s.VolumeTroubleSince)+": "+s.VolumeTrouble)
	}
	if s.BaseTrouble != "" {
		troubles = append(troubles, s.BaseTrouble)
	}
	add(len(s.Gaps), "gap")
	add(s.ConflictFiles, "conflict")
	add(s.ProblemFiles, "unreadable file")
	if len(s.Unconfirmed) > 0 && time.Since(s.Unconfirmed[0].Since) > unconfirmedPatience { // the oldest
		add(s.UnconfirmedFiles, "unconfirmed file")
	}
	add(len(s.DamagedIndexes), "damaged index file")
	if s.Broken != nil {
		troubles = append(troubles, "history broken at "+timeText(s.Broken.At)+": "+s.Broken.Reason)
	}
	return strings.Join(troubles, "; ")
}

// listRecovery writes to which times a database can be restored.
func (a *app) listRecovery(ctx context.Context, client *httpapi.Client, database string) error {
	if database == "" {
		return &failure{status: statusUsage, err: errors.New("--recovery: expected --database, too")}
	}
	r, err := client.Recovery(ctx, database)
	if err != nil {
		return a.storeAway(ctx, "times", err)
	}
	return a.print(r, func() error {
		rows := [][]string{{"FROM", "TO"}}
		for _, w := range r.Windows {
			rows = append(rows, []string{timeText(w.From), timeText(w.To)})
		}
		if len(rows) == 1 {
			a.tell(database + " cannot be restored to a point in time: the store has no log backups that go on from a complete backup (logs.directory). " +
				"Single backups: pipestreamer list --database " + database)
		} else if err := a.table(rows); err != nil {
			return err
		}
		for i := range r.Gaps {
			g := &r.Gaps[i]
			a.tell(fmt.Sprintf("gap: log of volume %d from %s to %s is in no log backup, between %s and %s",
				g.VolumeID, timeText(g.From), timeText(g.To), cmp.Or(g.AfterFile, "the data backup"), g.BeforeFile))
		}
		for _, key := range r.Missing {
			a.tell("missing in the store: " + key)
		}
		for _, note := range r.Notes {
			a.tell("note: " + note)
		}
		return nil
	})
}

// tableOf writes rows, and says so when there are none below the head.
func (a *app) tableOf(things, database string, rows [][]string) error {
	if len(rows) > 1 {
		return a.table(rows)
	}
	text := "no " + things
	if database != "" {
		text += " of " + database
	}
	a.tell(text)
	return nil
}

func backupRows(backups []job.BackupSummary) [][]string {
	rows := [][]string{{"BACKUP ID", "DATABASE", "KIND", "FINISHED", "STREAMS", "SIZE"}}
	for i := range backups {
		b := &backups[i]
		rows = append(rows, []string{strconv.FormatInt(b.BackupID, 10), b.Database, string(b.Kind), timeText(b.FinishedAt), strconv.Itoa(b.Streams), byteText(b.Bytes)})
	}
	return rows
}

func jobRows(records []job.Record, database string) [][]string {
	rows := [][]string{{"JOB", "ACTION", "DATABASE", "STATE", "STAGE", "STARTED", "TOOK"}}
	for i := range records {
		r := &records[i]
		if database != "" && !strings.EqualFold(r.Database, database) {
			continue
		}
		took := ""
		if !r.FinishedAt.IsZero() {
			took = r.FinishedAt.Sub(r.StartedAt).Round(time.Second).String()
		}
		rows = append(rows, []string{r.ID, string(r.Action), r.Database, string(r.State), string(r.Stage), timeText(r.StartedAt), took})
	}
	return rows
}
