package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// errMalformed marks what does not follow the protocol. A connection that sends
// it is closed, for there is no telling where its next message starts.
var errMalformed = errors.New("malformed message")

// cursor reads little-endian values from a message. The first read past the end
// sets err, and every read after it yields zeroes, so a caller may read a whole
// structure and look at err once.
type cursor struct {
	b   []byte
	err error
}

func (c *cursor) fail(format string, args ...any) {
	if c.err == nil {
		c.err = fmt.Errorf("%w: %s", errMalformed, fmt.Sprintf(format, args...))
	}
	c.b = nil
}

// take yields the next n bytes, which alias the message.
func (c *cursor) take(n int) []byte {
	if n < 0 || n > len(c.b) {
		c.fail("%d bytes wanted, %d left", n, len(c.b))
		return nil
	}
	taken := c.b[:n:n]
	c.b = c.b[n:]
	return taken
}

// fixed is take for a number: never fewer than n bytes.
func (c *cursor) fixed(n int) []byte {
	if b := c.take(n); b != nil {
		return b
	}
	return make([]byte, n)
}

func (c *cursor) u8() byte     { return c.fixed(1)[0] }
func (c *cursor) u16() uint16  { return binary.LittleEndian.Uint16(c.fixed(2)) }
func (c *cursor) u32() uint32  { return binary.LittleEndian.Uint32(c.fixed(4)) }
func (c *cursor) u64() uint64  { return binary.LittleEndian.Uint64(c.fixed(8)) }
func (c *cursor) i16() int16   { return int16(c.u16()) }
func (c *cursor) i32() int32   { return int32(c.u32()) }
func (c *cursor) i64() int64   { return int64(c.u64()) }
func (c *cursor) f32() float32 { return math.Float32frombits(c.u32()) }
func (c *cursor) f64() float64 { return math.Float64frombits(c.u64()) }

// Length indicators of a field of variable length, as the SAP HANA SQL Command
// Network Protocol Reference has them: up to 245 the byte is the length itself.
const (
	fieldMaxShort = 245
	fieldInt16    = 246
	fieldInt32    = 247
	fieldNull     = 255
)

// field reads a field of variable length. null tells a NULL from an empty one.
func (c *cursor) field() (b []byte, null bool) {
	switch indicator := c.u8(); {
	case indicator <= fieldMaxShort:
		return c.take(int(indicator)), false
	case indicator == fieldInt16:
		return c.take(int(c.i16())), false
	case indicator == fieldInt32:
		return c.take(int(c.i32())), false
	case indicator == fieldNull:
		return nil, true
	default:
		c.fail("length indicator %d", indicator)
		return nil, false
	}
}

// appendField adds a field of variable length.
func appendField(b, value []byte) []byte {
	switch n := len(value); {
	case n <= fieldMaxShort:
		b = append(b, byte(n))
	case n <= math.MaxInt16:
		b = binary.LittleEndian.AppendUint16(append(b, fieldInt16), uint16(n))
	default:
		b = binary.LittleEndian.AppendUint32(append(b, fieldInt32), uint32(n))
	}
	return append(b, value...)
}
