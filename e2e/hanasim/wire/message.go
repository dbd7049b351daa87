package wire

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
)

// A message is a header of 32 bytes, then segments of a header of 24 bytes and
// parts of a header of 16 bytes and data padded to 8 (SAP HANA SQL Command
// Network Protocol Reference: message header, segment header, part header).
// Everything is little-endian.
const (
	messageHeaderLength = 32
	segmentHeaderLength = 24
	partHeaderLength    = 16
	partAlignment       = 8
)

// packetCompressed is the packet option of a compressed message. The server
// never agrees to compression, so no client may send one.
const packetCompressed = 0x02

type messageType int8

const (
	messageExecuteDirect   messageType = 2
	messagePrepare         messageType = 3
	messageExecute         messageType = 13
	messageReadLob         messageType = 16
	messageWriteLob        messageType = 17
	messagePing            messageType = 25
	messageAuthenticate    messageType = 65
	messageConnect         messageType = 66
	messageCommit          messageType = 67
	messageRollback        messageType = 68
	messageCloseResultSet  messageType = 69
	messageDropStatementID messageType = 70
	messageFetchNext       messageType = 71
	messageDisconnect      messageType = 77
	messageDBConnectInfo   messageType = 82
	messageClientPing      messageType = 94
)

type segmentKind int8

const (
	segmentRequest segmentKind = 1
	segmentReply   segmentKind = 2
	segmentError   segmentKind = 5
)

type functionCode int16

const (
	functionNil         functionCode = 0
	functionDDL         functionCode = 1
	functionInsert      functionCode = 2
	functionUpdate      functionCode = 3
	functionDelete      functionCode = 4
	functionSelect      functionCode = 5
	functionFetch       functionCode = 10
	functionCommit      functionCode = 11
	functionRollback    functionCode = 12
	functionConnect     functionCode = 14
	functionWriteLob    functionCode = 15
	functionReadLob     functionCode = 16
	functionPing        functionCode = 17
	functionDisconnect  functionCode = 18
	functionCloseCursor functionCode = 19
)

type partKind int8

const (
	partCommand           partKind = 3
	partResultSet         partKind = 5
	partError             partKind = 6
	partStatementID       partKind = 10
	partRowsAffected      partKind = 12
	partResultSetID       partKind = 13
	partTopology          partKind = 15
	partReadLobRequest    partKind = 17
	partReadLobReply      partKind = 18
	partWriteLobRequest   partKind = 28
	partWriteLobReply     partKind = 30
	partParameters        partKind = 32
	partAuthentication    partKind = 33
	partConnectOptions    partKind = 42
	partFetchSize         partKind = 45
	partParameterMetadata partKind = 47
	partResultSetMetadata partKind = 48
	partTransactionFlags  partKind = 64
	partDBConnectInfo     partKind = 67
)

// part is one part of a message. count is its argument count; what that counts
// depends on the kind.
type part struct {
	kind       partKind
	attributes byte
	count      int
	data       []byte
}

// request is a message from a client.
type request struct {
	sessionID   int64
	packetCount int32
	messageType messageType
	parts       []part
}

// part finds the first part of a kind.
func (r *request) part(kind partKind) (part, bool) {
	for _, p := range r.parts {
		if p.kind == kind {
			return p, true
		}
	}
	return part{}, false
}

// id reads the number that a part of a kind consists of.
func (r *request) id(kind partKind) (uint64, error) {
	p, ok := r.part(kind)
	if !ok {
		return 0, fmt.Errorf("%w: message type %d without part %d", errMalformed, r.messageType, kind)
	}
	c := cursor{b: p.data}
	id := c.u64()
	return id, c.err
}

