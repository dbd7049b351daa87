package hdbtrigger

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

func samplePlan(change func(*backup.Plan)) backup.Plan {
	plan := backup.Plan{
		JobID: "0198c5b2-7d4f-7c61-9c0e-0a4f4b1f2d3e", SID: "HXE", Database: "HXE", Kind: backup.KindComplete,
		Directory: "/hana/backup", Prefix: "PS_20260102",
	}
	if change != nil {
		change(&plan)
	}
	return plan
}

func TestStatementsAreBuilt(t *testing.T) {
	const comment = ` COMMENT '0198c5b2-7d4f-7c61-9c0e-0a4f4b1f2d3e'`
	tests := []struct {
		name  string
		build func() (statement, error)
		want  statement
	}{
		{
			"complete backup of a tenant",
			func() (statement, error) { return backupStatement(samplePlan(nil)) },
			statement{kindBackup, `BACKUP DATA FOR "HXE" USING FILE ('/hana/backup/PS_20260102')` + comment},
		},
		{
			"SYSTEMDB is not named",
			func() (statement, error) {
				return backupStatement(samplePlan(func(p *backup.Plan) { p.Database = backup.SystemDB }))
			},
			statement{kindBackup, `BACKUP DATA USING FILE ('/hana/backup/PS_20260102')` + comment},
		},
		{
			"the type stands before FOR",
			func() (statement, error) {
				return backupStatement(samplePlan(func(p *backup.Plan) { p.Kind = backup.KindDifferential }))
			},
			statement{kindBackup, `BACKUP DATA DIFFERENTIAL FOR "HXE" USING FILE ('/hana/backup/PS_20260102')` + comment},
		},
		{
			"incremental",
			func() (statement, error) {
				return backupStatement(samplePlan(func(p *backup.Plan) { p.Kind = backup.KindIncremental }))
			},
			statement{kindBackup, `BACKUP DATA INCREMENTAL FOR "HXE" USING FILE ('/hana/backup/PS_20260102')` + comment},
		},
		{
			"recover",
			func() (statement, error) { return recoverStatement(samplePlan(nil)) },
			statement{kindRecover, `RECOVER DATA FOR "HXE" USING FILE ('/hana/backup/PS_20260102') CLEAR LOG`},
		},
		{
			"stop",
			func() (statement, error) { return databaseStatement(kindStop, "HXE") },
			statement{kindStop, `ALTER SYSTEM STOP DATABASE "HXE"`},
		},
		{
			"start",
			func() (statement, error) { return databaseStatement(kindStart, "T-1") },
			statement{kindStart, `ALTER SYSTEM START DATABASE "T-1"`},
		},
		{
			"cancel",
			func() (statement, error) { return cancelStatement(1755519941920) },
			statement{kindCancel, `BACKUP CANCEL 1755519941920`},
		},
		{
			"delete a tenant's",
			func() (statement, error) { return deleteStatement(samplePlan(nil), 1755519941920) },
			statement{kindDelete, `BACKUP CATALOG DELETE FOR "HXE" BACKUP_ID 1755519941920`},
		},
		{
			"delete SYSTEMDB's",
			func() (statement, error) {
				return deleteStatement(samplePlan(func(p *backup.Plan) { p.Database = backup.SystemDB }), 1755519941920)
			},
			statement{kindDelete, `BACKUP CATALOG DELETE BACKUP_ID 1755519941920`},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.build()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(statement{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestStatementsAreRefused(t *testing.T) {
	backupOf := func(change func(*backup.Plan)) func() (statement, error) {
		return func() (statement, error) { return backupStatement(samplePlan(change)) }
	}
	tests := []struct {
		name  string
		build func() (statement, error)
		want  string
	}{
		{"quote in database", backupOf(func(p *backup.Plan) { p.Database = `H"XE` }), "database"},
		{"lower case database", backupOf(func(p *backup.Plan) { p.Database = "hxe" }), "upper case"},
		{"no database", backupOf(func(p *backup.Plan) { p.Database = "" }), "database"},
		{"quote in directory", backupOf(func(p *backup.Plan) { p.Directory = "/a'b" }), "directory"},
		{"relative directory", backupOf(func(p *backup.Plan) { p.Directory = "a" }), "directory"},
		{"quote in prefix", backupOf(func(p *backup.Plan) { p.Prefix = "a'--" }), "prefix"},
		{"quote in job id", backupOf(func(p *backup.Plan) { p.JobID = "a' ASYNCHRONOUS" }), "job id"},
		{"no job id", backupOf(func(p *backup.Plan) { p.JobID = "" }), "job id"},
		{"log kind", backupOf(func(p *backup.Plan) { p.Kind = backup.KindLog }), `kind "log"`},
		{
			"recover SYSTEMDB",
			func() (statement, error) {
				return recoverStatement(samplePlan(func(p *backup.Plan) { p.Database = backup.SystemDB }))
			},
			"recoverSys.py",
		},
		{
			"recover a delta",
			func() (statement, error) {
				return recoverStatement(samplePlan(func(p *backup.Plan) { p.Kind = backup.KindIncremental }))
			},
			"complete backup",
		},
		{"stop SYSTEMDB", func() (statement, error) { return databaseStatement(kindStop, "SYSTEMDB") }, "SYSTEMDB"},
		{"cancel nothing", func() (statement, error) { return cancelStatement(0) }, "backup id 0"},
		{"delete nothing", func() (statement, error) { return deleteStatement(samplePlan(nil), -1) }, "backup id -1"},
		{
			"delete in no database",
			func() (statement, error) {
				return deleteStatement(samplePlan(func(p *backup.Plan) { p.Database = `X" ALL BEFORE` }), 1)
			},
			"database",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.build()
			if err == nil {
				t.Fatalf("built %q", got.text)
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %q does not mention %q", err, tt.want)
			}
		})
	}
}

func TestQuotingDoublesQuotes(t *testing.T) {
	if got, want := identifier(`a"b`), `"a""b"`; got != want {
		t.Errorf("identifier: %s, expected %s", got, want)
	}
	if got, want := literal(`a'b`), `'a''b'`; got != want {
		t.Errorf("literal: %s, expected %s", got, want)
	}
}

// FuzzStatements holds the builders to this: whatever the names are, a builder
// refuses, or HANA's tokenizer would find the very names again, each in its
// place and nothing else.
func FuzzStatements(f *testing.F) {
	f.Add("HXE", "complete", "/hana/backup", "PS_1", "job-1", int64(1755519941920))
	f.Add(`X" USING FILE ('/tmp/x`, "complete", "/a", "p", "j", int64(1))
	f.Add("SYSTEMDB", "incremental", "/a'b", "p')--", "j'; --", int64(-1))
	f.Add("A", "log", "/a/../b", "p q", "", int64(0))
	f.Add("HXE", "HXE", "/hana/backup", "PRD", "PR1", int64(1755519941))
	f.Add("SYSTEMDB", "H'E", "/hana/backup", "", "", int64(253_402_300_800))
	f.Fuzz(func(t *testing.T, database, kind, directory, prefix, job string, id int64) {
		plan := backup.Plan{Database: database, Kind: backup.Kind(kind), Directory: directory, Prefix: prefix, JobID: job}
		file := []string{"USING", "FILE", "(", "'" + directory + "/" + prefix, ")"}

		if s, err := backupStatement(plan); err == nil {
			want := []string{"BACKUP", "DATA"}
			if kind != "complete" {
				want = append(want, strings.ToUpper(kind))
			}
			if database != backup.SystemDB {
				want = append(want, "FOR", `"`+database)
			}
			expectTokens(t, s.text, append(append(want, file...), "COMMENT", "'"+job))
		}
		if s, err := recoverStatement(plan); err == nil {
			want := append([]string{"RECOVER", "DATA", "FOR", `"` + database}, file...)
			expectTokens(t, s.text, append(want, "CLEAR", "LOG"))
		}
		checkRecoveries(t, backup.Recovery{
			SID: kind, Database: database, Source: prefix, SourceSID: job, Until: time.Unix(id, 0), BackupID: id,
			CatalogPath: directory, LogPaths: []string{directory, directory + "/" + prefix}[:1+len(job)%2], DataPath: directory + "/" + prefix,
		})
		if s, err := databaseStatement(kindStop, database); err == nil {
			expectTokens(t, s.text, []string{"ALTER", "SYSTEM", "STOP", "DATABASE", `"` + database})
		}
		if s, err := cancelStatement(id); err == nil {
			expectTokens(t, s.text, []string{"BACKUP", "CANCEL", strconv.FormatInt(id, 10)})
		}
		if s, err := deleteStatement(plan, id); err == nil {
			want := []string{"BACKUP", "CATALOG", "DELETE"}
			if database != backup.SystemDB {
				want = append(want, "FOR", `"`+database)
			}
			// Never ALL BEFORE, and never COMPLETE, which removes files.
			expectTokens(t, s.text, append(want, "BACKUP_ID", strconv.FormatInt(id, 10)))
		}
		// Quoting alone must hold too, should a grammar ever become wider.
		expectTokens(t, identifier(database)+literal(prefix), []string{`"` + database, "'" + prefix})
	})
}

// checkRecoveries checks both statements that r may describe.
func checkRecoveries(t *testing.T, r backup.Recovery) {
	t.Helper()
	begin := func(kind string) []string {
		if r.Database == backup.SystemDB {
			return []string{"RECOVER", kind}
		}
		return []string{"RECOVER", kind, "FOR", `"` + r.Database}
	}
	path := func(what string, paths ...string) []string {
		list := []string{"USING", what, "PATH"}
		for i, p := range paths {
			list = append(list, []string{"(", ","}[min(i, 1)], "'"+p)
		}
		return append(list, ")")
	}
	id := []string{"USING", "BACKUP_ID", strconv.FormatInt(r.BackupID, 10)}
	var source []string
	if database, sid := sourceOf(r); database != r.Database || sid != r.SID {
		source = []string{"USING", "SOURCE", "'" + database + "@" + sid}
	}
	if text, err := RecoverText(r); err == nil {
		until := []string{"UNTIL", "TIMESTAMP", "'" + r.Until.UTC().Format("2006-01-02 15:04:05"), "CLEAR", "LOG"}
		if r.BackupID == 0 {
			id = nil
		}
		expectTokens(t, text, slices.Concat(begin("DATABASE"), until, source,
			path("CATALOG", r.CatalogPath), path("LOG", r.LogPaths...), path("DATA", r.DataPath), id))
	}
	r.Until = time.Time{}
	if text, err := RecoverText(r); err == nil {
		expectTokens(t, text, slices.Concat(begin("DATA"), id, source,
			path("CATALOG", r.CatalogPath), path("DATA", r.DataPath), []string{"CLEAR", "LOG"}))
	}
}

func expectTokens(t *testing.T, text string, want []string) {
	t.Helper()
	if diff := cmp.Diff(want, tokens(t, text)); diff != "" {
		t.Errorf("%s\n%s", text, diff)
	}
}

// tokens splits SQL: words, punctuation, and quoted names and literals, which
// keep their opening quote as a mark of what they are.
func tokens(t *testing.T, text string) []string {
	t.Helper()
	var list []string
	for text != "" {
		switch c := text[0]; c {
		case ' ':
			text = text[1:]
		case '"', '\'':
			value, rest, closed := quoted(text)
			if !closed {
				t.Fatalf("a quote is never closed: %q", text)
			}
			list, text = append(list, string(c)+value), rest
		case '(', ')', ',', ';':
			list, text = append(list, string(c)), text[1:]
		default:
			end := strings.IndexAny(text, ` "'(),;`)
			if end < 0 {
				end = len(text)
			}
			list, text = append(list, text[:end]), text[end:]
		}
	}
	return list
}

func quoted(text string) (value, rest string, closed bool) {
	quote := text[0]
	var b strings.Builder
	for i := 1; i < len(text); i++ {
		if text[i] != quote {
			b.WriteByte(text[i])
			continue
		}
		if i+1 < len(text) && text[i+1] == quote {
			b.WriteByte(quote)
			i++
			continue
		}
		return b.String(), text[i+1:], true
	}
	return "", "", false
}
