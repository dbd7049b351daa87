package wire

import (
	"encoding/binary"
	"fmt"
)

// An option part is a list of id, type code and value (SAP HANA SQL Command
// Network Protocol Reference: option part data format). go-hdb panics on a type
// other than these.
const (
	optionTinyInt = typeTinyInt
	optionInteger = typeInteger
	optionBigInt  = typeBigInt
	optionDouble  = typeDouble
	optionBoolean = typeBoolean
	optionString  = typeString
	optionBinary  = typeBstring
)

// Connect options, of the many that exist.
const (
	connectDataFormatVersion  = 12
	connectDistributionMode   = 15
	connectDataFormatVersion2 = 23
	connectFullVersion        = 44
	connectFlagSet            = 53
	flagClientPing            = 0x02000000
	transactionRolledBack     = 0
	transactionCommitted      = 1
	dbConnectDatabaseName     = 1
	dbConnectHost             = 2
	dbConnectPort             = 3
	dbConnectIsConnected      = 4
)

// options is a list of options under construction.
type options struct {
	count int
	data  []byte
}

func (o *options) start(id, code byte) {
	o.count++
	o.data = append(o.data, id, code)
}

func (o *options) integer(id byte, v int32) {
	o.start(id, optionInteger)
	o.data = binary.LittleEndian.AppendUint32(o.data, uint32(v))
}

func (o *options) boolean(id byte, v bool) {
	o.start(id, optionBoolean)
	if v {
		o.data = append(o.data, 1)
	} else {
		o.data = append(o.data, 0)
	}
}

// text adds a string of at most 32,767 bytes.
func (o *options) text(id byte, v string) {
	o.start(id, optionString)
	o.data = binary.LittleEndian.AppendUint16(o.data, uint16(len(v)))
	o.data = append(o.data, v...)
}

func (o *options) part(kind partKind) part {
	return part{kind: kind, count: o.count, data: o.data}
}

// parseOptions reads the options of a part: bool, int64, float64 or string by id.
func parseOptions(p part) (map[byte]any, error) {
	values := make(map[byte]any)
	c := cursor{b: p.data}
	for i := 0; i < p.count && c.err == nil; i++ {
		id, code := c.u8(), c.u8()
		switch code {
		case optionBoolean:
			values[id] = c.u8() != 0
		case optionTinyInt:
			values[id] = int64(c.u8())
		case optionInteger:
			values[id] = int64(c.i32())
		case optionBigInt:
			values[id] = c.i64()
		case optionDouble:
			values[id] = c.f64()
		case optionString, optionBinary:
			values[id] = string(c.take(int(c.i16())))
		default:
			c.fail("option %d of type %d", id, code)
		}
	}
	if c.err != nil {
		return nil, fmt.Errorf("options of part %d: %w", p.kind, c.err)
	}
	return values, nil
}
