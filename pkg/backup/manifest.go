package backup

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"
)

// ManifestLimit is the size in bytes up to which a manifest is read. A part of
// a stream takes about 100 bytes, so it holds about 10 million of them: 80 TiB
// in parts of 8 MiB.
const ManifestLimit = 1 << 30

// ManifestVersion is the version that [Manifest.Encode] writes.
const ManifestVersion = 3

// The front doors, as manifests name them.
const (
	DoorFIFO  = "fifo"
	DoorSpool = "spool"
)

// Manifest is our record of one backup: it maps HANA's catalog to objects. It
// is written last, so an object without one is not part of a backup. A restore
// needs nothing else. docs/manifest.md describes it field by field.
type Manifest struct {
	Version   int    `json:"version"`
	Tool      string `json:"tool"`
	JobID     string `json:"job_id"`
	SID       string `json:"sid"`
	Database  string `json:"database"`
	Kind      Kind   `json:"kind"`
	BackupID  int64  `json:"backup_id"`
	Directory string `json:"directory"`
	Prefix    string `json:"prefix"`
	// BaseID is the backup id on which a delta builds: the complete backup of a
	// differential one, the data backup before an incremental one.
	BaseID int64 `json:"base_id,omitempty"`
	// DatabaseUUID is what HANA calls the database in the headers of its files.
	// After a recovery from another database's backup it is another one.
	DatabaseUUID string `json:"database_uuid,omitempty"`
	// Broken is the newest interruption of the log that HANA knew of when the
	// backup began: no recovery can pass it.
	Broken *Break `json:"broken,omitempty"`
	// Warnings say what this HANA did otherwise than expected.
	Warnings    []string  `json:"warnings,omitempty"`
	HANAVersion string    `json:"hana_version"`
	StartedAt   time.Time `json:"started_at"`
	FinishedAt  time.Time `json:"finished_at"`
	// Streams are sorted by volume and part.
	Streams []ManifestStream `json:"streams"`
	// Catalog is HANA's own record of the backup.
	Catalog CatalogEntry `json:"catalog"`
}

// ManifestStream maps one file of HANA's catalog to its objects.
type ManifestStream struct {
	StreamID
	Service string `json:"service"`
	Host    string `json:"host"`
	// Path is what HANA's catalog names; a recovery must find the file under the
	// last element of it. No file is there any more, or never was.
	Path string `json:"path"`
	// Door says how the bytes came in; version 1 does not say it: DoorFIFO.
	Door string `json:"door,omitempty"`
	// Size and SHA256 are of the bytes that HANA wrote.
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
	// Objects hold the stream, in order.
	Objects []Object `json:"objects"`
}

// Bytes is the sum of the sizes of all streams.
func (m *Manifest) Bytes() int64 {
	var sum int64
	for i := range m.Streams {
		sum += m.Streams[i].Size
	}
	return sum
}

// StoredSize is the sum of the sizes of the stream's objects.
func (s *ManifestStream) StoredSize() int64 {
	var sum int64
	for i := range s.Objects {
		sum += s.Objects[i].Size
	}
	return sum
}

// Plan gives the names under which HANA knows the streams of this backup, with
// dir as the directory.
func (m *Manifest) Plan(jobID, dir string) Plan {
	plan := Plan{
		JobID: jobID, SID: m.SID, Database: m.Database, Kind: m.Kind,
		Directory: dir, Prefix: m.Prefix, HANAVersion: m.HANAVersion,
	}
	for i := range m.Streams {
		s := &m.Streams[i]
		stream := Stream{StreamID: s.StreamID, Service: s.Service, Host: s.Host, EstimatedSize: s.Size}
		if name := path.Base(s.Path); m.Version > 1 && name != plan.FileName(s.StreamID) {
			stream.File = name
		}
		plan.Streams = append(plan.Streams, stream)
	}
	return plan
}

// Encode checks m and writes it as JSON.
func (m *Manifest) Encode() ([]byte, error) {
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("encode manifest: %w", err)
	}
	text, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode manifest: %w", err)
	}
	if len(text) >= ManifestLimit {
		return nil, fmt.Errorf("encode manifest: %d bytes: nobody would read back %d or more", len(text), ManifestLimit)
	}
	return append(text, '\n'), nil
}

