package backup

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// ManifestLimit is the size in bytes up to which a manifest is read. A part of
// a stream takes about 100 bytes, so it holds about 10 million of them: 80 TiB
// in parts of 8 MiB.
const ManifestLimit = 1 << 30

// ManifestVersion is the version that [Manifest.Encode] writes.
const ManifestVersion = 1

// Manifest is our record of one backup: it maps HANA's catalog to objects. It
// is written last, so an object without one is not part of a backup. A restore
// needs nothing else. docs/manifest.md describes it field by field.
type Manifest struct {
	Version     int       `json:"version"`
	Tool        string    `json:"tool"`
	JobID       string    `json:"job_id"`
	SID         string    `json:"sid"`
	Database    string    `json:"database"`
	Kind        Kind      `json:"kind"`
	BackupID    int64     `json:"backup_id"`
	Directory   string    `json:"directory"`
	Prefix      string    `json:"prefix"`
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
	// Path is what HANA's catalog names; no file is there.
	Path string `json:"path"`
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

// Plan gives the names under which HANA knows the streams of this backup, with
// dir as the directory.
func (m *Manifest) Plan(jobID, dir string) Plan {
	plan := Plan{
		JobID: jobID, SID: m.SID, Database: m.Database, Kind: m.Kind,
		Directory: dir, Prefix: m.Prefix, HANAVersion: m.HANAVersion,
	}
	for i := range m.Streams {
		s := &m.Streams[i]
		plan.Streams = append(plan.Streams, Stream{
			StreamID: s.StreamID, Service: s.Service, Host: s.Host, EstimatedSize: s.Size,
		})
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
	if head.Version != ManifestVersion {
		return nil, fmt.Errorf("decode manifest: version %d: this program reads version %d", head.Version, ManifestVersion)
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	m := new(Manifest)
	if err := decoder.Decode(m); err != nil {
		return nil, fmt.Errorf("decode manifest: %w", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("decode manifest: text after its end")
	}
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("decode manifest: %w", err)
	}
	return m, nil
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
	if m.Version != ManifestVersion {
		return fmt.Errorf("version %d: expected %d", m.Version, ManifestVersion)
	}
	if err := CheckSID(m.SID); err != nil {
		return err
	}
	if name, err := ParseDatabase(m.Database); err != nil {
		return err
	} else if name != m.Database {
		return fmt.Errorf("database %q: expected upper case", m.Database)
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

func (m *Manifest) checkStream(s *ManifestStream) error {
	if s.VolumeID < 0 || s.PartID < 1 {
		return fmt.Errorf("stream %s: expected a volume from 0 and a part from 1", s.StreamID)
	}
	if !isSHA256(s.SHA256) {
		return fmt.Errorf("sha256 %q: expected 64 hex digits", s.SHA256)
	}
	if len(s.Objects) == 0 {
		return errors.New("objects: expected at least one")
	}
	var size int64
	for i := range s.Objects {
		o := &s.Objects[i]
		want := SegmentKey(StreamKey(m.SID, m.Database, m.Prefix, s.StreamID), i+1)
		if o.Key != want {
			return fmt.Errorf("objects[%d]: key %q: expected %q", i, o.Key, want)
		}
		if err := o.check(); err != nil {
			return fmt.Errorf("objects[%d]: %w", i, err)
		}
		size += o.Size
	}
	if size != s.Size {
		return fmt.Errorf("size %d: its objects add up to %d", s.Size, size)
	}
	return nil
}

func (o *Object) check() error {
	if o.Size <= 0 {
		return fmt.Errorf("size %d: expected more than 0", o.Size)
	}
	if !isSHA256(o.SHA256) {
		return fmt.Errorf("sha256 %q: expected 64 hex digits", o.SHA256)
	}
	if len(o.Parts) == 0 {
		return errors.New("parts: expected at least one")
	}
	rest := o.Size
	for i, part := range o.Parts {
		if part.Size <= 0 || part.Size > rest {
			return fmt.Errorf("parts[%d]: size %d: expected 1 to %d", i, part.Size, rest)
		}
		if !isSHA256(part.SHA256) {
			return fmt.Errorf("parts[%d]: sha256 %q: expected 64 hex digits", i, part.SHA256)
		}
		rest -= part.Size
	}
	if rest != 0 {
		return fmt.Errorf("size %d: its parts add up to %d", o.Size, o.Size-rest)
	}
	return nil
}

func isSHA256(s string) bool {
	sum, err := hex.DecodeString(s)
	return err == nil && len(sum) == 32
}
