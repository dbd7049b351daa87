package wire

import "fmt"

// parseParameters reads rows of parameters. Each is a type code, whose high bit
// says NULL, and the value without the NULL marks that rows have (SAP HANA SQL
// Command Network Protocol Reference: input parameters). The code decides, not
// the type that was announced: npm hdb sends a TIMESTAMP where a LONGDATE was
// asked for.
//
// The data of a row's LOBs follows the row; where exactly, clients count
// differently (go-hdb from 0 and from the start of the part, npm hdb from 1 and
// from the start of the row), so what they say of it is not looked at. LOBs that
// are to be continued may only stand in the last row; they are values of type
// *inLob.
func parseParameters(p part, parameters []Column) ([][]any, error) {
	if len(parameters) == 0 {
		return [][]any{nil}, nil
	}
	if p.count < 1 {
		return nil, &Error{Code: codeParsingProtocol, State: stateGeneral, Text: "error while parsing protocol: no parameters"}
	}
	var rows [][]any
	c := cursor{b: p.data}
	for i := range p.count {
		row, complete, err := c.parameterRow(parameters)
		if err != nil {
			return nil, err
		}
		if !complete && i != p.count-1 {
			return nil, fmt.Errorf("%w: unfinished LOB before the last row", errMalformed)
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// parameterRow reads one row; complete tells that no LOB of it is continued.
func (c *cursor) parameterRow(parameters []Column) (row []any, complete bool, err error) {
	row = make([]any, len(parameters))
	var lobs []int
	for i, parameter := range parameters {
		if row[i], err = c.parameter(parameter.Type); err != nil {
			return nil, false, err
		}
		if _, ok := row[i].(*inLob); ok {
			lobs = append(lobs, i)
		}
	}
	complete = true
	for _, i := range lobs {
		lob := row[i].(*inLob)
		lob.data = append(lob.data, c.take(lob.announced)...)
		if !lob.last {
			complete = false
			continue
		}
		if row[i], err = lob.value(); err != nil {
			return nil, false, err
		}
	}
	return row, complete, c.err
}

// parameter reads one value. A LOB is left without its data.
func (c *cursor) parameter(announced Type) (any, error) {
	code := c.u8()
	if code&0x80 != 0 {
		return nil, c.err
	}
	var value any
	switch {
	case code >= typeTinyInt && code <= typeBigInt:
		integer := c.integer(code)
		if value = any(integer); announced == Boolean {
			value = integer != 0
		}
	case code == typeBoolean:
		value = c.boolean()
	case code == typeReal:
		value = float64(c.f32())
	case code == typeDouble:
		value = c.f64()
	case code == typeDecimal:
		value = c.decimal()
	case isDate(code):
		value = c.time(code)
	default:
		return c.variable(code)
	}
	return value, c.err
}

func (c *cursor) integer(code byte) int64 {
	switch code {
	case typeTinyInt:
		return int64(c.u8())
	case typeSmallInt:
		return int64(c.i16())
	case typeInteger:
		return int64(c.i32())
	default:
		return c.i64()
	}
}

func (c *cursor) boolean() any {
	switch c.u8() {
	case booleanFalse:
		return false
	case booleanNull:
		return nil
	default:
		return true
	}
}

// variable reads a value of variable length.
func (c *cursor) variable(code byte) (any, error) {
	switch code {
	case typeChar, typeVarchar, typeNChar, typeNVarchar, typeString, typeNString, typeShortText:
		b, null := c.field()
		if null || c.err != nil {
			return nil, c.err
		}
		return textValue(b)
	case typeBinary, typeVarbinary, typeBstring:
		b, null := c.field()
		if null || c.err != nil {
			return nil, c.err
		}
		return append([]byte{}, b...), nil
	case typeClob, typeNClob, typeBlob:
		return c.lob(code)
	default:
		text := fmt.Sprintf("feature not supported: parameter of type code %d", code)
		return nil, &Error{Code: codeFeatureNotSupported, State: stateGeneral, Text: text}
	}
}

func textValue(b []byte) (any, error) {
	text, err := decodeCESU8(b)
	if err != nil {
		return nil, &Error{Code: codeFeatureNotSupported, State: stateGeneral, Text: "feature not supported: " + err.Error()}
	}
	return text, nil
}
