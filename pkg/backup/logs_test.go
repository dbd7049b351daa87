package backup_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

func TestLogNames(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]backup.LogName{
		"log_backup_2_0_113012992_116115904.1755520199338": {VolumeID: 2, First: 113012992, Last: 116115904, BackupID: 1755520199338},
		"log_backup_0_0_0_0.1767613675140":                 {BackupID: 1767613675140},
	} {
		got, err := backup.ParseLogName(name)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if catalog := got.Kind() == backup.KindCatalog; catalog != (want.Last == 0) {
			t.Errorf("%s is of kind %s", name, got.Kind())
		}
	}
}

func TestParseLogNameRefuses(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"", "log_backup_", "log_backup_1_0_5_9", "log_backup_1_0_5_9.", "log_backup_1_0_5_9.0", "log_backup_1_0_9_5.1755520199338",
		"log_backup_1_0_5_5.1755520199338", "log_backup_01_0_5_9.1", "log_backup_1_0_5.1", "log_backup_1_0_5_9_1.1", "log_backup_1_0_-5_9.1",
		".log_backup_1_0_5_9.1", "log_backup_1_0_5_9.1.2", "../log_backup_1_0_5_9.1", "log_backup_1_0_5_99999999999999999999.1",
	} {
		if got, err := backup.ParseLogName(name); err == nil {
			t.Errorf("%q was parsed to %+v", name, got)
		}
	}
}

func FuzzParseLogName(f *testing.F) {
	f.Add("log_backup_2_0_113012992_116115904.1755520199338")
	f.Add("log_backup_0_0_0_0.1767613675140")
	f.Fuzz(func(t *testing.T, name string) {
		got, err := backup.ParseLogName(name)
		if err == nil && got.String() != name {
			t.Errorf("%q was parsed to %+v, which makes %q", name, got, got.String())
		}
	})
}

func exampleLogIndex() *backup.LogIndex {
	const name = "log_backup_2_0_113012992_116115904.1755520199338"
	return &backup.LogIndex{
		Version: 1, Tool: "pipestreamer v0.1.0", SID: "HXE", Database: "HXE", Sequence: 1755520199400,
		Files: []backup.LogFile{{
			Name: name, Size: 20, SHA256: sumA, WrittenAt: time.Date(2025, 8, 18, 12, 29, 59, 0, time.UTC), Confirmed: true,
			Objects: []backup.Object{{Key: "HXE/HXE/log/" + name, Size: 20, SHA256: sumA, Parts: []backup.Part{{Size: 20, SHA256: sumA}}}},
		}},
	}
}

func TestLogIndex(t *testing.T) {
	t.Parallel()
	text, err := exampleLogIndex().Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := backup.DecodeLogIndex(text)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(exampleLogIndex(), got); diff != "" {
		t.Errorf("decoded (-want +got):\n%s", diff)
	}
	if got, want := backup.LogIndexKey("HXE", "HXE", got.Sequence), "HXE/HXE/logindex/00000001755520199400.json"; got != want {
		t.Errorf("key %s, expected %s", got, want)
	}
}

func TestLogIndexOfEncodedFiles(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, suffix string
		version      int
		want         string
	}{
		{"at the first attempt", ".age", 2, ""},
		{"at a later attempt", ".1755520199500.age", 2, ""},
		{"with a number that is none", ".01.age", 2, "key"},
		{"as if it were plain", "", 2, "key"},
		{"before there was an encoding", ".age", 1, "version 1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			x := exampleLogIndex()
			x.Version = test.version
			f := &x.Files[0]
			f.Size += 200
			f.Objects[0].Key += test.suffix
			f.Objects[0].Encoding = []string{backup.EncodingAge}
			_, err := x.Encode()
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("encoding gave %v, expected a word about %q", err, test.want)
			}
		})
	}
}

func TestLogIndexRefuses(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		spoil func(*backup.LogIndex)
		want  string
	}{
		{"another version", func(x *backup.LogIndex) { x.Version = 3 }, "version 3"},
		{"sid outside its grammar", func(x *backup.LogIndex) { x.SID = "../" }, "sid"},
		{"database in lower case", func(x *backup.LogIndex) { x.Database = "hxe" }, "upper case"},
		{"no sequence", func(x *backup.LogIndex) { x.Sequence = 0 }, "sequence"},
		{"no files", func(x *backup.LogIndex) { x.Files = nil }, "files"},
		{"a file twice", func(x *backup.LogIndex) { x.Files = append(x.Files, x.Files[0]) }, "twice"},
		{"a name that climbs", func(x *backup.LogIndex) { x.Files[0].Name = "../" + x.Files[0].Name }, "name"},
		{"key of another file", func(x *backup.LogIndex) { x.Files[0].Objects[0].Key = "HXE/HXE/log/other" }, "key"},
		{"sizes that do not add up", func(x *backup.LogIndex) { x.Files[0].Size++ }, "add up"},
		{"hash that is no hex", func(x *backup.LogIndex) { x.Files[0].SHA256 = "x" }, "sha256"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			x := exampleLogIndex()
			test.spoil(x)
			if _, err := x.Encode(); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("encoding gave %v, expected a word about %q", err, test.want)
			}
		})
	}
}

func FuzzDecodeLogIndex(f *testing.F) {
	text, err := exampleLogIndex().Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, text []byte) {
		x, err := backup.DecodeLogIndex(text)
		if err != nil {
			return
		}
		if _, err := x.Encode(); err != nil {
			t.Errorf("what was decoded cannot be encoded: %v", err)
		}
	})
}
