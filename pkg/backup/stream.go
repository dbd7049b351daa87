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
	// File is the name under which HANA leaves the file, where it is known to be
	// another than that of a complete backup; see [Plan.FileName].
	File string `json:"file,omitempty"`
}

// Plan is everything that is decided before HANA is told to start.
type Plan struct {
	JobID string
	// Attempt is 2 when the job makes its backup once more.
	Attempt  int
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

// marker follows the prefix in the name of every file of a data backup.
const marker = "_databackup_"

// FileName is the name under which HANA leaves the file of a stream: what its
// Stream says or "<prefix>_databackup_<volume>_<part>" (SAP HANA administration
// guide; seen in real listings of HANA 2.0).
func (p Plan) FileName(id StreamID) string {
	for i := range p.Streams {
		if s := &p.Streams[i]; s.StreamID == id && s.File != "" {
			return s.File
		}
	}
	return p.Prefix + marker + id.String()
}

// Owns reports whether name is one that HANA gives a file of this backup, while
// it writes it or afterwards, its names for parts, volumes and deltas that the
// plan does not know included.
func (p Plan) Owns(name string) bool {
	return strings.HasPrefix(strings.TrimPrefix(name, "."), p.Prefix+marker)
}

// TemporaryName is the hidden name under which HANA 2.0 was seen to write a
// file before it renames it to FileName.
func (p Plan) TemporaryName(id StreamID) string {
	return "." + p.FileName(id)
}

// Comment is what the backup's row in HANA's catalog is found by: the job id, or
// "<job id>_<attempt>" from the second attempt on.
func (p Plan) Comment() string {
	if p.Attempt > 1 {
		return p.JobID + "_" + strconv.Itoa(p.Attempt)
	}
	return p.JobID
}

// Path is the absolute path prefix that goes into USING FILE ('…').
func (p Plan) Path() string {
	return strings.TrimSuffix(p.Directory, "/") + "/" + p.Prefix
}

// DataFile is what the name of a file of a data backup says.
type DataFile struct {
	Prefix string
	Kind   Kind
	// BaseID and BackupID are in the names of deltas only.
	BaseID, BackupID int64
	StreamID
}

// Name reverses [ParseFileName].
func (f DataFile) Name() string {
	name := f.Prefix + marker
	if f.Kind != KindComplete {
		name += fmt.Sprintf("%s_%d_%d_", f.Kind, f.BaseID, f.BackupID)
	}
	return name + f.String()
}

// ParseFileName reads the final name of a file of a data backup:
// "<prefix>_databackup_<volume>_<part>", or of a delta
// "<prefix>_databackup_<kind>_<base backup id>_<backup id>_<volume>_<part>". It
// refuses anything that [DataFile.Name] could not have produced. The form for
// deltas is from memory: no real listing of one was found.
func ParseFileName(name string) (DataFile, error) {
	i := strings.LastIndex(name, marker)
	if i < 0 {
		return DataFile{}, fmt.Errorf("file name %q: no %s<volume>_<part> at its end", name, marker)
	}
	f := DataFile{Prefix: name[:i], Kind: KindComplete}
	if err := CheckPrefix(f.Prefix); err != nil {
		return DataFile{}, fmt.Errorf("file name %q: %w", name, err)
	}
	rest := name[i+len(marker):]
	var err error
	for _, kind := range []Kind{KindDifferential, KindIncremental} {
		if ids, delta := strings.CutPrefix(rest, string(kind)+"_"); delta {
			f.Kind = kind
			if f.BaseID, f.BackupID, rest, err = cutIDs(ids); err != nil {
				return DataFile{}, fmt.Errorf("file name %q: %w", name, err)
			}
		}
	}
	if f.StreamID, err = ParseStreamID(rest); err != nil {
		return DataFile{}, fmt.Errorf("file name %q: %w", name, err)
	}
	return f, nil
}

// cutIDs reads "<base backup id>_<backup id>_" and returns what follows.
func cutIDs(s string) (base, id int64, rest string, err error) {
	pieces := strings.SplitN(s, "_", 3)
	if len(pieces) != 3 {
		return 0, 0, "", errors.New("expected <base backup id>_<backup id>_<volume>_<part>")
	}
	base, errBase := parseID(pieces[0])
	id, errID := parseID(pieces[1])
	return base, id, pieces[2], errors.Join(errBase, errID)
}

// parseID accepts a backup id in its canonical form.
func parseID(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n <= 0 || strconv.FormatInt(n, 10) != s {
		return 0, fmt.Errorf("%q is not a backup id", s)
	}
	return n, nil
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