// DecodeManifest reads and checks a manifest. It refuses unknown fields and
// versions, and any name or key that could lead outside the backup's own
// place: a manifest comes from a store that others may write to.
func DecodeManifest(text []byte) (*Manifest, error) {
	var head struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(text, &head); err != nil {
		return nil, fmt.Errorf("decode manifest: %w", err)
	}
	if head.Version < 1 || head.Version > ManifestVersion {
		return nil, fmt.Errorf("decode manifest: version %d: this program reads versions 1 to %d", head.Version, ManifestVersion)
	}
	m := new(Manifest)
	if err := decodeStrict(text, m); err != nil {
		return nil, fmt.Errorf("decode manifest: %w", err)
	}
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("decode manifest: %w", err)
	}
	return m, nil
}

// decodeStrict reads one JSON value with known fields only and nothing after it.
func decodeStrict(text []byte, value any) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(value); err != nil {
		return err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("text after its end")
	}
	return nil
}

func (m *Manifest) check() error {
	if err := m.checkNames(); err != nil {
		return err
	}
	if m.BackupID <= 0 {
		return fmt.Errorf("backup_id %d: expected epoch milliseconds", m.BackupID)
	}
	if len(m.Streams) == 0 {
		return errors.New("streams: expected at least one")
	}
	seen := make(map[StreamID]bool, len(m.Streams))
	for i := range m.Streams {
		s := &m.Streams[i]
		if seen[s.StreamID] {
			return fmt.Errorf("streams[%d]: stream %s appears twice", i, s.StreamID)
		}
		seen[s.StreamID] = true
		if err := m.checkStream(s); err != nil {
			return fmt.Errorf("streams[%d]: %w", i, err)
		}
	}
	return nil
}

func (m *Manifest) checkNames() error {
	if m.Version < 1 || m.Version > ManifestVersion {
		return fmt.Errorf("version %d: expected 1 to %d", m.Version, ManifestVersion)
	}
	if err := checkOwner(m.SID, m.Database); err != nil {
		return err
	}
	if err := m.checkBase(); err != nil {
		return err
	}
	if err := CheckPrefix(m.Prefix); err != nil {
		return err
	}
	if err := CheckDirectory(m.Directory); err != nil {
		return err
	}
	_, err := ParseKind(string(m.Kind))
	return err
}

// checkOwner checks the names of a system and of one of its databases.
func checkOwner(sid, database string) error {
	if err := CheckSID(sid); err != nil {
		return err
	}
	name, err := ParseDatabase(database)
	if err == nil && name != database {
		err = fmt.Errorf("database %q: expected upper case", database)
	}
	return err
}

func (m *Manifest) checkBase() error {
	delta := m.Kind == KindDifferential || m.Kind == KindIncremental
	switch {
	case delta && m.BaseID <= 0:
		return fmt.Errorf("base_id %d: expected the backup id on which a %s backup builds", m.BaseID, m.Kind)
	case delta && m.BaseID >= m.BackupID:
		return fmt.Errorf("base_id %d: expected one before backup_id %d", m.BaseID, m.BackupID)
	case !delta && m.BaseID != 0:
		return fmt.Errorf("base_id %d: expected none for kind %q", m.BaseID, m.Kind)
	}
	return nil
}

func (m *Manifest) checkStream(s *ManifestStream) error {
	if s.VolumeID < 0 || s.PartID < 1 {
		return fmt.Errorf("stream %s: expected a volume from 0 and a part from 1", s.StreamID)
	}
	if s.Door != "" && s.Door != DoorFIFO && s.Door != DoorSpool {
		return fmt.Errorf("door %q: expected %s or %s", s.Door, DoorFIFO, DoorSpool)
	}
	if err := m.checkFile(s); err != nil {
		return err
	}
	if m.Version < 3 && len(EncodingOf(s.Objects)) > 0 {
		return fmt.Errorf("objects: version %d has no encoding", m.Version)
	}
	return checkObjects(StreamKey(m.SID, m.Database, m.Prefix, s.StreamID), s.Size, s.SHA256, s.Objects)
}

