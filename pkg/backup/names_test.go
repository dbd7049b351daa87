package backup_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

func TestGrammars(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("A", 300)
	for _, test := range []struct {
		name   string
		check  func(string) error
		accept []string
		refuse []string
	}{
		{
			"sid", backup.CheckSID,
			[]string{"HXE", "A01"},
			[]string{"", "hxe", "1XE", "HXEE", "HX", "H/E", "HX\n", "ÄXE"},
		},
		{
			"database", func(s string) error { _, err := backup.ParseDatabase(s); return err },
			[]string{"SYSTEMDB", "hxe", "T_1", "A-B", "1A", strings.Repeat("A", 128)},
			[]string{"", "A B", `A"B`, "A'B", "A;B", "../A", "A/B", "-A", "_A", "A\x00", "ſYSTEMDB", "ıNDEX", "ＨＸＥ", long},
		},
		{
			"prefix", backup.CheckPrefix,
			[]string{"COMPLETE_2026", "a", "a-b_c", strings.Repeat("p", 100)},
			[]string{"", ".hidden", "-rf", "a b", "a/b", "a'b", "a\nb", "$(id)", "%2f", `a\b`, "ä", long},
		},
		{
			"directory", backup.CheckDirectory,
			[]string{"/backup", "/hana/backup/pipes", "/a.b/c-d_e", "/.hidden"},
			[]string{"", "/", "backup", "/a//b", "/a/", "/a/../b", "/a/.", "/a b", "/a'b", "/a\x00", "/a\nb", "/ä"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			for _, s := range test.accept {
				if err := test.check(s); err != nil {
					t.Errorf("%q was refused: %v", s, err)
				}
			}
			for _, s := range test.refuse {
				if err := test.check(s); err == nil {
					t.Errorf("%q was accepted", s)
				}
			}
		})
	}
}

func TestParseDatabaseGivesUpperCase(t *testing.T) {
	t.Parallel()
	if got, err := backup.ParseDatabase("hxe_1"); err != nil || got != "HXE_1" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestFileNames(t *testing.T) {
	t.Parallel()
	plan := backup.Plan{Directory: "/backup/pipes", Prefix: "COMPLETE_1"}
	id := backup.StreamID{VolumeID: 12, PartID: 1}
	got := []string{plan.FileName(id), plan.TemporaryName(id), plan.Path()}
	want := []string{"COMPLETE_1_databackup_12_1", ".COMPLETE_1_databackup_12_1", "/backup/pipes/COMPLETE_1"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	parsed, err := backup.ParseFileName(got[0])
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(backup.DataFile{Prefix: plan.Prefix, Kind: backup.KindComplete, StreamID: id}, parsed); diff != "" {
		t.Errorf("parsed (-want +got):\n%s", diff)
	}
	plan.Streams = []backup.Stream{{StreamID: id, File: "COMPLETE_1_databackup_differential_5_6_12_1"}}
	if got := plan.FileName(id); got != plan.Streams[0].File {
		t.Errorf("the file of a stream that says its name is %q", got)
	}
}

func TestFileNamesOfDeltas(t *testing.T) {
	t.Parallel()
	const name = "INC_1_databackup_incremental_1755519941920_1755520203466_3_2"
	got, err := backup.ParseFileName(name)
	if err != nil {
		t.Fatal(err)
	}
	want := backup.DataFile{
		Prefix: "INC_1", Kind: backup.KindIncremental, BaseID: 1755519941920, BackupID: 1755520203466,
		StreamID: backup.StreamID{VolumeID: 3, PartID: 2},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("parsed (-want +got):\n%s", diff)
	}
}

func TestOwns(t *testing.T) {
	t.Parallel()
	plan := backup.Plan{Prefix: "A"}
	for name, want := range map[string]bool{
		"A_databackup_0_1": true, ".A_databackup_0_1": true, "A_databackup_3_2": true, "A_databackup_incremental_1_2_3_1": true,
		"AA_databackup_0_1": false, "A_other_0_1": false, "A": false, "": false,
	} {
		if got := plan.Owns(name); got != want {
			t.Errorf("%q: %t", name, got)
		}
	}
}

func TestParseFileNameRefuses(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"", "COMPLETE", "_databackup_0_1", "A_databackup_", "A_databackup_1", "A_databackup_1_0", "A_databackup_01_1",
		"A_databackup_-1_1", "A_databackup_1_1x", "A_databackup_+1_1", ".A_databackup_1_1", "a/b_databackup_1_1",
		"A_databackup_99999999999999999999_1", "log_backup_0_0_0_0.1755520199338",
		"A_databackup_incremental_1_2_3", "A_databackup_incremental_1_2_3_0", "A_databackup_incremental_0_2_3_1",
		"A_databackup_incremental_01_2_3_1", "A_databackup_full_1_2_3_1", "A_databackup_differential__2_3_1",
	} {
		if file, err := backup.ParseFileName(name); err == nil {
			t.Errorf("%q was parsed to %+v", name, file)
		}
	}
}

func FuzzParseFileName(f *testing.F) {
	f.Add("COMPLETE_DATA_HXE_databackup_0_1")
	f.Add("A_databackup_B_databackup_3_2")
	f.Add("A_databackup_differential_1755519941920_1755520203466_3_1")
	f.Fuzz(func(t *testing.T, name string) {
		file, err := backup.ParseFileName(name)
		if err != nil {
			return
		}
		if got := file.Name(); got != name {
			t.Errorf("%q was parsed to %+v, which makes %q", name, file, got)
		}
	})
}

func TestKeys(t *testing.T) {
	t.Parallel()
	key := backup.StreamKey("HXE", "SYSTEMDB", "P", backup.StreamID{VolumeID: 1, PartID: 1})
	got := []string{
		key, backup.SegmentKey(key, 1), backup.SegmentKey(key, 2), backup.SegmentKey(key, 1000),
		backup.ManifestKey("HXE", "SYSTEMDB", 1755519941920),
	}
	want := []string{
		"HXE/SYSTEMDB/data/P/1_1", "HXE/SYSTEMDB/data/P/1_1", "HXE/SYSTEMDB/data/P/1_1.002", "HXE/SYSTEMDB/data/P/1_1.1000",
		"HXE/SYSTEMDB/manifests/1755519941920.json",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
}

func FuzzParseManifestKey(f *testing.F) {
	f.Add("HXE/SYSTEMDB/manifests/1755519941920.json")
	f.Add("HXE/../manifests/1.json")
	f.Fuzz(func(t *testing.T, key string) {
		sid, database, id, err := backup.ParseManifestKey(key)
		if err != nil {
			return
		}
		if got := backup.ManifestKey(sid, database, id); got != key {
			t.Errorf("%q was parsed, but its parts make %q", key, got)
		}
	})
}
