package job

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/pipestreamer/pipestreamer/internal/chain"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// parse checks a request. It returns the database that is read, the one that is
// replaced, and the point.
func (r *RestoreRequest) parse() (source, target string, point chain.Target, err error) {
	if source, err = backup.ParseDatabase(r.Database); err != nil {
		return "", "", point, &FieldError{Field: "database", Err: err}
	}
	target = source
	if r.ToDatabase != "" {
		if target, err = backup.ParseDatabase(r.ToDatabase); err != nil {
			return "", "", point, &FieldError{Field: "to_database", Err: err}
		}
	}
	if target != source && (target == backup.SystemDB || source == backup.SystemDB) {
		return "", "", point, &FieldError{Field: "to_database", Err: errors.New("SYSTEMDB can only be restored from and into itself")}
	}
	switch {
	case r.Backup != "" && r.Until != "":
		err = &FieldError{Field: "until", Err: errors.New("expected either a backup or a point in time, not both")}
	case r.Until != "":
		point, err = parseUntil(r.Until)
	case r.Backup == Latest:
		point.BackupID = newestBackup
	default:
		point.BackupID, err = parseBackupID(r.Backup)
	}
	return source, target, point, err
}

// newestBackup stands for the id of the newest data backup.
const newestBackup = -1

// clocksApart is how far HANA's clock may be ahead of ours: the times that it gives
// are no future.
const clocksApart = time.Minute

// parseUntil reads a point in time, [Latest] or a backup id. A time without a zone
// is UTC, as HANA's own backup catalog and RECOVER have it.
func parseUntil(text string) (chain.Target, error) {
	if text == Latest {
		return chain.Target{Latest: true}, nil
	}
	if strings.Trim(text, "0123456789") == "" {
		id, err := parseBackupID(text)
		return chain.Target{BackupID: id}, err
	}
	for _, form := range []string{time.RFC3339, time.DateTime, "2006-01-02T15:04:05"} {
		t, err := time.Parse(form, text)
		if err != nil {
			continue
		}
		if t.Nanosecond() != 0 || t.Year() < 1970 || t.Year() > 9999 {
			break
		}
		if now := time.Now().UTC(); t.After(now.Add(clocksApart)) {
			return chain.Target{}, &FieldError{Field: "until", Err: fmt.Errorf(
				"%q is in the future, it is %s (UTC): %q is the newest point that can be reached", text, now.Format(time.DateTime), Latest)}
		}
		return chain.Target{Until: t.UTC()}, nil
	}
	return chain.Target{}, &FieldError{Field: "until", Err: fmt.Errorf(
		"%q: expected a time in whole seconds such as 2026-01-31T23:00:00Z or \"2026-01-31 23:00:00\" (UTC), %q, or a backup id", text, Latest)}
}

// RestorePlan is what a restore uses, as records show it.
type RestorePlan struct {
	Complete int64   `json:"complete"`
	Deltas   []int64 `json:"deltas,omitempty"`
	// FirstLog and LastLog are names of the log backups at both ends.
	Logs     int    `json:"logs,omitempty"`
	FirstLog string `json:"first_log,omitempty"`
	LastLog  string `json:"last_log,omitempty"`
	Catalog  string `json:"catalog,omitempty"`
	// Until is the point that was asked for, zero for the state of a backup and
	// for the newest point. Reaches is the point that the files reach.
	Until   time.Time   `json:"until,omitzero"`
	Reaches time.Time   `json:"reaches"`
	Needs   chain.Needs `json:"needs"`
	Notes   []string    `json:"notes,omitempty"`
}

func describe(c *chain.Chain, until time.Time) *RestorePlan {
	p := &RestorePlan{Complete: c.Complete.BackupID, Logs: len(c.Logs), Until: until, Reaches: c.Reaches, Needs: c.Needs(), Notes: c.Notes}
	for _, m := range c.Deltas {
		p.Deltas = append(p.Deltas, m.BackupID)
	}
	if len(c.Logs) > 0 {
		p.FirstLog, p.LastLog = c.Logs[0].Name, c.Logs[len(c.Logs)-1].Name
	}
	if c.Catalog != nil {
		p.Catalog = c.Catalog.Name
	}
	return p
}
