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
			[]string{"", "A B", `A"B`, "A'B", "A;B", "../A", "A/B", "-A", "_A", "A\x00", long},
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
	prefix, parsed, err := backup.ParseFileName(got[0])
	if err != nil || prefix != plan.Prefix || parsed != id {
		t.Errorf("parsed to %q, %v, %v", prefix, parsed, err)
	}
}

func TestParseFileNameRefuses(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"", "COMPLETE", "_databackup_0_1", "A_databackup_", "A_databackup_1", "A_databackup_1_0", "A_databackup_01_1",
		"A_databackup_-1_1", "A_databackup_1_1x", "A_databackup_+1_1", ".A_databackup_1_1", "a/b_databackup_1_1",
		"A_databackup_99999999999999999999_1", "log_backup_0_0_0_0.1755520199338",
	} {
		if prefix, id, err := backup.ParseFileName(name); err == nil {
			t.Errorf("%q was parsed to %q and %v", name, prefix, id)
		}
	}
}

func FuzzParseFileName(f *testing.F) {
	f.Add("COMPLETE_DATA_HXE_databackup_0_1")
	f.Add("A_databackup_B_databackup_3_2")
	f.Fuzz(func(t *testing.T, name string) {
		prefix, id, err := backup.ParseFileName(name)
		if err != nil {
			return
		}
		if got := (backup.Plan{Prefix: prefix}).FileName(id); got != name {
			t.Errorf("%q was parsed to %q and %v, which make %q", name, prefix, id, got)
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
