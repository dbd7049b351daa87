package wire

import (
	"encoding/binary"
	"math"
)

const (
	columnMandatory = 1
	columnNullable  = 2
	parameterIn     = 1
	noName          = math.MaxUint32
)

// columnMetadata describes a result: per column options, type, scale, length,
// filler and the offsets of four names; then the names, each a field (SAP HANA
// SQL Command Network Protocol Reference: result set metadata).
func columnMetadata(columns []Column, format int) part {
	le := binary.LittleEndian
	var data, names []byte
	for _, column := range columns {
		data = append(data, nullability(column), typeCode(column.Type, format))
		data = le.AppendUint16(data, uint16(wireScale(column)))
		data = le.AppendUint16(data, uint16(wireLength(column)))
		data = append(data, 0, 0)
		var table, name uint32
		names, table = appendName(names, column.Table)
		names, name = appendName(names, column.Name)
		data = le.AppendUint32(data, table)
		data = le.AppendUint32(data, noName) // schema
		data = le.AppendUint32(data, name)
		data = le.AppendUint32(data, name) // label
	}
	return part{kind: partResultSetMetadata, count: len(columns), data: append(data, names...)}
}

// parameterMetadata describes parameters: options, type, mode, filler, offset of
// the name, length, scale, filler; then the names (SAP HANA SQL Command Network
// Protocol Reference: parameter metadata).
func parameterMetadata(parameters []Column, format int) part {
	le := binary.LittleEndian
	var data, names []byte
	for _, parameter := range parameters {
		data = append(data, nullability(parameter), typeCode(parameter.Type, format), parameterIn, 0)
		var name uint32
		names, name = appendName(names, parameter.Name)
		data = le.AppendUint32(data, name)
		data = le.AppendUint16(data, uint16(wireLength(parameter)))
		data = le.AppendUint16(data, uint16(wireScale(parameter)))
		data = append(data, 0, 0, 0, 0)
	}
	return part{kind: partParameterMetadata, count: len(parameters), data: append(data, names...)}
}

// appendName adds a name and gives the offset at which it stands.
func appendName(names []byte, name string) (grown []byte, offset uint32) {
	if name == "" {
		return names, noName
	}
	return appendField(names, encodeCESU8(name)), uint32(len(names))
}

func nullability(c Column) byte {
	if c.NotNull {
		return columnMandatory
	}
	return columnNullable
}

func wireLength(c Column) int { return min(c.Length, math.MaxInt16) }

// wireScale gives the scale; a DECIMAL without a length has a floating one.
func wireScale(c Column) int {
	if c.Type == Decimal && c.Length == 0 {
		return floatingScale
	}
	return c.Scale
}
