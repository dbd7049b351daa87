package backup_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

var (
	sumA = strings.Repeat("a1", 32)
	sumB = strings.Repeat("b2", 32)
)

func exampleManifest() *backup.Manifest {
	start := time.Date(2026, 11, 22, 3, 4, 5, 0, time.UTC)
	return &backup.Manifest{
		Version: 1, Tool: "pipestreamer v0.1.0", JobID: "0193525a-0000-7000-8000-000000000000",
		SID: "HXE", Database: "HXE", Kind: backup.KindComplete, BackupID: 1795230245000,
		Directory: "/backup/pipes", Prefix: "COMPLETE_HXE", HANAVersion: "2.00.088.00",
		StartedAt: start, FinishedAt: start.Add(time.Minute),
		Streams: []backup.ManifestStream{{
			StreamID: backup.StreamID{VolumeID: 2, PartID: 1}, Service: "indexserver", Host: "hxehost",
			Path: "/backup/pipes/COMPLETE_HXE_databackup_2_1", Size: 30, SHA256: sumA,
			Objects: []backup.Object{
				{Key: "HXE/HXE/data/COMPLETE_HXE/2_1", Size: 20, SHA256: sumA, Parts: []backup.Part{{Size: 16, SHA256: sumA}, {Size: 4, SHA256: sumB}}},
				{Key: "HXE/HXE/data/COMPLETE_HXE/2_1.002", Size: 10, SHA256: sumB, Parts: []backup.Part{{Size: 10, SHA256: sumB}}},
			},
		}},
		Catalog: backup.CatalogEntry{
			EntryID: 7, BackupID: 1795230245000, EntryType: "complete data backup", State: backup.CatalogSuccessful, Message: "<ok>",
			Comment: "0193525a-0000-7000-8000-000000000000", StartedAt: start, EndedAt: start.Add(50 * time.Second),
			Files: []backup.CatalogFile{{
				VolumeID: 2, SourceType: backup.SourceVolume, Service: "indexserver", Host: "hxehost", Size: 30,
				DestinationType: "file", Path: "/backup/pipes/COMPLETE_HXE_databackup_2_1",
			}},
		},
	}
}

// exampleDelta has what version 2 added.
func exampleDelta() *backup.Manifest {
	m := exampleManifest()
	m.Version, m.Kind, m.BaseID, m.BackupID = 2, backup.KindIncremental, 1795230245000, 1795233845000
	m.DatabaseUUID, m.Warnings = "5b4a7e5c-0000-4000-8000-000000000001", []string{"HANA wrote stream 2_1 past its pipe"}
	m.Streams[0].Path = "/backup/pipes/COMPLETE_HXE_databackup_incremental_1795230245000_1795233845000_2_1"
	m.Broken = &backup.Break{At: m.StartedAt.Add(-time.Hour), Reason: "recovery"}
	m.Streams[0].Door = backup.DoorSpool
	m.Catalog.EntryType, m.Catalog.BackupID = "incremental data backup", m.BackupID
	m.Catalog.Files[0].Path, m.Catalog.Files[0].RedoLogPosition = m.Streams[0].Path, 4096
	return m
}

// exampleEncoded has what version 3 added.
func exampleEncoded() *backup.Manifest {
	m := exampleDelta()
	m.Version, m.Streams[0].Size = 3, 1<<20
	both := []string{backup.EncodingZstd, backup.EncodingAge}
	m.Streams[0].Objects[0].Key, m.Streams[0].Objects[0].Encoding = "HXE/HXE/data/COMPLETE_HXE/2_1.zst.age", both
	m.Streams[0].Objects[1].Key, m.Streams[0].Objects[1].Encoding = "HXE/HXE/data/COMPLETE_HXE/2_1.zst.age.002", both
	return m
}

// TestManifestGolden keeps every version readable for ever: a file is never
// rewritten, later versions get files of their own.
func TestManifestGolden(t *testing.T) {
	t.Parallel()
	for file, manifest := range map[string]*backup.Manifest{
		"manifest_v1.json": exampleManifest(), "manifest_v2.json": exampleDelta(), "manifest_v3.json": exampleEncoded(),
	} {
		golden, err := os.ReadFile("testdata/" + file)
		if err != nil {
			t.Fatal(err)
		}
		text, err := manifest.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(golden), string(text)); diff != "" {
			t.Errorf("%s: encoding (-golden +got):\n%s", file, diff)
		}
		m, err := backup.DecodeManifest(golden)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(manifest, m); diff != "" {
			t.Errorf("%s: decoding (-want +got):\n%s", file, diff)
		}
	}
}

func TestManifestOfDeltaRefuses(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		spoil func(*backup.Manifest)
		want  string
	}{
		{"no base", func(m *backup.Manifest) { m.BaseID = 0 }, "base_id 0"},
		{"a base after it", func(m *backup.Manifest) { m.BaseID = m.BackupID }, "base_id"},
		{"a base of a complete backup", func(m *backup.Manifest) { m.Kind = backup.KindComplete }, "base_id"},
		{"another file", func(m *backup.Manifest) { m.Streams[0].Path = "/backup/OTHER_databackup_2_1" }, "path"},
		{"a file of another stream", func(m *backup.Manifest) { m.Streams[0].Path = "/backup/COMPLETE_HXE_databackup_incremental_1_2_3_1" }, "path"},
		{"a file with a quote", func(m *backup.Manifest) { m.Streams[0].Path = "/backup/COMPLETE_HXE_databackup_'_2_1" }, "path"},
		{"an unknown door", func(m *backup.Manifest) { m.Streams[0].Door = "window" }, "door"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			m := exampleDelta()
			test.spoil(m)
			if _, err := m.Encode(); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("encoding gave %v, expected a word about %q", err, test.want)
			}
		})
	}
}

