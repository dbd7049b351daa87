package wire

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/SAP/go-hdb/driver"
	"github.com/google/go-cmp/cmp"
)

const unicode = "Größe 数据 \U0001F4BE\U0001F600 é"

func rat(s string) *big.Rat {
	r, ok := new(big.Rat).SetString(s)
	if !ok {
		panic(s)
	}
	return r
}

// sample is a column and values for it, which must come back as they went.
type sample struct {
	name   string
	column Column
	values []any
}

var moment = time.Date(2026, 11, 22, 23, 59, 58, 123_000_000, time.UTC)

func samples() []sample {
	return []sample{
		{"BIGINT", Column{Type: BigInt}, []any{int64(0), int64(math.MaxInt64), int64(math.MinInt64), int64(1700000000000)}},
		{"INTEGER", Column{Type: Integer}, []any{int64(0), int64(math.MaxInt32), int64(math.MinInt32)}},
		{"SMALLINT", Column{Type: SmallInt}, []any{int64(0), int64(math.MaxInt16), int64(math.MinInt16)}},
		{"TINYINT", Column{Type: TinyInt}, []any{int64(0), int64(255)}},
		{"DOUBLE", Column{Type: Double}, []any{0.0, -1.5, math.MaxFloat64, math.SmallestNonzeroFloat64, -math.MaxFloat64}},
		{"BOOLEAN", Column{Type: Boolean}, []any{true, false}},
		{"DECIMAL", Column{Type: Decimal}, []any{
			rat("0"), rat("1"), rat("-0.001"), rat("12345678901234567890.12345678901234"), rat("1e30"), rat("-1e-40"),
			rat("9999999999999999999999999999999999"),
		}},
		{"DECIMAL(10,2)", Column{Type: Decimal, Length: 10, Scale: 2}, []any{rat("0"), rat("12345678.90"), rat("-0.05")}},
		{"NVARCHAR", Column{Type: NVarchar, Length: 5000}, []any{"", "a", unicode, strings.Repeat("x", 245), strings.Repeat("y", 246), strings.Repeat("\U0001F4BE", 8000)}},
		{"VARCHAR", Column{Type: Varchar, Length: 256}, []any{"", "SYSTEMDB", strings.Repeat("z", 40000)}},
		{"NCLOB", Column{Type: NClob}, []any{"", "a", unicode, strings.Repeat("\U0001F4BE1", 40000)}},
		{"VARBINARY", Column{Type: Varbinary, Length: 16}, []any{[]byte{}, []byte{0, 255}, []byte(strings.Repeat("\x00", 300))}},
		{"TIMESTAMP", Column{Type: Timestamp}, []any{
			moment, time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC),
			time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(1582, 10, 15, 0, 0, 0, 0, time.UTC),
		}},
		{"SECONDDATE", Column{Type: SecondDate}, []any{moment.Truncate(time.Second), time.Date(1582, 10, 4, 1, 2, 3, 0, time.UTC)}},
		{"DATE", Column{Type: DayDate}, []any{time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC), time.Date(2024, 2, 29, 0, 0, 0, 0, time.UTC)}},
	}
}

// equality compares what went in with what came out: numbers as such.
var equality = cmp.Options{
	cmp.Comparer(func(a, b *big.Rat) bool { return a.Cmp(b) == 0 }),
	cmp.Comparer(func(a, b time.Time) bool { return a.Equal(b) }),
}

// scanTarget gives a place for a value of the type of like, and a way to get it.
func scanTarget(column Column, like any) (target any, get func() any) {
	if column.Type == NClob {
		text := new(strings.Builder)
		lob := driver.NewLob(nil, text)
		return lob, func() any { return text.String() }
	}
	switch like.(type) {
	case int64:
		v := new(int64)
		return v, func() any { return *v }
	case float64:
		v := new(float64)
		return v, func() any { return *v }
	case bool:
		v := new(bool)
		return v, func() any { return *v }
	case string:
		v := new(string)
		return v, func() any { return *v }
	case []byte:
		v := new([]byte)
		return v, func() any { return *v }
	case time.Time:
		v := new(time.Time)
		return v, func() any { return *v }
	default:
		v := new(driver.Decimal)
		return v, func() any { return (*big.Rat)(v) }
	}
}