// readRequest reads one message of at most limit bytes after its header. It
// returns io.EOF unwrapped when the client has closed between two messages.
func readRequest(r io.Reader, limit uint32) (request, error) {
	header := make([]byte, messageHeaderLength)
	if _, err := io.ReadFull(r, header[:1]); err != nil {
		return request{}, err
	}
	if _, err := io.ReadFull(r, header[1:]); err != nil {
		return request{}, fmt.Errorf("read message header: %w", err)
	}
	c := cursor{b: header}
	req := request{sessionID: c.i64(), packetCount: c.i32()}
	length := c.u32()
	c.u32() // the size of the client's buffer
	segments := c.i16()
	options := c.u8()
	switch {
	case length > limit:
		return request{}, fmt.Errorf("%w: %d bytes, at most %d are taken", errMalformed, length, limit)
	case segments != 1:
		return request{}, fmt.Errorf("%w: %d segments", errMalformed, segments)
	case options&packetCompressed != 0:
		return request{}, fmt.Errorf("%w: compressed without agreement", errMalformed)
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(r, body); err != nil {
		return request{}, fmt.Errorf("read message: %w", err)
	}
	err := req.parseSegment(body)
	return req, err
}

// parseSegment reads the one segment of a request.
func (r *request) parseSegment(body []byte) error {
	c := cursor{b: body}
	c.i32() // length, which the message header gives too
	c.i32() // offset
	parts := int(c.i16())
	c.i16() // number of the segment
	kind := segmentKind(c.u8())
	r.messageType = messageType(c.u8())
	c.take(segmentHeaderLength - 14) // commit flag, command options, filler
	if c.err == nil && kind != segmentRequest {
		c.fail("segment kind %d", kind)
	}
	for i := 0; i < parts && c.err == nil; i++ {
		r.parts = append(r.parts, c.part())
	}
	return c.err
}

// part reads a part. The padding of the last one may be missing.
func (c *cursor) part() part {
	p := part{kind: partKind(c.u8()), attributes: c.u8(), count: int(c.i16())}
	bigCount := c.i32()
	length := int(c.i32())
	c.i32() // space that is left in the client's buffer
	if p.count == -1 {
		p.count = int(bigCount)
	}
	p.data = c.take(length)
	c.take(min(padding(length), len(c.b)))
	return p
}

func padding(length int) int {
	return (partAlignment - length%partAlignment) % partAlignment
}

// reply is a message to a client.
type reply struct {
	kind     segmentKind
	function functionCode
	parts    []part
}

// encode gives the whole message, for one write: npm hdb takes what comes first
// for the whole of it in places.
func (r *reply) encode(sessionID int64, packetCount int32) []byte {
	b := make([]byte, messageHeaderLength+segmentHeaderLength)
	for _, p := range r.parts {
		b = p.append(b)
	}
	length := uint32(len(b) - messageHeaderLength)
	le := binary.LittleEndian
	le.PutUint64(b[0:], uint64(sessionID))
	le.PutUint32(b[8:], uint32(packetCount))
	le.PutUint32(b[12:], length)
	le.PutUint32(b[16:], length)
	le.PutUint16(b[20:], 1) // segments

	segment := b[messageHeaderLength:]
	le.PutUint32(segment[0:], length)
	le.PutUint16(segment[8:], uint16(len(r.parts)))
	le.PutUint16(segment[10:], 1) // number of the segment
	segment[12] = byte(r.kind)
	le.PutUint16(segment[14:], uint16(r.function))
	return b
}

func (p *part) append(b []byte) []byte {
	le := binary.LittleEndian
	b = append(b, byte(p.kind), p.attributes)
	if p.count > math.MaxInt16 {
		b = le.AppendUint16(b, math.MaxUint16)
		b = le.AppendUint32(b, uint32(p.count))
	} else {
		b = le.AppendUint16(b, uint16(p.count))
		b = le.AppendUint32(b, 0)
	}
	b = le.AppendUint32(b, uint32(len(p.data)))
	b = le.AppendUint32(b, uint32(len(p.data)))
	b = append(b, p.data...)
	return append(b, make([]byte, padding(len(p.data)))...)
}

// idPart is a part that consists of one number.
func idPart(kind partKind, id uint64) part {
	return part{kind: kind, count: 1, data: binary.LittleEndian.AppendUint64(nil, id)}
}