func TestManifestOfEncodedStreamsRefuses(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		spoil func(*backup.Manifest)
		want  string
	}{
		{"an encoding before there was one", func(m *backup.Manifest) { m.Version = 2 }, "version 2"},
		{"an unknown encoding", func(m *backup.Manifest) { m.Streams[0].Objects[0].Encoding = []string{"rot13"} }, "encoding"},
		{"the wrong order", func(m *backup.Manifest) {
			for i := range m.Streams[0].Objects {
				m.Streams[0].Objects[i].Encoding = []string{backup.EncodingAge, backup.EncodingZstd}
			}
		}, "encoding"},
		{"two encodings", func(m *backup.Manifest) { m.Streams[0].Objects[1].Encoding = nil }, "objects[1]: encoding"},
		{"a key that does not say it", func(m *backup.Manifest) { m.Streams[0].Objects[0].Key = "HXE/HXE/data/COMPLETE_HXE/2_1" }, "key"},
		{"no size", func(m *backup.Manifest) { m.Streams[0].Size = 0 }, "size 0"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			m := exampleEncoded()
			test.spoil(m)
			if _, err := m.Encode(); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("encoding gave %v, expected a word about %q", err, test.want)
			}
		})
	}
}

func TestManifestRefuses(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		spoil func(*backup.Manifest)
		want  string
	}{
		{"another version", func(m *backup.Manifest) { m.Version = 4 }, "version 4"},
		{"sid outside its grammar", func(m *backup.Manifest) { m.SID = "../" }, "sid"},
		{"database in lower case", func(m *backup.Manifest) { m.Database = "hxe" }, "upper case"},
		{"database with a quote", func(m *backup.Manifest) { m.Database = "H'E" }, "database"},
		{"prefix that climbs", func(m *backup.Manifest) { m.Prefix = "../../etc" }, "prefix"},
		{"relative directory", func(m *backup.Manifest) { m.Directory = "backup" }, "directory"},
		{"unknown kind", func(m *backup.Manifest) { m.Kind = "half" }, "kind"},
		{"no backup id", func(m *backup.Manifest) { m.BackupID = 0 }, "backup_id"},
		{"no streams", func(m *backup.Manifest) { m.Streams = nil }, "streams"},
		{"a stream twice", func(m *backup.Manifest) { m.Streams = append(m.Streams, m.Streams[0]) }, "twice"},
		{"negative volume", func(m *backup.Manifest) { m.Streams[0].VolumeID = -1 }, "volume"},
		{"stream without objects", func(m *backup.Manifest) { m.Streams[0].Objects = nil }, "objects"},
		{"key of another backup", func(m *backup.Manifest) { m.Streams[0].Objects[0].Key = "HXE/HXE/data/OTHER/2_1" }, "key"},
		{"objects in the wrong order", func(m *backup.Manifest) { o := m.Streams[0].Objects; o[0], o[1] = o[1], o[0] }, "key"},
		{"sizes that do not add up", func(m *backup.Manifest) { m.Streams[0].Size++ }, "add up"},
		{"parts that do not add up", func(m *backup.Manifest) { m.Streams[0].Objects[0].Parts[0].Size-- }, "add up"},
		{"part larger than its object", func(m *backup.Manifest) { m.Streams[0].Objects[0].Parts[0].Size = 1 << 62 }, "parts[0]"},
		{"no parts", func(m *backup.Manifest) { m.Streams[0].Objects[1].Parts = nil }, "parts"},
		{"hash of the wrong length", func(m *backup.Manifest) { m.Streams[0].SHA256 = "abcd" }, "sha256"},
		{"hash that is no hex", func(m *backup.Manifest) { m.Streams[0].Objects[0].SHA256 = strings.Repeat("x", 64) }, "sha256"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			m := exampleManifest()
			test.spoil(m)
			if _, err := m.Encode(); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("encoding gave %v, expected a word about %q", err, test.want)
			}
			text, err := json.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := backup.DecodeManifest(text); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("decoding gave %v, expected a word about %q", err, test.want)
			}
		})
	}
}

func TestDecodeManifestRefusesText(t *testing.T) {
	t.Parallel()
	good, err := exampleManifest().Encode()
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"nothing":          "",
		"half of it":       string(good[:len(good)/2]),
		"text after it":    string(good) + "{}",
		"unknown field":    strings.Replace(string(good), `"tool"`, `"toll"`, 1),
		"a list":           "[]",
		"version as words": `{"version":"one"}`,
	} {
		if _, err := backup.DecodeManifest([]byte(text)); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

func FuzzDecodeManifest(f *testing.F) {
	text, err := exampleManifest().Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := backup.DecodeManifest(text)
		if err != nil {
			return
		}
		again, err := m.Encode()
		if err != nil {
			t.Fatalf("what was decoded cannot be encoded: %v", err)
		}
		if _, err := backup.DecodeManifest(again); err != nil {
			t.Errorf("what was encoded cannot be decoded: %v", err)
		}
	})
}
