package job

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
	"github.com/pipestreamer/pipestreamer/pkg/hdbtrigger"
)

// stoppedBy is the restore that has left a database stopped, among
// records newest first, nil when none has. What has succeeded since needs the database online.
func stoppedBy(database string, records []Record) *Record {
	for i := range records {
		r := &records[i]
		switch {
		case r.Database != database || !r.Action.exclusive() || !r.State.Terminal():
		case r.TenantStopped:
			return r
		case r.State == StateSucceeded:
			return nil
		}
	}
	return nil
}

// KnownStopped reads which databases a restore has left stopped, each with its job,
// from the journal of the daemon that keeps its state there. It changes nothing, so
// a daemon may run. Entries that cannot be read are left out.
func KnownStopped(stateDirectory string) (map[string]string, error) {
	directory := filepath.Join(stateDirectory, "jobs")
	files, err := os.ReadDir(directory)
	if err != nil {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	var entries []entry
	for _, file := range files {
		if !strings.HasSuffix(file.Name(), ".json") {
			continue
		}
		if e, err := readEntry(filepath.Join(directory, file.Name())); err == nil {
			entries = append(entries, *e)
		}
	}
	slices.SortFunc(entries, func(a, b entry) int { return byAge(b, a) })
	records := make([]Record, len(entries))
	for i := range entries {
		records[i] = entries[i].Record
	}
	stopped := make(map[string]string)
	for i := range records {
		if r := stoppedBy(records[i].Database, records); r != nil {
			stopped[r.Database] = r.ID
		}
	}
	return stopped, nil
}

// planRefused is why HANA did not allow a job to be planned, with what to do about it.
func (c *Conductor) planRefused(ctx context.Context, database string, cause error) *Error {
	e := newError(StagePlan, CodePlan, causeOf(ctx, cause))
	switch {
	case e.Code != CodePlan:
	case errors.Is(cause, backup.ErrNotFound):
		e.Hint = "Check the name of the database, and that the user has CATALOG READ."
		if absent := c.absent(ctx, database); absent != nil {
			e.Hint = "Correct the name: " + absent.Error() + "."
		}
	case errors.Is(cause, hdbtrigger.ErrOffline):
		e.Hint = fmt.Sprintf("Start the database first: ALTER SYSTEM START DATABASE %q;", database)
		if r := stoppedBy(database, c.Jobs()); r != nil {
			e.Hint = fmt.Sprintf("A restore has stopped the database and did not come to its end (pipestreamer show %s). %s", r.ID, restoreAgain(database, r.Source))
		}
	}
	return e
}

// restoreAgain is what to do with a tenant that a restore, from the backups of
// source, has left stopped.
func restoreAgain(database, source string) string {
	command := "pipestreamer restore --database " + database + " --until latest"
	if source != "" {
		command = "pipestreamer restore --database " + source + " --to-database " + database + " --until latest"
	}
	return fmt.Sprintf("Restore %s again: it is stopped and not usable until a restore succeeds (%s).", database, command)
}

// leftStopped changes the hint of a restore that was given up: with a tenant that it
// has left stopped, whether it is done again is no matter of wish.
func leftStopped(r *Record, cause *Error) {
	if r.TenantStopped && (cause.Code == CodeCanceled || cause.Code == CodeInterrupted) {
		cause.Hint = restoreAgain(r.Database, r.Source)
	}
}
