package views

import (
	"context"
	"errors"
	"math/big"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fixed gives rows by view name.
type fixed map[string][][]any

func (f fixed) Rows(_ context.Context, schema, view string) ([][]any, error) {
	return f[schema+"."+view], nil
}

func open(t *testing.T, systemDB bool) *Engine {
	t.Helper()
	engine, err := Open(t.Context(), systemDB)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
	})
	return engine
}

func samples() fixed {
	start := time.Date(2025, 8, 18, 12, 25, 41, 920_000_000, time.UTC)
	entry := []any{int64(7), "complete data backup", int64(1755519941920), start, start, nil, nil, "running", "it's", "", "HXE", nil, "HXE"}
	return fixed{
		"SYS.DUMMY":                      {{"X"}},
		"SYS.M_BACKUP_CATALOG":           {entry},
		"SYS_DATABASES.M_BACKUP_CATALOG": {append([]any{"HXE"}, entry...), append([]any{"SYSTEMDB"}, entry...)},
		"SYS.M_BACKUP_CATALOG_FILES": {
			{int64(7), int64(1755519941920), int64(0), "topology", "h", "indexserver", int64(155648), "file", "/b/p_databackup_0_1", nil, nil, nil, nil, nil},
			{int64(7), int64(1755519941920), int64(2), "volume", "h", "indexserver", int64(1000), "file", "/b/p_databackup_2_1", nil, nil, nil, nil, nil},
		},
	}
}

