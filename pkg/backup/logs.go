package backup

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

const logMarker = "log_backup_"

// LogName is what the name of a log backup or of a backup of the catalog says:
// "log_backup_<volume>_<n>_<first>_<last>.<backup id>", with all four numbers 0
// for the catalog. Both were seen in real listings of HANA 2.0; n was 0 in all
// of them and its meaning is not known.
type LogName struct {
	VolumeID int
	N        int
	// First and Last are log positions: what one file ends with, the next one
	// of its volume begins with.
	First, Last int64
	BackupID    int64
}

// String reverses [ParseLogName].
func (n LogName) String() string {
	return fmt.Sprintf("%s%d_%d_%d_%d.%d", logMarker, n.VolumeID, n.N, n.First, n.Last, n.BackupID)
}

// Kind is KindLog or KindCatalog.
func (n LogName) Kind() Kind {
	if n.VolumeID == 0 && n.N == 0 && n.First == 0 && n.Last == 0 {
		return KindCatalog
	}
	return KindLog
}

// ParseLogName refuses anything that [LogName.String] could not have produced,
// and positions that run backwards.
func ParseLogName(name string) (LogName, error) {
	rest, ours := strings.CutPrefix(name, logMarker)
	numbers, id, dotted := strings.Cut(rest, ".")
	pieces := strings.Split(numbers, "_")
	if !ours || !dotted || len(pieces) != 4 {
		return LogName{}, fmt.Errorf("file name %q: expected log_backup_<volume>_0_<first>_<last>.<backup id>", name)
	}
	var n LogName
	var errs [5]error
	n.VolumeID, errs[0] = parseNumber(pieces[0])
	n.N, errs[1] = parseNumber(pieces[1])
	n.First, errs[2] = parsePosition(pieces[2])
	n.Last, errs[3] = parsePosition(pieces[3])
	n.BackupID, errs[4] = parseID(id)
	if err := errors.Join(errs[:]...); err != nil {
		return LogName{}, fmt.Errorf("file name %q: %w", name, err)
	}
	if n.Last < n.First || n.Kind() == KindLog && n.Last == n.First {
		return LogName{}, fmt.Errorf("file name %q: expected log positions that grow", name)
	}
	return n, nil
}

func parsePosition(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || strconv.FormatInt(n, 10) != s {
		return 0, fmt.Errorf("%q is not a log position", s)
	}
	return n, nil
}

// LogFile is one log backup, or one backup of the catalog, that the store has.
type LogFile struct {
	// Name is HANA's name of the file, which says volume, positions and id.
	Name string `json:"name"`
	// Size and SHA256 are of the bytes that HANA wrote.
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
	// Objects hold the file, in order.
	Objects []Object `json:"objects"`
	// WrittenAt is the file's time of change when it was read: HANA had written
	// it by then.
	WrittenAt time.Time `json:"written_at"`
	// Confirmed says that HANA's catalog called the backup successful and knew
	// the file, with this size. The fields below it are the catalog's.
	Confirmed  bool      `json:"confirmed"`
	StartedAt  time.Time `json:"started_at,omitzero"`
	EndedAt    time.Time `json:"ended_at,omitzero"`
	LastCommit time.Time `json:"last_commit,omitzero"`
}

// Parsed is what the name says. It is only called on checked files.
func (f *LogFile) Parsed() LogName {
	n, err := ParseLogName(f.Name)
	if err != nil {
		return LogName{}
	}
	return n
}

// CoveredUntil is the time up to which the log is in this file at least: a
// commit that HANA acknowledged before the log backup began is in it or in an
// earlier one. It is a lower bound.
func (f *LogFile) CoveredUntil() time.Time {
	if !f.StartedAt.IsZero() {
		return f.StartedAt
	}
	return time.UnixMilli(f.Parsed().BackupID).UTC()
}

// LogPrefix is where the log and catalog backups of a database lie, with a final
// slash.
func LogPrefix(sid, database string) string { return sid + "/" + database + "/log/" }

// LogKey is the key of the first object of a log or catalog backup.
func LogKey(sid, database, name string) string { return LogPrefix(sid, database) + name }

// LogKeyAgain is another key for the same file, as of an attempt with a number of
// its own. It is for encoded ones: what an attempt of which no index tells left at
// the first key cannot be compared with the file, nor may it be removed.
func LogKeyAgain(sid, database, name string, attempt int64) string {
	return fmt.Sprintf("%s.%d", LogKey(sid, database, name), attempt)
}

// LogIndexPrefix is where the indexes of a database's log backups lie, with a
// final slash.
func LogIndexPrefix(sid, database string) string { return sid + "/" + database + "/logindex/" }

// LogIndexKey is the key of one index. Sequences grow, and keys sort as they do.
func LogIndexKey(sid, database string, sequence int64) string {
	return fmt.Sprintf("%s%020d.json", LogIndexPrefix(sid, database), sequence)
}
