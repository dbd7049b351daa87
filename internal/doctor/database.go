package doctor

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
	"github.com/pipestreamer/pipestreamer/pkg/hdbtrigger"
)

// judgeDatabases is about each database for itself.
func judgeDatabases(f *Facts) []Finding {
	var findings []Finding
	for n := range f.HANA {
		i := &f.HANA[n]
		r := &report{database: i.Database}
		judgeOnline(r, i, f.Stopped[i.Database])
		judgeRole(r, i)
		judgeParameters(r, i, &f.Settings)
		judgeCatalog(r, i, f.Now)
		findings = append(findings, r.findings...)
	}
	return findings
}

// judgeOnline knows the restore that has left the database stopped, if one has.
func judgeOnline(r *report, i *hdbtrigger.Inspection, restore string) {
	err := i.Unreadable[hdbtrigger.AskStatus]
	switch {
	case errors.Is(err, backup.ErrNotFound):
		r.add(CheckOnline, Error, "Check the name, and that the user has CATALOG READ.", "%v", err)
	case err != nil:
		unread(r, CheckOnline, err)
	case i.Status != "YES" && restore != "":
		r.add(CheckOnline, Error, "Restore it again: it is not usable until a restore succeeds (pipestreamer show "+restore+" tells how that one ended).",
			"it is not online (its ACTIVE_STATUS is %q): a restore has stopped it and did not come to its end", i.Status)
	case i.Status != "YES":
		r.add(CheckOnline, Error, "Start the database: ALTER SYSTEM START DATABASE "+quoted(i.Database)+";", "it is not online: its ACTIVE_STATUS is %q", i.Status)
	default:
		r.ok(CheckOnline, "it is online")
	}
}

func judgeRole(r *report, i *hdbtrigger.Inspection) {
	switch err := i.Unreadable[hdbtrigger.AskRole]; {
	case err != nil:
		unread(r, CheckRole, err)
	case i.Mode == "" && blind(i):
		r.add(CheckRole, Warning, blindHint, "whether this is the primary site is not known: without CATALOG READ the view looks empty")
	case !i.Primary:
		r.add(CheckRole, Error, "Back up the primary site; let pipestreamer run here for the time after a takeover.",
			"this is a secondary site, which cannot back up (%s)", i.Mode)
	default:
		r.ok(CheckRole, "this is the primary site, or there is no other (%s)", cmp.Or(i.Mode, "no mode is set"))
	}
}

// judgeCatalog is about what HANA has backed up so far. Without CATALOG READ the
// views look empty (from memory), so that emptiness then says nothing.
func judgeCatalog(r *report, i *hdbtrigger.Inspection, now time.Time) {
	unseen := blind(i)
	judgeRunning(r, i, unseen)
	judgeBase(r, i, unseen, now)
	judgeHistory(r, i, unseen)
	judgeNewestLog(r, i, unseen, now)
}

// blind says whether the views look empty to the user.
func blind(i *hdbtrigger.Inspection) bool {
	return i.Unreadable[hdbtrigger.AskPrivileges] == nil && !slices.Contains(i.Privileges, catalogRead)
}

const (
	blindText = "HANA shows none, which says nothing: without CATALOG READ the view looks empty"
	blindHint = "Grant CATALOG READ first."
)

func judgeRunning(r *report, i *hdbtrigger.Inspection, unseen bool) {
	switch err := i.Unreadable[hdbtrigger.AskRunning]; {
	case err != nil:
		unread(r, CheckRunning, err)
	case i.Running != 0:
		r.add(CheckRunning, Warning, "Wait for it, or end it with BACKUP CANCEL: HANA makes one data backup of a database at a time.", "data backup %d runs", i.Running)
	case unseen:
		r.add(CheckRunning, Warning, blindHint, blindText)
	default:
		r.ok(CheckRunning, "no data backup runs")
	}
}

func judgeBase(r *report, i *hdbtrigger.Inspection, unseen bool, now time.Time) {
	switch err := i.Unreadable[hdbtrigger.AskNewestComplete]; {
	case err != nil:
		unread(r, CheckBase, err)
	case i.NewestComplete != nil:
		r.ok(CheckBase, "the newest complete backup that HANA knows is %d, %s old", i.NewestComplete.BackupID, age(now, i.NewestComplete.StartedAt))
	case unseen:
		r.add(CheckBase, Warning, blindHint, blindText)
	default:
		r.add(CheckBase, Warning, "Make a complete backup: until then HANA keeps no log (it runs as with log_mode overwrite), and there is no delta.", "HANA knows no complete backup")
	}
}

func judgeHistory(r *report, i *hdbtrigger.Inspection, unseen bool) {
	err := i.Unreadable[hdbtrigger.AskBroken]
	if err != nil {
		unread(r, CheckHistory, err)
		return
	}
	switch {
	case i.Broken == nil && unseen:
		r.add(CheckHistory, Warning, blindHint, blindText)
	case i.Broken == nil:
		r.ok(CheckHistory, "HANA knows of no interruption of the history")
	case i.NewestComplete != nil && !i.Broken.At.After(i.NewestComplete.StartedAt):
		r.ok(CheckHistory, "no interruption since the newest complete backup")
	default:
		r.add(CheckHistory, Warning, "Make a complete backup: no recovery goes past that moment.",
			"the history was broken at %s, and no complete backup came after it: %s %s", i.Broken.At.UTC().Format(time.DateTime), i.Broken.Reason, i.Broken.Message)
	}
}

func judgeNewestLog(r *report, i *hdbtrigger.Inspection, unseen bool, now time.Time) {
	err := i.Unreadable[hdbtrigger.AskNewestLog]
	if err != nil {
		unread(r, CheckLogBackup, err)
		return
	}
	const look = "Look at HANA's backup.log: while log backups fail, the log area fills, and then the database stops."
	switch n := i.NewestLog; {
	case n == nil && unseen:
		r.add(CheckLogBackup, Warning, blindHint, blindText)
	case n == nil && i.NewestComplete == nil:
		r.ok(CheckLogBackup, "none, as there is no complete backup yet")
	case n == nil && age(now, i.NewestComplete.StartedAt) < firstLog:
		r.ok(CheckLogBackup, "none yet; the complete backup is %s old", age(now, i.NewestComplete.StartedAt))
	case n == nil:
		r.add(CheckLogBackup, Warning, look, "HANA knows no log backup, though there is a complete one")
	case n.State == backup.CatalogFailed || n.State == backup.CatalogCanceled:
		r.add(CheckLogBackup, Warning, look, "the newest log backup, %d, is %s: %s", n.BackupID, n.State, n.Message)
	default:
		r.ok(CheckLogBackup, "the newest log backup is %d, %s old", n.BackupID, age(now, n.StartedAt))
	}
}

// firstLog is how long HANA may take to the first log backup after a complete
// backup: twice its usual log_backup_timeout_s.
const firstLog = 30 * time.Minute

func age(now, then time.Time) time.Duration {
	return max(now.Sub(then), 0).Round(time.Second)
}
