package wire

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
)

func TestDataFormatIsTheSmaller(t *testing.T) {
	tests := []struct {
		name string
		asks map[byte]int32
		want int
	}{
		{"asks for nothing", nil, 1},
		{"npm hdb", map[byte]int32{connectDataFormatVersion: 1, connectDataFormatVersion2: 1}, 1},
		{"go-hdb", map[byte]int32{connectDataFormatVersion2: 8}, 8},
		{"only the old option", map[byte]int32{connectDataFormatVersion: 4}, 4},
		{"both, different", map[byte]int32{connectDataFormatVersion: 1, connectDataFormatVersion2: 6}, 6},
		{"newer than the server", map[byte]int32{connectDataFormatVersion2: 10}, 8},
		{"0", map[byte]int32{connectDataFormatVersion2: 0}, 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var asked options
			for id, version := range test.asks {
				asked.integer(id, version)
			}
			got, err := negotiateFormat(asked.part(partConnectOptions))
			if err != nil || got != test.want {
				t.Fatalf("format %d (%v), want %d", got, err, test.want)
			}
			told, err := parseOptions(connectOptions(got))
			if err != nil {
				t.Fatal(err)
			}
			for _, id := range []byte{connectDataFormatVersion, connectDataFormatVersion2} {
				if told[id] != int64(test.want) {
					t.Errorf("option %d says %v", id, told[id])
				}
			}
		})
	}
}

// By the table of type codes for each data format version.
func TestTypeCodesByFormat(t *testing.T) {
	tests := []struct {
		column       Type
		format, code int
	}{
		{Timestamp, 1, 16},
		{Timestamp, 3, 16},
		{Timestamp, 4, 61},
		{SecondDate, 3, 16},
		{SecondDate, 4, 62},
		{DayDate, 3, 14},
		{DayDate, 4, 63},
		{Boolean, 6, 1},
		{Boolean, 7, 28},
		{Decimal, 7, 5},
		{Decimal, 8, 5},
		{NClob, 1, 26},
		{NClob, 8, 26},
		{NVarchar, 8, 11},
		{Varchar, 8, 9},
		{Varbinary, 8, 13},
	}
	for _, test := range tests {
		if code := typeCode(test.column, test.format); int(code) != test.code {
			t.Errorf("type %d at format %d has code %d, want %d", test.column, test.format, code, test.code)
		}
	}
}

func TestFirstRowsOfAResult(t *testing.T) {
	lob := []Column{{Type: NClob}}
	tests := []struct {
		name   string
		result script
		count  int
		flags  byte
	}{
		{"empty", script{columns: numberColumns}, 0, attributeLast | attributeClosed},
		{"all", script{columns: numberColumns, rows: numbers(firstRows)}, firstRows, attributeLast | attributeClosed},
		{"some", script{columns: numberColumns, rows: numbers(firstRows + 1)}, firstRows, attributeNext},
		{"some, for their size", script{columns: []Column{{Type: Varchar}}, rows: [][]any{{strings.Repeat("x", packetBytes)}, {"y"}}}, 1, attributeNext},
		{"whole LOBs", script{columns: lob, rows: [][]any{{"short"}}}, 1, attributeLast | attributeClosed},
		{"LOBs to be read", script{columns: lob, rows: [][]any{{strings.Repeat("x", lobInlineUnits+1)}}}, 1, attributeLast},
	}
	statements := make(map[string]script)
	for _, test := range tests {
		statements[test.name] = test.result
	}
	client := dialRaw(t, startServer(t, &scripted{statements: statements}, nil))
	client.login()
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			client.send(messageExecuteDirect, part{kind: partCommand, count: 1, data: []byte(test.name)})
			_, function, parts := client.receive()
			if function != functionSelect || len(parts) != 3 {
				t.Fatalf("function %d, parts %v", function, parts)
			}
			if id := binary.LittleEndian.Uint64(parts[1].data); id == 0 {
				t.Error("result set id 0")
			}
			got, want := fmt.Sprintf("%d rows, flags %#x", parts[2].count, parts[2].attributes), fmt.Sprintf("%d rows, flags %#x", test.count, test.flags)
			if got != want {
				t.Errorf("%s, want %s", got, want)
			}
		})
	}
}
