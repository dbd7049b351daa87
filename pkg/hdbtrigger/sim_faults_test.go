package hdbtrigger

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// backedUp makes a backup of HXE for a job and gives its plan and backup id.
func backedUp(t *testing.T, trigger *Trigger, job string) (backup.Plan, int64) {
	t.Helper()
	plan := planned(t, trigger, "HXE", t.TempDir())
	plan.JobID = job
	if err := trigger.Backup(t.Context(), plan); err != nil {
		t.Fatal(err)
	}
	entry, err := trigger.Entry(t.Context(), plan)
	if err != nil {
		t.Fatal(err)
	}
	return plan, entry.BackupID
}

func TestSimulatorDelete(t *testing.T) {
	system, config := startSimulator(t, nil)
	trigger := newTrigger(t, config)
	ours, ourID := backedUp(t, trigger, "job-1")
	theirs, theirID := backedUp(t, trigger, "job-2")

	refused := trigger.Delete(t.Context(), ours, theirID)
	if !errors.Is(refused, backup.ErrNotSent) || !strings.Contains(refused.Error(), "not the backup of job job-1") {
		t.Errorf("somebody else's backup: %v", refused)
	}
	set(t, system, "fail", "delete")
	hana, found := errors.AsType[*backup.HANAError](trigger.Delete(t.Context(), ours, ourID))
	if !found || hana.Code != 2 || hana.Statement != kindDelete {
		t.Errorf("HANA fails: %v", hana)
	}
	for _, plan := range []backup.Plan{ours, theirs} {
		if _, err := trigger.Entry(t.Context(), plan); err != nil {
			t.Errorf("nothing should be deleted yet: %v", err)
		}
	}
	if err := trigger.Delete(t.Context(), ours, ourID); err != nil {
		t.Fatal(err)
	}
	if _, err := trigger.Entry(t.Context(), ours); !errors.Is(err, backup.ErrNotFound) {
		t.Errorf("after it was deleted: %v", err)
	}
	if entry, err := trigger.Entry(t.Context(), theirs); err != nil || len(entry.Files) < len(theirs.Streams) {
		t.Errorf("the other one: %+v, %v", entry, err)
	}
	if err := trigger.Delete(t.Context(), ours, ourID); !errors.Is(err, backup.ErrNotFound) || !errors.Is(err, backup.ErrNotSent) {
		t.Errorf("once more: %v", err)
	}
}

func TestSimulatorDeleteNeedsAPrivilege(t *testing.T) {
	system, config := startSimulator(t, nil)
	trigger := newTrigger(t, config)
	plan, id := backedUp(t, trigger, "job-1")
	set(t, system, "revoke", "BACKUP:BACKUP ADMIN")
	set(t, system, "revoke", "BACKUP:DATABASE BACKUP ADMIN")
	err := trigger.Delete(t.Context(), plan, id)
	hana, found := errors.AsType[*backup.HANAError](err)
	if !found || hana.Code != 258 || !strings.Contains(Hint(err), "BACKUP ADMIN to delete catalog entries") {
		t.Errorf("%v, hint %q", err, Hint(err))
	}
}

// TestSimulatorConnectionLost cuts the connection while the backup goes on in
// HANA: the caller hears of it at once, and the statement is not sent again.
func TestSimulatorConnectionLost(t *testing.T) {
	for _, stall := range []string{"stall-open:2", "stall:2:8KiB", "stall-end"} {
		t.Run(stall, func(t *testing.T) {
			system, config := startSimulator(t, nil)
			at := map[string]string{"stall-open:2": "cut:2", "stall:2:8KiB": "cut:2:8KiB", "stall-end": "cut:2:54096"}[stall]
			set(t, system, "fail", at)
			set(t, system, "fail", stall)
			trigger := newTrigger(t, config)
			plan := planned(t, trigger, "HXE", t.TempDir())
			begun := time.Now()
			err := trigger.Backup(t.Context(), plan)
			if _, answered := errors.AsType[*backup.HANAError](err); err == nil || answered || errors.Is(err, backup.ErrNotSent) {
				t.Fatalf("%v: expected an unknown answer", err)
			}
			if took := time.Since(begun); took > 5*time.Second {
				t.Errorf("it took %s to notice", took)
			}
			if !strings.Contains(Hint(err), "only the backup catalog tells") {
				t.Errorf("hint %q for %v", Hint(err), err)
			}
			expectState(t, trigger, plan, backup.CatalogRunning)
			poll(t, func() bool { return system.Stalled() == 1 })
			set(t, system, "resume", "")
			poll(t, func() bool { return state(t, trigger, plan) == backup.CatalogSuccessful })
			if n := catalogCount(t, trigger); n != 1 {
				t.Errorf("%d backups in the catalog, expected one", n)
			}
		})
	}
}

func state(t *testing.T, trigger *Trigger, plan backup.Plan) string {
	t.Helper()
	entry, err := trigger.Entry(t.Context(), plan)
	if err != nil {
		t.Fatal(err)
	}
	return entry.State
}

