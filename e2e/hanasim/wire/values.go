package wire

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/big"
	"time"
)

// Booleans in rows and parameters.
const (
	booleanFalse = 0
	booleanNull  = 1
	booleanTrue  = 2
)

// appendValue adds a value of a row, other than a LOB (SAP HANA SQL Command
// Network Protocol Reference: output value formats). Its error names what the
// backend gave that the column's type cannot hold.
func appendValue(b []byte, column Column, format int, value any) ([]byte, error) {
	code := typeCode(column.Type, format)
	if value == nil {
		return appendNull(b, code), nil
	}
	switch v := value.(type) {
	case bool:
		return appendBoolean(b, code, v)
	case int64:
		return appendInteger(b, column, code, v)
	case string:
		if isText(code) {
			return appendField(b, encodeCESU8(v)), nil
		}
	case time.Time:
		if isDate(code) {
			return appendTime(b, code, v), nil
		}
	default:
		return appendOther(b, column, code, value)
	}
	return nil, misfit(code, value)
}

// appendOther adds a value of a Go type that only one type code holds.
func appendOther(b []byte, column Column, code byte, value any) ([]byte, error) {
	switch v := value.(type) {
	case float64:
		if code == typeDouble {
			return binary.LittleEndian.AppendUint64(b, math.Float64bits(v)), nil
		}
	case []byte:
		if code == typeVarbinary {
			return appendField(b, v), nil
		}
	case *big.Rat:
		if code == typeDecimal {
			return appendDecimal(b, v, wireScale(column))
		}
	}
	return nil, misfit(code, value)
}

func misfit(code byte, value any) error {
	return fmt.Errorf("type code %d cannot hold %v (%T)", code, value, value)
}

func isText(code byte) bool { return code == typeNVarchar || code == typeVarchar }

func isDate(code byte) bool {
	switch code {
	case typeLongDate, typeSecondDate, typeDayDate, typeDate, typeTimestamp:
		return true
	default:
		return false
	}
}

func appendNull(b []byte, code byte) []byte {
	switch {
	case isDate(code):
		return appendNullTime(b, code)
	case code == typeBoolean:
		return append(b, booleanNull)
	case code == typeDouble:
		return binary.LittleEndian.AppendUint64(b, math.MaxUint64)
	case code == typeDecimal:
		null := make([]byte, decimalLength)
		null[decimalLength-1] = decimalNull
		return append(b, null...)
	case isText(code), code == typeVarbinary:
		return append(b, fieldNull)
	default:
		return append(b, 0) // integers: a byte that tells whether a value follows
	}
}

// appendBoolean adds a boolean, which is a TINYINT before format version 7.
func appendBoolean(b []byte, code byte, v bool) ([]byte, error) {
	switch {
	case code == typeBoolean && v:
		return append(b, booleanTrue), nil
	case code == typeBoolean:
		return append(b, booleanFalse), nil
	case code == typeTinyInt && v:
		return append(b, 1, 1), nil
	case code == typeTinyInt:
		return append(b, 1, 0), nil
	default:
		return nil, misfit(code, v)
	}
}

func appendInteger(b []byte, column Column, code byte, v int64) ([]byte, error) {
	le := binary.LittleEndian
	switch {
	case code == typeBigInt:
		return le.AppendUint64(append(b, 1), uint64(v)), nil
	case code == typeInteger && int64(int32(v)) == v:
		return le.AppendUint32(append(b, 1), uint32(v)), nil
	case code == typeSmallInt && int64(int16(v)) == v:
		return le.AppendUint16(append(b, 1), uint16(v)), nil
	case code == typeTinyInt && int64(uint8(v)) == v && column.Type == TinyInt:
		return append(b, 1, byte(v)), nil
	case code == typeDecimal:
		return appendDecimal(b, new(big.Rat).SetInt64(v), wireScale(column))
	default:
		return nil, misfit(code, v)
	}
}
