package backup

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// LogIndexVersion is the version that [LogIndex.Encode] writes.
const LogIndexVersion = 2

// LogIndexLimit is the size in bytes up to which an index is read.
const LogIndexLimit = 64 << 20

// LogIndex is our record of log and catalog backups that arrived together. It is
// written after their objects: what no index names is not part of a history.
type LogIndex struct {
	Version  int    `json:"version"`
	Tool     string `json:"tool"`
	SID      string `json:"sid"`
	Database string `json:"database"`
	// Sequence orders the indexes of a database: larger is later.
	Sequence int64 `json:"sequence"`
	// Files are sorted by volume, then by log position; those of the catalog
	// come last.
	Files []LogFile `json:"files"`
}

// Encode checks x and writes it as JSON.
func (x *LogIndex) Encode() ([]byte, error) {
	if err := x.check(); err != nil {
		return nil, fmt.Errorf("encode log index: %w", err)
	}
	text, err := json.Marshal(x)
	if err != nil {
		return nil, fmt.Errorf("encode log index: %w", err)
	}
	if len(text) >= LogIndexLimit {
		return nil, fmt.Errorf("encode log index: %d bytes: nobody would read back %d or more", len(text), LogIndexLimit)
	}
	return append(text, '\n'), nil
}

// DecodeLogIndex reads and checks an index as strictly as [DecodeManifest].
func DecodeLogIndex(text []byte) (*LogIndex, error) {
	x := new(LogIndex)
	if err := decodeStrict(text, x); err != nil {
		return nil, fmt.Errorf("decode log index: %w", err)
	}
	if err := x.check(); err != nil {
		return nil, fmt.Errorf("decode log index: %w", err)
	}
	return x, nil
}

func (x *LogIndex) check() error {
	if x.Version < 1 || x.Version > LogIndexVersion {
		return fmt.Errorf("version %d: this program reads versions 1 to %d", x.Version, LogIndexVersion)
	}
	if err := checkOwner(x.SID, x.Database); err != nil {
		return err
	}
	if x.Sequence <= 0 {
		return fmt.Errorf("sequence %d: expected more than 0", x.Sequence)
	}
	if len(x.Files) == 0 {
		return errors.New("files: expected at least one")
	}
	seen := make(map[string]bool, len(x.Files))
	for i := range x.Files {
		f := &x.Files[i]
		if seen[f.Name] {
			return fmt.Errorf("files[%d]: %s appears twice", i, f.Name)
		}
		seen[f.Name] = true
		if x.Version < 2 && len(EncodingOf(f.Objects)) > 0 {
			return fmt.Errorf("files[%d]: version %d has no encoding", i, x.Version)
		}
		if err := f.check(x.SID, x.Database); err != nil {
			return fmt.Errorf("files[%d]: %w", i, err)
		}
	}
	return nil
}

func (f *LogFile) check(sid, database string) error {
	if _, err := ParseLogName(f.Name); err != nil {
		return fmt.Errorf("name: %w", err)
	}
	key := LogKey(sid, database, f.Name)
	if encoding := EncodingOf(f.Objects); len(encoding) > 0 {
		// One that was not stored at the first attempt; see LogKeyAgain.
		rest, _ := strings.CutPrefix(f.Objects[0].Key, key+".")
		number, _ := strings.CutSuffix(rest, EncodedKey("", encoding))
		if n, err := parseID(number); err == nil {
			key = LogKeyAgain(sid, database, f.Name, n)
		}
	}
	return checkObjects(key, f.Size, f.SHA256, f.Objects)
}