// eachFormat gives databases at every data format version that go-hdb can ask for.
func eachFormat(t *testing.T, b *scripted) map[string]*sql.DB {
	t.Helper()
	address := startServer(t, b, nil)
	databases := make(map[string]*sql.DB)
	for _, format := range []int{1, 4, 6, 8} {
		connector := newConnector(address, testUser, testPassword)
		connector.SetDfv(format)
		databases[fmt.Sprint("format ", format)] = openDB(t, connector)
	}
	return databases
}

func TestRowsOfEveryType(t *testing.T) {
	for _, s := range samples() {
		t.Run(s.name, func(t *testing.T) {
			column := s.column
			column.Name, column.Table = "C", "T"
			var rows [][]any
			for _, value := range s.values {
				rows = append(rows, []any{value})
			}
			backend := &scripted{statements: map[string]script{"SELECT C FROM T": {columns: []Column{column}, rows: rows}}}
			for name, db := range eachFormat(t, backend) {
				t.Run(name, func(t *testing.T) { checkRows(t, db, s) })
			}
		})
	}
}

// checkRows checks that SELECT C FROM T yields the values of s.
func checkRows(t *testing.T, db *sql.DB, s sample) {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), "SELECT C FROM T")
	if err != nil {
		t.Fatal(err)
	}
	defer closeRows(t, rows)
	for _, want := range s.values {
		if !rows.Next() {
			t.Fatalf("no row for %v: %v", want, rows.Err())
		}
		target, get := scanTarget(s.column, want)
		if err := rows.Scan(target); err != nil {
			t.Fatalf("scan %.50v: %v", want, err)
		}
		if diff := cmp.Diff(want, get(), equality); diff != "" {
			t.Errorf("came back changed (-want +got):\n%.2000s", diff)
		}
	}
	if rows.Next() || rows.Err() != nil {
		t.Errorf("more than there is, or error %v", rows.Err())
	}
}

func closeRows(t *testing.T, rows *sql.Rows) {
	t.Helper()
	if err := rows.Close(); err != nil {
		t.Errorf("close rows: %v", err)
	}
}

func TestNullOfEveryType(t *testing.T) {
	backend := &scripted{statements: map[string]script{}}
	for _, s := range samples() {
		// A value after the NULL shows that the NULL has the right length.
		backend.statements[s.name] = script{
			columns: []Column{s.column, {Type: BigInt}},
			rows:    [][]any{{nil, int64(4711)}},
		}
	}
	for name, db := range eachFormat(t, backend) {
		for _, s := range samples() {
			var null any
			var after int64
			if err := db.QueryRowContext(t.Context(), s.name).Scan(&null, &after); err != nil {
				t.Errorf("%s, %s: %v", name, s.name, err)
				continue
			}
			if null != nil || after != 4711 {
				t.Errorf("%s, %s: NULL came as %v, 4711 after it as %d", name, s.name, null, after)
			}
		}
	}
}

func TestParametersOfEveryType(t *testing.T) {
	var got []any
	backend := &scripted{statements: map[string]script{}}
	for _, s := range samples() {
		backend.statements[s.name] = script{
			parameters: []Column{s.column, {Type: BigInt}},
			run: func(_ context.Context, arguments []any) (Result, error) {
				got = arguments
				return Result{}, nil
			},
		}
	}
	for name, db := range eachFormat(t, backend) {
		for _, s := range samples() {
			for _, value := range append(s.values, nil) {
				if _, err := db.ExecContext(t.Context(), s.name, argument(s.column, value), int64(4711)); err != nil {
					t.Errorf("%s, %s %.50v: %v", name, s.name, value, err)
					continue
				}
				if diff := cmp.Diff([]any{value, int64(4711)}, got, equality); diff != "" {
					t.Errorf("%s, %s arrived changed (-want +got):\n%.2000s", name, s.name, diff)
				}
			}
		}
	}
}

