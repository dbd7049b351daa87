package backup

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// BreakVersion is the version that [BreakRecord.Encode] writes.
const BreakVersion = 1

// BreakLimit is the size in bytes up to which a record of a break is read.
const BreakLimit = 1 << 20

// BreakRecord is our record of an interruption of the log. HANA tells of it in a
// view, and nobody knows for how long; a manifest tells of it only when a backup
// was made since, and came to something.
type BreakRecord struct {
	Version  int    `json:"version"`
	Tool     string `json:"tool"`
	SID      string `json:"sid"`
	Database string `json:"database"`
	Break    Break  `json:"break"`
}

// Encode checks r and writes it as JSON.
func (r *BreakRecord) Encode() ([]byte, error) {
	if err := r.check(); err != nil {
		return nil, fmt.Errorf("encode break: %w", err)
	}
	text, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode break: %w", err)
	}
	if len(text) >= BreakLimit {
		return nil, fmt.Errorf("encode break: %d bytes: nobody would read back %d or more", len(text), BreakLimit)
	}
	return append(text, '\n'), nil
}

// DecodeBreak reads and checks a record as strictly as [DecodeManifest].
func DecodeBreak(text []byte) (*BreakRecord, error) {
	r := new(BreakRecord)
	if err := decodeStrict(text, r); err != nil {
		return nil, fmt.Errorf("decode break: %w", err)
	}
	if err := r.check(); err != nil {
		return nil, fmt.Errorf("decode break: %w", err)
	}
	return r, nil
}

func (r *BreakRecord) check() error {
	if r.Version != BreakVersion {
		return fmt.Errorf("version %d: this program reads version %d", r.Version, BreakVersion)
	}
	if r.Break.At.UnixMilli() <= 0 {
		return errors.New("at: expected a time")
	}
	return checkOwner(r.SID, r.Database)
}

// BreakPrefix is where the records of a database's breaks lie, with a final slash.
func BreakPrefix(sid, database string) string { return sid + "/" + database + "/breaks/" }

// BreakKey is the key of the record of a break at a time, in milliseconds: one
// that was recorded once is not recorded again.
func BreakKey(sid, database string, at time.Time) string {
	return fmt.Sprintf("%s%020d.json", BreakPrefix(sid, database), at.UnixMilli())
}

// ParseBreakKey gives the time of the key of a break of a database.
func ParseBreakKey(sid, database, key string) (time.Time, error) {
	number, ours := strings.CutPrefix(key, BreakPrefix(sid, database))
	number, found := strings.CutSuffix(number, ".json")
	ms, err := strconv.ParseInt(number, 10, 64)
	at := time.UnixMilli(ms).UTC()
	if !ours || !found || err != nil || ms <= 0 || BreakKey(sid, database, at) != key {
		return time.Time{}, fmt.Errorf("key %q: expected <SID>/<database>/breaks/<milliseconds>.json", key)
	}
	return at, nil
}
