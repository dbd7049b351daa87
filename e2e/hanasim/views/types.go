package views

import (
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"time"

	"modernc.org/sqlite"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim/wire"
)

// timeLayout is how HANA writes a TIMESTAMP; texts in it sort as times do.
const timeLayout = "2006-01-02 15:04:05.0000000"

// columns gives the columns of a rewritten query.
func (e *Engine) columns(q rewritten) ([]wire.Column, error) {
	columns, err := e.describe(q.text)
	if err != nil {
		return nil, q.hanaError(err)
	}
	items := q.selectItems()
	for i := range columns {
		if columns[i].Table == "" && len(items) == len(columns) {
			columns[i] = e.expressionType(q, items[i], columns[i])
		}
	}
	return columns, nil
}

// describe asks the engine for the columns of a query. An expression has no
// table and is NVARCHAR at first.
func (e *Engine) describe(query string) ([]wire.Column, error) {
	var infos []sqlite.ColumnInfo
	err := e.conn.Raw(func(driverConn any) error {
		describer, ok := driverConn.(interface {
			ColumnInfo(query string) ([]sqlite.ColumnInfo, error)
		})
		if !ok {
			return fmt.Errorf("engine connection %T describes no columns", driverConn)
		}
		var err error
		infos, err = describer.ColumnInfo(query)
		return err
	})
	if err != nil {
		return nil, err
	}
	columns := make([]wire.Column, len(infos))
	for i, info := range infos {
		columns[i] = typed(info.DeclType)
		columns[i].Name, columns[i].Table = info.Name, info.TableName
	}
	return columns, nil
}

func typed(declaration string) wire.Column {
	name, rest, _ := strings.Cut(strings.ToUpper(declaration), "(")
	length, err := strconv.Atoi(strings.TrimSuffix(rest, ")"))
	if err != nil {
		length = 0
	}
	switch name {
	case "BIGINT":
		return wire.Column{Type: wire.BigInt, Length: 19}
	case "INTEGER":
		return wire.Column{Type: wire.Integer, Length: 10}
	case "DOUBLE":
		return wire.Column{Type: wire.Double, Length: 15}
	case "DECIMAL":
		return wire.Column{Type: wire.Decimal, Length: 34, Scale: 10}
	case "TIMESTAMP":
		return wire.Column{Type: wire.Timestamp, Length: 27, Scale: 7}
	case "VARCHAR":
		return wire.Column{Type: wire.Varchar, Length: length}
	case "NVARCHAR":
		return wire.Column{Type: wire.NVarchar, Length: length}
	default:
		return wire.Column{Type: wire.NVarchar, Length: 5000}
	}
}

// toEngine turns a value of ours into one that SQLite keeps.
func toEngine(value any) any {
	switch v := value.(type) {
	case time.Time:
		if v.IsZero() {
			return nil
		}
		return v.UTC().Format(timeLayout)
	case *big.Rat:
		f, _ := v.Float64()
		return f
	case bool:
		if v {
			return int64(1)
		}
		return int64(0)
	default:
		return value
	}
}

// fromEngine turns a value of SQLite into one of the announced type.
func fromEngine(value any, t wire.Type) (any, error) {
	if value == nil {
		return nil, nil //nolint:nilnil // NULL is nil
	}
	switch t {
	case wire.BigInt, wire.Integer:
		return toInteger(value)
	case wire.Double:
		return strconv.ParseFloat(toText(value), 64)
	case wire.Decimal:
		rat, ok := new(big.Rat).SetString(toText(value))
		if !ok {
			return nil, fmt.Errorf("%v is not a number", value)
		}
		return rat, nil
	case wire.Timestamp:
		return toTime(value)
	default:
		return toText(value), nil
	}
}

func toInteger(value any) (any, error) {
	switch v := value.(type) {
	case int64:
		return v, nil
	case float64:
		return int64(v), nil
	default:
		return strconv.ParseInt(strings.TrimSpace(toText(value)), 10, 64)
	}
}

func toTime(value any) (any, error) {
	if t, ok := value.(time.Time); ok {
		return t, nil
	}
	return time.Parse("2006-01-02 15:04:05.9999999", toText(value))
}

func toText(value any) string {
	switch v := value.(type) {
	case string:
		return v
	case []byte:
		return string(v)
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case time.Time:
		return v.UTC().Format(timeLayout)
	default:
		return fmt.Sprint(v)
	}
}
