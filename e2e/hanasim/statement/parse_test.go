package statement

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim/wire"
)

func TestParse(t *testing.T) {
	tests := []struct {
		name, sql string
		want      any
	}{
		{"query", "select 1 from dummy", Query{}},
		{"with", "WITH a AS (SELECT 1 FROM DUMMY) SELECT * FROM a", Query{}},
		{"set", "SET TRANSACTION ISOLATION LEVEL READ COMMITTED", Nothing{}},
		{"backup", "BACKUP DATA USING FILE ('/b/p')", Backup{Kind: "complete", Path: "/b/p"}},
		{
			"backup, everything", "backup  data incremental for \"H-1\"\n using file('/b', 'p') asynchronous comment 'it''s'; ",
			Backup{Kind: "incremental", Database: "H-1", Path: "/b/p", Asynchronous: true, Comment: "it's"},
		},
		{"backup for", "BACKUP DATA DIFFERENTIAL FOR hxe USING FILE ('p') -- why\n", Backup{Kind: "differential", Database: "HXE", Path: "p"}},
		{"cancel", "BACKUP CANCEL 1755519941920", BackupCancel{1755519941920}},
		{"delete", "BACKUP CATALOG DELETE FOR HXE ALL BEFORE BACKUP_ID 7 COMPLETE", CatalogDelete{Database: "HXE", BackupID: 7, AllBefore: true, Complete: true}},
		{"delete one", "BACKUP CATALOG DELETE BACKUP_ID 7", CatalogDelete{BackupID: 7}},
		{"delete one of a tenant", "BACKUP CATALOG DELETE FOR \"H-1\" BACKUP_ID 1755519941920", CatalogDelete{Database: "H-1", BackupID: 1755519941920}},
		{"stop", "ALTER SYSTEM STOP DATABASE hxe", SwitchDatabase{Database: "HXE"}},
		{"start", "alter /* now */ system start database HXE", SwitchDatabase{Database: "HXE", Start: true}},
		{"recover", "RECOVER DATA FOR HXE USING FILE ('/b/p') CLEAR LOG", Recover{Database: "HXE", Path: "/b/p", ClearLog: true}},
		{
			"recover a backup", "RECOVER DATA USING BACKUP_ID 7 USING SOURCE 'HXE@HXE' USING DATA PATH ('/d') USING CATALOG PATH ('/c') CLEAR LOG",
			Recover{BackupID: 7, Source: "HXE@HXE", DataPath: "/d", CatalogPath: "/c", ClearLog: true},
		},
		{
			"recover to a time", "RECOVER DATABASE FOR AB1 UNTIL TIMESTAMP '2020.07.01 00:00:01' CLEAR LOG USING CATALOG PATH ('/c') USING LOG PATH ('/l', '/m') USING DATA PATH ('/d') USING BACKUP_ID 7 CHECK ACCESS USING FILE",
			Recover{
				Database: "AB1", Until: time.Date(2020, 7, 1, 0, 0, 1, 0, time.UTC), ClearLog: true,
				CatalogPath: "/c", LogPaths: []string{"/l", "/m"}, DataPath: "/d", BackupID: 7, CheckAccess: true,
			},
		},
		{
			"recover, the least", "RECOVER DATABASE UNTIL TIMESTAMP '2019-04-26 08:00:00.25' CHECK ACCESS ALL",
			Recover{Until: time.Date(2019, 4, 26, 8, 0, 0, 250_000_000, time.UTC), CheckAccess: true},
		},
		{"work", "SIM WORK 'HXE' 3", Sim{Verb: "WORK", Arguments: []string{"HXE", "3"}}},
		{"cancel session", "ALTER SYSTEM CANCEL SESSION '200001'", CancelSession{200001}},
		{
			"configure", "ALTER SYSTEM ALTER CONFIGURATION ('global.ini','SYSTEM') SET ('backup','log_backup_using_backint') = 'true', ('a','b')='' WITH RECONFIGURE",
			Configure{File: "global.ini", Layer: "SYSTEM", Changes: []Change{{"backup", "log_backup_using_backint", "true", false}, {"a", "b", "", false}}},
		},
		{
			"unset", "ALTER SYSTEM ALTER CONFIGURATION ('global.ini','DATABASE','HXE') UNSET ('a','b')",
			Configure{File: "global.ini", Layer: "DATABASE", Database: "HXE", Changes: []Change{{"a", "b", "", true}}},
		},
		{"sim", "SIM RECOVER SYSTEMDB '/b/p' 7", Sim{Verb: "RECOVER SYSTEMDB", Arguments: []string{"/b/p", "7"}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := Parse(test.sql)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestSyntaxErrors(t *testing.T) {
	tests := []struct{ sql, text string }{
		{"FOO", `sql syntax error: incorrect syntax near "FOO": line 1 col 1 (at pos 1)`},
		{"", `sql syntax error: incorrect syntax near "": line 1 col 1 (at pos 1)`},
		{"BACKUP DATA USING FILE (?)", `sql syntax error: incorrect syntax near "?": line 1 col 25 (at pos 25)`},
		{"BACKUP DATA USING FILE ('a') COMMENT", `sql syntax error: incorrect syntax near "": line 1 col 37 (at pos 37)`},
		{"BACKUP DATA FOR HXE DIFFERENTIAL USING FILE ('a')", `sql syntax error: incorrect syntax near "DIFFERENTIAL": line 1 col 21 (at pos 21)`},
		{"BACKUP CATALOG DELETE FOR HXE BACKUP_ID '7'", `sql syntax error: incorrect syntax near "'": line 1 col 41 (at pos 41)`},
		{"BACKUP CATALOG DELETE FOR HXE", `sql syntax error: incorrect syntax near "": line 1 col 30 (at pos 30)`},
		{"BACKUP LOG USING FILE ('a')", `sql syntax error: incorrect syntax near "BACKUP": line 1 col 1 (at pos 1)`},
		{"BACKUP DATA USING FILE ('a') 'b'", `sql syntax error: incorrect syntax near "'": line 1 col 30 (at pos 30)`},
		{"RECOVER DATABASE FOR HXE CLEAR LOG", `sql syntax error: incorrect syntax near "CLEAR": line 1 col 26 (at pos 26)`},
		{"RECOVER DATABASE UNTIL TIMESTAMP 'noon'", `sql syntax error: incorrect syntax near "": line 1 col 40 (at pos 40)`},
		{"RECOVER DATABASE UNTIL TIMESTAMP '2019-04-26 08:00:00' USING CATALOG PATH ('/a', '/b')", `sql syntax error: incorrect syntax near ",": line 1 col 80 (at pos 80)`},
		{"RECOVER DATA USING BACKUP_ID 7 USING LOG PATH ('/l') CLEAR LOG", `sql syntax error: incorrect syntax near "USING": line 1 col 32 (at pos 32)`},
		{"RECOVER DATA USING BACKUP_ID 7", `sql syntax error: incorrect syntax near "": line 1 col 31 (at pos 31)`},
		{"RECOVER DATA\nUSING FILE ('a", `sql syntax error: incorrect syntax near "'": line 2 col 13 (at pos 26)`},
	}
	for _, test := range tests {
		t.Run(test.sql, func(t *testing.T) {
			_, err := Parse(test.sql)
			var hana *wire.Error
			if !errors.As(err, &hana) || hana.Code != 257 {
				t.Fatalf("got %v, want error 257", err)
			}
			if diff := cmp.Diff(test.text, hana.Text); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add("BACKUP DATA FOR \"a\"\"b\" USING FILE ('/b', 'p''q') COMMENT 'x'")
	f.Add("SELECT /* 'a' */ 1.5 FROM \"X\" -- end")
	f.Add("RECOVER DATABASE FOR a UNTIL TIMESTAMP '2020-01-01 00:00:00' USING LOG PATH ('/a','/b') CHECK ACCESS ALL")
	f.Fuzz(func(t *testing.T, sql string) {
		tokens, err := Lex(sql)
		if err != nil {
			return
		}
		at := 0
		for _, token := range tokens {
			if token.Start < at || token.Stop < token.Start || token.Stop > len(sql) {
				t.Fatalf("token %+v does not follow position %d", token, at)
			}
			at = token.Stop
		}
		_, _ = Parse(sql) // either way is right, as long as it ends
	})
}