func expectState(t *testing.T, trigger *Trigger, plan backup.Plan, want string) {
	t.Helper()
	if got := state(t, trigger, plan); got != want {
		t.Errorf("the catalog says %s, expected %s", got, want)
	}
}

// TestSimulatorCatalog: answer and catalog may differ, and the catalog may come
// late or not at all.
func TestSimulatorCatalog(t *testing.T) {
	tests := []struct {
		name, key, value string
		answered         bool // by an error
		state            string
		mention          string // of the error of Entry
	}{
		{"the backup fails at its end", "fail", "end", true, backup.CatalogFailed, ""},
		{"only the catalog says failed", "fail", "catalog-failed", false, backup.CatalogFailed, ""},
		{"only the answer says failed", "fail", "answer-failed", true, backup.CatalogSuccessful, ""},
		{"the row is late", "late-row", "1h", false, "", "not found"},
		{"the state is late", "late-state", "1h", false, backup.CatalogRunning, ""},
		{"the files are late", "late-files", "1h", false, backup.CatalogSuccessful, ""},
		{"it cannot be read", "catalog", "error", false, "", "8022830"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			system, config := startSimulator(t, nil)
			trigger := newTrigger(t, config)
			plan := planned(t, trigger, "HXE", t.TempDir())
			set(t, system, tt.key, tt.value)
			err := trigger.Backup(t.Context(), plan)
			if hana, found := errors.AsType[*backup.HANAError](err); found != tt.answered || (found && (hana.Code != 447 || len(hana.Inner) != 1)) {
				t.Errorf("the answer is %v", err)
			}
			entry, err := trigger.Entry(t.Context(), plan)
			if tt.mention != "" {
				if err == nil || !strings.Contains(err.Error(), tt.mention) {
					t.Errorf("got %v, expected %q", err, tt.mention)
				}
				return
			}
			if err != nil || entry.State != tt.state || entry.EndedAt.IsZero() != (tt.state == backup.CatalogRunning) {
				t.Errorf("%+v, %v", entry, err)
			}
			if tt.key == "late-files" && len(entry.Files) > 0 {
				t.Errorf("%d files", len(entry.Files))
			}
		})
	}
}

func TestSimulatorCancelThatIsRefusedOrIgnored(t *testing.T) {
	for _, mode := range []string{"refuse", "ignore"} {
		t.Run(mode, func(t *testing.T) {
			system, config := startSimulator(t, nil)
			set(t, system, "cancel", mode)
			set(t, system, "fail", "stall:2:8KiB")
			trigger := newTrigger(t, config)
			plan := planned(t, trigger, "HXE", t.TempDir())
			done := make(chan error, 1)
			go func() { done <- trigger.Backup(t.Context(), plan) }()
			poll(t, func() bool { return system.Stalled() == 1 })
			err := trigger.Cancel(t.Context(), plan)
			if hana, found := errors.AsType[*backup.HANAError](err); found != (mode == "refuse") || (found && hana.Code != 2) {
				t.Errorf("cancel: %v", err)
			}
			expectState(t, trigger, plan, map[string]string{"refuse": backup.CatalogRunning, "ignore": backup.CatalogCancelPending}[mode])
			set(t, system, "resume", "")
			if err := <-done; err != nil {
				t.Error(err)
			}
			expectState(t, trigger, plan, backup.CatalogSuccessful)
		})
	}
}

// TestSimulatorCrash takes the whole system down while a backup runs.
func TestSimulatorCrash(t *testing.T) {
	system, config := startSimulator(t, func(c *hanasim.Config) { c.Profile = hanasim.Dotname })
	set(t, system, "fail", "stall:2:8KiB")
	trigger := newTrigger(t, config)
	plan := planned(t, trigger, "HXE", t.TempDir())
	done := make(chan error, 1)
	go func() { done <- trigger.Backup(t.Context(), plan) }()
	poll(t, func() bool { return system.Stalled() == 1 })
	if err := system.Crash(); err != nil {
		t.Fatal(err)
	}
	err := <-done
	if _, answered := errors.AsType[*backup.HANAError](err); err == nil || answered || errors.Is(err, backup.ErrNotSent) {
		t.Errorf("%v: expected an unknown answer", err)
	}
	_, err = trigger.Entry(t.Context(), plan)
	if err == nil || errors.Is(err, backup.ErrNotFound) || !strings.Contains(Hint(err), "HANA is down or still starting") {
		t.Errorf("while it is down: %v, hint %q", err, Hint(err))
	}
	if err := trigger.Backup(t.Context(), plan); !errors.Is(err, backup.ErrNotSent) {
		t.Errorf("a statement while it is down: %v", err)
	}
	if err := system.Restart(); err != nil {
		t.Fatal(err)
	}
	expectState(t, trigger, plan, backup.CatalogFailed)
}
