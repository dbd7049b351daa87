package doctor

import (
	"fmt"
	"time"

	"github.com/pipestreamer/pipestreamer/internal/doctor/host"
)

// judgeDoor is about what the daemon has learnt of this version of HANA.
func judgeDoor(f *Facts) []Finding {
	r := new(report)
	if f.DoorsError != nil {
		r.add(CheckDoor, Error, "Remove that file: it is learnt again.", "%v", f.DoorsError)
		return r.findings
	}
	if len(f.HANA) == 0 || f.HANA[0].Version == "" {
		return nil
	}
	version, door := f.HANA[0].Version, f.Settings.Door
	known, found := f.Doors[version]
	switch {
	case found:
		judgeKnownDoor(r, version, door, known)
	case door == doorSpool:
		r.ok(CheckDoor, "door is spool: pipes are not used")
	default:
		r.add(CheckDoor, Warning, "Run pipestreamer probe --database SYSTEMDB.", "what HANA %s does with pipes has not been tried", version)
	}
	return r.findings
}

func judgeKnownDoor(r *report, version, door string, known Door) {
	what := known.Summary
	if what == "" && known.Refused {
		what = "HANA " + version + " refuses pipes."
	}
	what += fmt.Sprintf(" (seen by job %s on %s)", known.Job, known.At.UTC().Format(time.DateOnly))
	better := known.Recommendation
	if known.Refused {
		better = doorSpool
	}
	switch {
	case door == doorFIFO && better != "" && better != doorFIFO:
		r.add(CheckDoor, Error, "Set door to auto or spool. After an update of HANA, or on another file system, probe again: pipestreamer probe --database SYSTEMDB.", "door is fifo. %s", what)
	case door == doorSpool && better != "" && better != doorSpool:
		r.add(CheckDoor, Warning, "Set door to "+better+": complete backups then need no room on the volume.", "door is spool. %s", what)
	default: // auto does what is best by itself
		r.ok(CheckDoor, "door is %s. %s", door, what)
	}
}

// judgeLogDirectory looks at where log backups should come from.
func judgeLogDirectory(f *Facts) []Finding {
	var r report
	switch s := &f.Settings; {
	case s.LogDirectory == "":
		r.ok(CheckLogs, "log backups are not shipped, so there is no recovery to a point in time, and a delta cannot be restored")
	case s.LogDirectoryError != nil:
		r.add(CheckLogs, Error, "Mount HANA's basepath_logbackup at the same path in this container.", "logs.directory cannot be used: %v", s.LogDirectoryError)
	case len(s.Logs) == 0:
		r.add(CheckLogs, Warning, "Check that logs.directory is HANA's basepath_logbackup. HANA makes the directories with its first log backups, after the first complete backup.",
			"%s has no directory of a database (SYSTEMDB, DB_<tenant>)", s.LogDirectory)
	default:
		judgeLogs(&r, s.Logs, f.Directory.OwnUID, s.SpoolOwner)
	}
	return r.findings
}

// judgeLogs looks at each directory in which HANA leaves log backups: what was
// shipped has to be removed from there.
func judgeLogs(r *report, logs []host.LogDirectory, own, hana int) {
	const mode = "Use mode 2770 and the group of HANA's user."
	for i := range logs {
		d := &logs[i]
		switch {
		case d.Error != nil:
			r.add(CheckLogs, Error, mode+" It has to be a directory itself, and not mounted read-only.", "log backups are not shipped and removed from there: %v", d.Error)
		case d.Sticky && own != 0 && own != hana && int64(own) != int64(d.UID):
			r.add(CheckLogs, Error, mode, "%s is sticky: log backups are shipped from there, and we, user id %d, cannot remove HANA's files: the volume fills up", d.Path, own)
		default:
			r.ok(CheckLogs, "log backups in %s can be shipped and removed", d.Path)
		}
	}
}
