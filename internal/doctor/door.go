package doctor

import (
	"fmt"
	"time"
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
	default:
		r.ok(CheckLogs, "log backups below %s are shipped", s.LogDirectory)
	}
	return r.findings
}