// checkFile makes sure that a restore creates files of this backup only. A delta's
// name may have a form that is not known here. A restore from version 1 does not
// look at the path.
func (m *Manifest) checkFile(s *ManifestStream) error {
	name := path.Base(s.Path)
	plan := Plan{Prefix: m.Prefix}
	plain := plan.FileName(s.StreamID)
	if m.Version == 1 || name == plain {
		return nil
	}
	delta := m.Kind == KindDifferential || m.Kind == KindIncremental
	if delta && plan.Owns(name) && name[0] != '.' && strings.HasSuffix(name, "_"+s.String()) && directoryPiece.MatchString(name) {
		return nil
	}
	return fmt.Errorf("path %q: expected one that ends in %s", s.Path, plain)
}

// checkObjects checks the segments of what was stored at key. The sizes of
// encoded ones say nothing about that of the stream.
func checkObjects(key string, size int64, sum string, objects []Object) error {
	if len(objects) == 0 {
		return errors.New("objects: expected at least one")
	}
	if err := checkSum(sum, objects[0].Parts); err != nil {
		return err
	}
	if size <= 0 {
		return fmt.Errorf("size %d: expected more than 0", size)
	}
	encoding := EncodingOf(objects)
	if err := checkEncoding(encoding); err != nil {
		return fmt.Errorf("objects[0]: %w", err)
	}
	key = EncodedKey(key, encoding)
	rest := size
	for i := range objects {
		o := &objects[i]
		if !slices.Equal(o.Encoding, encoding) {
			return fmt.Errorf("objects[%d]: encoding %q: expected that of the first, %q", i, o.Encoding, encoding)
		}
		if want := SegmentKey(key, i+1); o.Key != want {
			return fmt.Errorf("objects[%d]: key %q: expected %q", i, o.Key, want)
		}
		if err := o.check(); err != nil {
			return fmt.Errorf("objects[%d]: %w", i, err)
		}
		rest -= o.Size
	}
	if rest != 0 && len(encoding) == 0 {
		return fmt.Errorf("size %d: its objects add up to %d", size, size-rest)
	}
	return nil
}

func (o *Object) check() error {
	if o.Size <= 0 {
		return fmt.Errorf("size %d: expected more than 0", o.Size)
	}
	if err := checkSum(o.SHA256, o.Parts); err != nil {
		return err
	}
	if len(o.Parts) == 0 {
		return errors.New("parts: expected at least one")
	}
	rest := o.Size
	for i, part := range o.Parts {
		if part.Size <= 0 || part.Size > rest {
			return fmt.Errorf("parts[%d]: size %d: expected 1 to %d", i, part.Size, rest)
		}
		if err := part.check(); err != nil {
			return fmt.Errorf("parts[%d]: %w", i, err)
		}
		rest -= part.Size
	}
	if rest != 0 {
		return fmt.Errorf("size %d: its parts add up to %d", o.Size, o.Size-rest)
	}
	return nil
}

// check accepts a part that can be compared with something.
func (p Part) check() error {
	if p.CRC64NVME != "" {
		if sum, err := hex.DecodeString(p.CRC64NVME); err != nil || len(sum) != 8 {
			return fmt.Errorf("crc64nvme %q: expected 16 hex digits", p.CRC64NVME)
		}
	}
	return checkSum(p.SHA256, []Part{p})
}

// checkSum accepts the SHA-256 of what consists of parts. It may be missing where
// each of them can be compared without.
func checkSum(sum string, parts []Part) error {
	crc := len(parts) > 0 && parts[0].CRC64NVME != ""
	if sum == "" && crc || isSHA256(sum) {
		return nil
	}
	return fmt.Errorf("sha256 %q: expected 64 hex digits", sum)
}

func isSHA256(s string) bool {
	sum, err := hex.DecodeString(s)
	return err == nil && len(sum) == 32
}