func TestQuery(t *testing.T) {
	engine := open(t, true)
	start := time.Date(2025, 8, 18, 12, 25, 41, 920_000_000, time.UTC)
	tests := []struct {
		name, query string
		arguments   []any
		types       []wire.Type
		rows        [][]any
	}{
		{"dummy", "select 1 from dummy", nil, []wire.Type{wire.Integer}, [][]any{{int64(1)}}},
		{"user", "SELECT CURRENT_USER, SESSION_USER FROM SYS.DUMMY", nil, []wire.Type{wire.NVarchar, wire.NVarchar}, [][]any{{"SYSTEM", "SYSTEM"}}},
		{
			"columns", `SELECT backup_id, "STATE_NAME", UTC_START_TIME, UTC_END_TIME FROM M_BACKUP_CATALOG`, nil,
			[]wire.Type{wire.BigInt, wire.Varchar, wire.Timestamp, wire.Timestamp},
			[][]any{{int64(1755519941920), "running", start, nil}},
		},
		{
			"aggregates", "SELECT COUNT(*) AS N, SUM(BACKUP_SIZE), MAX(DESTINATION_PATH) FROM SYS.M_BACKUP_CATALOG_FILES;", nil,
			[]wire.Type{wire.BigInt, wire.BigInt, wire.Varchar},
			[][]any{{int64(2), int64(156648), "/b/p_databackup_2_1"}},
		},
		{"sum of nothing", "SELECT SUM(BACKUP_SIZE) FROM M_BACKUP_CATALOG_FILES WHERE SOURCE_ID = 99", nil, []wire.Type{wire.BigInt}, [][]any{{nil}}},
		{"division", "SELECT BACKUP_SIZE/1024 FROM M_BACKUP_CATALOG_FILES WHERE SOURCE_ID=0", nil, []wire.Type{wire.Decimal}, [][]any{{big.NewRat(152, 1)}}},
		{"latest time", "SELECT MAX(UTC_START_TIME) FROM M_BACKUP_CATALOG", nil, []wire.Type{wire.Timestamp}, [][]any{{start}}},
		{
			"parameter", "SELECT SOURCE_ID FROM M_BACKUP_CATALOG_FILES WHERE BACKUP_ID = ? AND SOURCE_TYPE_NAME = ?",
			[]any{int64(1755519941920), "volume"},
			[]wire.Type{wire.BigInt},
			[][]any{{int64(2)}},
		},
		{
			"join, in, top", "SELECT TOP 1 f.SOURCE_ID FROM M_BACKUP_CATALOG c JOIN M_BACKUP_CATALOG_FILES f ON f.ENTRY_ID = c.ENTRY_ID WHERE f.SOURCE_ID IN (0, 2) ORDER BY f.SOURCE_ID DESC", nil,
			[]wire.Type{wire.BigInt},
			[][]any{{int64(2)}},
		},
		{
			"formatted time of the sample", `SELECT BACKUP_ID, ENTRY_TYPE_NAME AS "TYPE", STATE_NAME AS "STATUS", TO_VARCHAR(SYS_START_TIME, 'YYYY-MM-DD HH24:MI') AS "START" FROM M_BACKUP_CATALOG ORDER BY BACKUP_ID DESC`, nil,
			[]wire.Type{wire.BigInt, wire.Varchar, wire.Varchar, wire.NVarchar},
			[][]any{{int64(1755519941920), "complete data backup", "running", "2025-08-18 12:25"}},
		},
		{"all databases", "SELECT DATABASE_NAME FROM SYS_DATABASES.M_BACKUP_CATALOG WHERE BACKUP_ID>=1 ORDER BY 1", nil, []wire.Type{wire.NVarchar}, [][]any{{"HXE"}, {"SYSTEMDB"}}},
		{"like is exact", "SELECT COUNT(*) FROM M_BACKUP_CATALOG WHERE COMMENT LIKE 'IT%'", nil, []wire.Type{wire.BigInt}, [][]any{{int64(0)}}},
		{"with", "WITH x AS (SELECT COMMENT AS C FROM M_BACKUP_CATALOG) SELECT C FROM x WHERE C = 'it''s'", nil, []wire.Type{wire.NVarchar}, [][]any{{"it's"}}},
		{
			"conversions", "SELECT TO_BIGINT('12'), TO_DOUBLE(BACKUP_SIZE)/2, IFNULL(EXTERNAL_BACKUP_ID, 'none') FROM M_BACKUP_CATALOG_FILES WHERE SOURCE_ID=2", nil,
			[]wire.Type{wire.BigInt, wire.Decimal, wire.Varchar},
			[][]any{{int64(12), big.NewRat(500, 1), "none"}},
		},
		{"seconds", "SELECT SECONDS_BETWEEN(UTC_START_TIME, ADD_SECONDS(UTC_START_TIME, 90)) FROM M_BACKUP_CATALOG", nil, []wire.Type{wire.BigInt}, [][]any{{int64(90)}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			reader := Reader{User: "SYSTEM", Connection: 3}
			_, described, err := engine.Describe(reader, test.query)
			if err != nil {
				t.Fatal(err)
			}
			result, err := engine.Query(t.Context(), reader, samples(), test.query, test.arguments)
			if err != nil {
				t.Fatal(err)
			}
			var types []wire.Type
			for _, column := range result.Columns {
				types = append(types, column.Type)
			}
			if diff := cmp.Diff(test.types, types); diff != "" {
				t.Errorf("types (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(described, result.Columns); diff != "" {
				t.Errorf("described and delivered columns differ:\n%s", diff)
			}
			rats := cmp.Comparer(func(a, b *big.Rat) bool { return a.Cmp(b) == 0 })
			if diff := cmp.Diff(test.rows, result.Rows, rats); diff != "" {
				t.Errorf("rows (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDescribeParameters(t *testing.T) {
	engine := open(t, false)
	parameters, _, err := engine.Describe(Reader{User: "U"}, "SELECT 1 FROM M_BACKUP_CATALOG WHERE BACKUP_ID > ? AND COMMENT = ? AND ? = 'x'")
	if err != nil {
		t.Fatal(err)
	}
	var types []wire.Type
	for _, parameter := range parameters {
		types = append(types, parameter.Type)
	}
	if diff := cmp.Diff([]wire.Type{wire.BigInt, wire.NVarchar, wire.NVarchar}, types); diff != "" {
		t.Error(diff)
	}
}

func TestErrors(t *testing.T) {
	engine := open(t, false)
	tests := []struct {
		name, query, text string
		code              int
	}{
		{"unknown view", "SELECT * FROM SYS.X", "invalid table name:  Could not find table/view X in schema SYS: line 1 col 15 (at pos 14)", 259},
		{"unknown view, no schema", "SELECT *\nFROM M_NOPE", "invalid table name:  Could not find table/view M_NOPE in schema SYSTEM: line 2 col 6 (at pos 14)", 259},
		{"only in SYSTEMDB", "SELECT * FROM M_DATABASES", "invalid table name:  Could not find table/view M_DATABASES in schema SYSTEM: line 1 col 15 (at pos 14)", 259},
		{"unknown column", "SELECT NOPE FROM DUMMY", "invalid column name: NOPE: line 1 col 8 (at pos 7)", 260},
		{"quoted is no text", `SELECT "nope" FROM DUMMY`, "invalid column name: nope: line 1 col 8 (at pos 7)", 260},
		{"unknown function", "SELECT NOPE(1) FROM DUMMY", "invalid name of function or procedure: NOPE: line 1 col 8 (at pos 7)", 328},
		{"syntax", "SELECT 1 FORM DUMMY", `sql syntax error: incorrect syntax near "DUMMY": line 1 col 15 (at pos 15)`, 257},
		{"incomplete", "SELECT 1 FROM", `sql syntax error: incorrect syntax near "": line 1 col 14 (at pos 14)`, 257},
		{"unclosed text", "SELECT 'x", `sql syntax error: incorrect syntax near "'": line 1 col 8 (at pos 8)`, 257},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := engine.Query(t.Context(), Reader{User: "SYSTEM"}, fixed{}, test.query, nil)
			var hana *wire.Error
			if !errors.As(err, &hana) {
				t.Fatalf("got %v, want an error of HANA", err)
			}
			if hana.Code != test.code || hana.Text != test.text {
				t.Errorf("got %d %q, want %d %q", hana.Code, hana.Text, test.code, test.text)
			}
		})
	}
}
