package wire

import (
	"encoding/binary"
	"fmt"
)

// Options of a LOB in either direction.
const (
	lobNull         = 1
	lobDataIncluded = 2
	lobLastData     = 4
)

const (
	lobTypeNClob = 3
	// lobInlineUnits is how much of an NCLOB stands in its row; the rest is fetched.
	lobInlineUnits = 16 << 10
	// lobReadUnits is the most that one read gives, whatever was asked for.
	lobReadUnits = 1 << 20
	// lobMaxBytes is the most that a LOB parameter may have.
	lobMaxBytes = 64 << 20
)

// outLob is an NCLOB that a client reads in pieces, as CESU-8. unit and offset
// remember where the last piece ended, since pieces are mostly read in order.
type outLob struct {
	data         []byte
	unit, offset int
}

// appendLob adds an NCLOB to a row: type, options, filler, length in UTF-16 units
// and in bytes, locator, length of the piece, piece (SAP HANA SQL Command Network
// Protocol Reference: LOB output). Only a long one gets a locator.
func (s *session) appendLob(b []byte, rs *resultSet, value any) ([]byte, error) {
	if value == nil {
		return append(b, lobTypeNClob, lobNull), nil
	}
	text, ok := value.(string)
	if !ok {
		return nil, misfit(typeNClob, value)
	}
	data := encodeCESU8(text)
	units := countUnits(data)
	piece, options, locator := data, byte(lobDataIncluded|lobLastData), uint64(0)
	if units > lobInlineUnits {
		piece, options, locator = data[:cutUnits(data, lobInlineUnits)], lobDataIncluded, s.newID()
		s.lobs[locator] = &outLob{data: data}
		rs.lobs = append(rs.lobs, locator)
	}
	le := binary.LittleEndian
	b = append(b, lobTypeNClob, options, 0, 0)
	b = le.AppendUint64(b, uint64(units))
	b = le.AppendUint64(b, uint64(len(data)))
	b = le.AppendUint64(b, locator)
	b = le.AppendUint32(b, uint32(len(piece)))
	return append(b, piece...), nil
}

// read gives at most units from a position in units.
func (l *outLob) read(position, units int) (piece []byte, last bool) {
	if position < l.unit {
		l.unit, l.offset = 0, 0
	}
	l.offset += skipUnits(l.data[l.offset:], position-l.unit)
	l.unit = position
	rest := l.data[l.offset:]
	end := cutUnits(rest, min(units, lobReadUnits))
	return rest[:end], end == len(rest)
}

// readLob answers locator, position from 1 and length with locator, options,
// length, filler and data.
func (s *session) readLob(p part) (*reply, error) {
	c := cursor{b: p.data}
	locator, position, units := c.u64(), c.i64(), c.i32()
	if c.err != nil {
		return nil, c.err
	}
	lob, ok := s.lobs[locator]
	if !ok {
		return nil, generalError(fmt.Sprintf("LOB locator %d is not open", locator))
	}
	if position < 1 || units < 1 {
		return nil, generalError(fmt.Sprintf("LOB read of %d from %d", units, position))
	}
	piece, last := lob.read(int(position-1), int(units))
	options := byte(lobDataIncluded)
	if last {
		options |= lobLastData
	}
	data := binary.LittleEndian.AppendUint64(nil, locator)
	data = append(data, options)
	data = binary.LittleEndian.AppendUint32(data, uint32(len(piece)))
	data = append(data, 0, 0, 0)
	data = append(data, piece...)
	return success(functionReadLob, part{kind: partReadLobReply, count: 1, data: data}), nil
}

// inLob is a LOB parameter while it arrives.
type inLob struct {
	text      bool
	announced int // bytes that follow the row
	last      bool
	data      []byte
	locator   uint64
}

// lob reads what stands in the row of a LOB parameter: options, length and
// position of its first piece.
func (c *cursor) lob(code byte) (any, error) {
	options, length := c.u8(), int(c.i32())
	c.i32() // position
	if options&lobNull != 0 {
		return nil, c.err
	}
	return &inLob{text: code != typeBlob, announced: length, last: options&lobLastData != 0}, c.err
}

func (l *inLob) value() (any, error) {
	if !l.text {
		return append([]byte{}, l.data...), nil
	}
	return textValue(l.data)
}

// write adds a piece of a LOB parameter.
func (l *inLob) write(options byte, piece []byte) error {
	if len(l.data)+len(piece) > lobMaxBytes {
		return generalError(fmt.Sprintf("LOB of more than %d bytes", lobMaxBytes))
	}
	l.data = append(l.data, piece...)
	l.last = options&lobLastData != 0
	return nil
}

// lobPiece is one piece of a LOB parameter: locator, options, position (which is
// always the end), length and data.
type lobPiece struct {
	locator uint64
	options byte
	data    []byte
}

func parseLobPieces(p part) ([]lobPiece, error) {
	var pieces []lobPiece
	c := cursor{b: p.data}
	for i := 0; i < p.count && c.err == nil; i++ {
		piece := lobPiece{locator: c.u64(), options: c.u8()}
		c.i64() // position
		piece.data = c.take(int(c.i32()))
		pieces = append(pieces, piece)
	}
	return pieces, c.err
}