// argument gives value the type in which go-hdb takes it.
func argument(column Column, value any) any {
	if column.Type == NClob && value != nil {
		return driver.NewLob(strings.NewReader(value.(string)), nil)
	}
	if decimal, ok := value.(*big.Rat); ok {
		return (*driver.Decimal)(decimal)
	}
	return value
}

func TestColumnTypes(t *testing.T) {
	columns := []Column{
		{Table: "M_BACKUP_CATALOG", Name: "BACKUP_ID", Type: BigInt, NotNull: true},
		{Table: "M_BACKUP_CATALOG", Name: "COMMENT", Type: NVarchar, Length: 256},
		{Name: "BACKUP_SIZE/1024", Type: Decimal, Length: 21, Scale: 2},
		{Name: strings.Repeat("Ü", 127), Type: Timestamp},
	}
	db := connect(t, &scripted{statements: map[string]script{"SELECT": {columns: columns}}})
	rows, err := db.QueryContext(t.Context(), "SELECT")
	if err != nil {
		t.Fatal(err)
	}
	defer closeRows(t, rows)
	types, err := rows.ColumnTypes()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range types {
		nullable, _ := c.Nullable()
		length, _ := c.Length()
		precision, scale, _ := c.DecimalSize()
		got = append(got, fmt.Sprint(c.Name(), " ", c.DatabaseTypeName(), " ", nullable, " ", length, " ", precision, ",", scale))
	}
	want := []string{
		"BACKUP_ID BIGINT false 0 0,0",
		"COMMENT NVARCHAR true 256 0,0",
		"BACKUP_SIZE/1024 DECIMAL true 0 21,2",
		strings.Repeat("Ü", 127) + " LONGDATE true 0 0,0",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("column types (-want +got):\n%s", diff)
	}
	if rows.Next() || rows.Err() != nil {
		t.Errorf("a row in an empty result, or error %v", rows.Err())
	}
}

func TestValuesThatDoNotFit(t *testing.T) {
	tests := []struct {
		name   string
		column Column
		row    []any
	}{
		{"text for a number", Column{Type: BigInt}, []any{"1"}},
		{"number for a text", Column{Type: NVarchar}, []any{int64(1)}},
		{"int, which the contract does not have", Column{Type: BigInt}, []any{1}},
		{"too big for INTEGER", Column{Type: Integer}, []any{int64(math.MaxInt32 + 1)}},
		{"too big for SMALLINT", Column{Type: SmallInt}, []any{int64(math.MinInt16 - 1)}},
		{"negative for TINYINT", Column{Type: TinyInt}, []any{int64(-1)}},
		{"number for a boolean", Column{Type: Boolean}, []any{int64(1)}},
		{"too big for DECIMAL", Column{Type: Decimal, Length: 10, Scale: 2}, []any{rat("1e40")}},
		{"bytes for NCLOB", Column{Type: NClob}, []any{[]byte("x")}},
		{"unknown type", Column{Type: 99}, []any{int64(1)}},
		{"too many values", Column{Type: BigInt}, []any{int64(1), int64(2)}},
	}
	backend := &scripted{statements: map[string]script{}}
	for _, test := range tests {
		backend.statements[test.name] = script{columns: []Column{test.column}, rows: [][]any{test.row}}
	}
	for format, db := range eachFormat(t, backend) {
		for _, test := range tests {
			t.Run(test.name+", "+format, func(t *testing.T) {
				_, err := db.ExecContext(t.Context(), test.name)
				checkCode(t, err, codeGeneral)
			})
		}
	}
}
