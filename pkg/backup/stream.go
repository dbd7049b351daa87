package backup

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Kind is what a backup holds.
type Kind string

// The kinds of backup that HANA knows.
const (
	KindComplete     Kind = "complete"
	KindDifferential Kind = "differential"
	KindIncremental  Kind = "incremental"
	KindLog          Kind = "log"
	KindCatalog      Kind = "catalog"
)

// ParseKind reads a kind as users write it.
func ParseKind(s string) (Kind, error) {
	switch k := Kind(s); k {
	case KindComplete, KindDifferential, KindIncremental, KindLog, KindCatalog:
		return k, nil
	default:
		return "", fmt.Errorf("kind %q: expected complete, differential, incremental, log or catalog", s)
	}
}

// SystemDB is the name of the system database of every HANA system.
const SystemDB = "SYSTEMDB"

// TopologyVolume is the volume id under which HANA writes the topology.
const TopologyVolume = 0

// StreamID names a stream inside one backup.
type StreamID struct {
	// VolumeID is the persistence of one service; 0 is the topology.
	VolumeID int `json:"volume_id"`
	// PartID counts the files of one volume from 1.
	PartID int `json:"part_id"`
}

// String gives the form in which HANA ends its file names, "3_1".
func (id StreamID) String() string {
	return strconv.Itoa(id.VolumeID) + "_" + strconv.Itoa(id.PartID)
}

// Stream is the bytes of one file that HANA writes or reads.
type Stream struct {
	StreamID
	Service string `json:"service"`
	Host    string `json:"host"`
	// EstimatedSize is HANA's guess in bytes, 0 when it gave none.
	EstimatedSize int64 `json:"estimated_size,omitempty"`
}

// Plan is everything that is decided before HANA is told to start.
type Plan struct {
	JobID    string
	SID      string
	Database string
	Kind     Kind
	// Directory is absolute and has the same path in HANA's container.
	Directory string
	// Prefix is unique per job; HANA appends "_databackup_<volume>_<part>".
	Prefix      string
	HANAVersion string
	Streams     []Stream
}

// FileName is the name under which HANA leaves the file of a stream:
// "<prefix>_databackup_<volume>_<part>" (SAP HANA administration guide; seen in
// real listings of HANA 2.0).
func (p Plan) FileName(id StreamID) string {
	return p.Prefix + "_databackup_" + id.String()
}

// TemporaryName is the hidden name under which HANA 2.0 was seen to write a
// file before it renames it to FileName.
func (p Plan) TemporaryName(id StreamID) string {
	return "." + p.FileName(id)
}

// Path is the absolute path prefix that goes into USING FILE ('…').
func (p Plan) Path() string {
	return strings.TrimSuffix(p.Directory, "/") + "/" + p.Prefix
}

// ParseFileName reverses [Plan.FileName] for a complete backup. It refuses
// anything that FileName could not have produced.
func ParseFileName(name string) (prefix string, id StreamID, err error) {
	i := strings.LastIndex(name, "_databackup_")
	if i < 0 {
		return "", StreamID{}, fmt.Errorf("file name %q: no _databackup_<volume>_<part> at its end", name)
	}
	prefix = name[:i]
	if err := CheckPrefix(prefix); err != nil {
		return "", StreamID{}, fmt.Errorf("file name %q: %w", name, err)
	}
	id, err = ParseStreamID(name[i+len("_databackup_"):])
	if err != nil {
		return "", StreamID{}, fmt.Errorf("file name %q: %w", name, err)
	}
	return prefix, id, nil
}

// ParseStreamID reverses [StreamID.String].
func ParseStreamID(s string) (StreamID, error) {
	volume, part, found := strings.Cut(s, "_")
	if !found {
		return StreamID{}, fmt.Errorf("stream %q: expected <volume>_<part>", s)
	}
	v, errV := parseNumber(volume)
	p, errP := parseNumber(part)
	if err := errors.Join(errV, errP); err != nil {
		return StreamID{}, fmt.Errorf("stream %q: expected <volume>_<part>: %w", s, err)
	}
	if p == 0 {
		return StreamID{}, fmt.Errorf("stream %q: parts count from 1", s)
	}
	return StreamID{VolumeID: v, PartID: p}, nil
}

// parseNumber accepts only the canonical form, so that two names never mean
// the same stream.
func parseNumber(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 || strconv.Itoa(n) != s {
		return 0, fmt.Errorf("%q is not a plain number", s)
	}
	return n, nil
}
