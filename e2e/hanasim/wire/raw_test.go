package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// rawClient speaks the protocol by hand, to do what no driver does.
type rawClient struct {
	t         *testing.T
	conn      net.Conn
	sessionID int64
}

func dial(t *testing.T, address net.Addr) *rawClient {
	t.Helper()
	conn, err := net.Dial("tcp", address.String())
	if err != nil {
		t.Fatal(err)
	}
	c := &rawClient{t: t, conn: conn}
	t.Cleanup(c.close)
	if err := conn.SetDeadline(time.Now().Add(waitLimit)); err != nil {
		t.Fatal(err)
	}
	return c
}

// dialRaw is dial up to where the login begins.
func dialRaw(t *testing.T, address net.Addr) *rawClient {
	t.Helper()
	c := dial(t, address)
	c.write([]byte{0xff, 0xff, 0xff, 0xff, 4, 20, 0, 4, 1, 0, 0, 1, 1, 1})
	prolog := make([]byte, 8)
	if _, err := io.ReadFull(c.conn, prolog); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *rawClient) close() {
	c.t.Helper()
	if err := c.conn.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		c.t.Error(err)
	}
}

func (c *rawClient) write(b []byte) {
	c.t.Helper()
	if _, err := c.conn.Write(b); err != nil {
		c.t.Fatal(err)
	}
}

func (c *rawClient) send(message messageType, parts ...part) {
	c.t.Helper()
	c.write(encodeRequest(c.sessionID, message, parts...))
}

// encodeRequest makes a request of what is otherwise a reply.
func encodeRequest(sessionID int64, message messageType, parts ...part) []byte {
	b := (&reply{kind: segmentRequest, parts: parts}).encode(sessionID, 1)
	b[messageHeaderLength+13] = byte(message)
	return b
}

func (c *rawClient) receive() (segmentKind, functionCode, []part) {
	c.t.Helper()
	header := make([]byte, messageHeaderLength)
	if _, err := io.ReadFull(c.conn, header); err != nil {
		c.t.Fatal(err)
	}
	body := make([]byte, binary.LittleEndian.Uint32(header[12:]))
	if _, err := io.ReadFull(c.conn, body); err != nil {
		c.t.Fatal(err)
	}
	c.sessionID = int64(binary.LittleEndian.Uint64(header))
	kind, function := segmentKind(body[12]), functionCode(binary.LittleEndian.Uint16(body[14:]))
	body[12] = byte(segmentRequest)
	var parsed request
	if err := parsed.parseSegment(body); err != nil {
		c.t.Fatal(err)
	}
	return kind, function, parsed.parts
}

func (c *rawClient) login() {
	c.t.Helper()
	challenge := bytes.Repeat([]byte{7}, clientChallengeLength)
	c.send(messageAuthenticate, authPart([]byte(testUser), []byte("LDAP"), []byte("nested"), []byte(methodSHA256), challenge))
	_, _, parts := c.receive()
	if c.sessionID != 0 {
		c.t.Errorf("session id %d in the reply to AUTHENTICATE", c.sessionID)
	}
	fields, err := authFields(parts[0].data)
	if err != nil {
		c.t.Fatal(err)
	}
	block, err := authFields(fields[1])
	if err != nil {
		c.t.Fatal(err)
	}
	e := exchange{method: methodSHA256, salt: block[0], serverChallenge: block[1], clientChallenge: challenge}
	proof := encodeAuthFields(e.clientProof(hash([]byte(testPassword), e.salt)))
	c.send(messageConnect, authPart([]byte(testUser), []byte(methodSHA256), proof))
	if kind, function, _ := c.receive(); kind != segmentReply || function != functionConnect || c.sessionID <= 0 {
		c.t.Fatalf("CONNECT: segment %d, function %d, session %d", kind, function, c.sessionID)
	}
}

// hungUp checks that the server closes the connection without another message.
func (c *rawClient) hungUp() {
	c.t.Helper()
	if n, err := c.conn.Read(make([]byte, 1)); n != 0 || err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Errorf("read %d bytes, error %v; want a closed connection", n, err)
	}
}

func TestGarbageClosesTheConnection(t *testing.T) {
	address := startServer(t, &scripted{statements: dummy}, nil)
	command := part{kind: partCommand, count: 1, data: []byte("select 1 from dummy")}
	good := encodeRequest(0, messageExecuteDirect, command)
	change := func(offset int, b ...byte) []byte {
		changed := bytes.Clone(good)
		copy(changed[offset:], b)
		return changed
	}
	const segment, firstPart = messageHeaderLength, messageHeaderLength + segmentHeaderLength
	tests := []struct {
		name    string
		message []byte
	}{
		{"message of 4 GB", change(12, 0xff, 0xff, 0xff, 0xff)},
		{"message without a segment", change(20, 0, 0)},
		{"two segments", change(20, 2, 0)},
		{"compressed", change(22, packetCompressed)},
		{"shorter than a segment header", change(12, 20, 0, 0, 0)},
		{"reply instead of request", change(segment+12, byte(segmentReply))},
		{"more parts than there are", change(segment+8, 9, 0)},
		{"part longer than the message", change(firstPart+8, 0xff, 0xff, 0, 0)},
		{"part of negative length", change(firstPart+8, 0xff, 0xff, 0xff, 0xff)},
		{"fetch without a result set", encodeRequest(0, messageFetchNext)},
		{"short statement id", encodeRequest(0, messageExecute, part{kind: partStatementID, count: 1, data: []byte{1}})},
		{"execute without a command", encodeRequest(0, messageExecuteDirect)},
		{"LOB message without a LOB", encodeRequest(0, messageReadLob)},
		{"short LOB", encodeRequest(0, messageWriteLob, part{kind: partWriteLobRequest, count: 5, data: make([]byte, 40)})},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			client := dialRaw(t, address)
			client.login()
			client.write(test.message)
			client.hungUp()
		})
	}
}

func TestGarbageBeforeLogin(t *testing.T) {
	address := startServer(t, &scripted{statements: dummy}, nil)
	authenticate := authPart([]byte(testUser), []byte(methodSHA256), make([]byte, clientChallengeLength))
	tests := []struct {
		name     string
		messages [][]byte
	}{
		{"statement", [][]byte{encodeRequest(0, messageExecuteDirect, part{kind: partCommand, data: []byte("select 1 from dummy")})}},
		{"message too big for a login", [][]byte{encodeRequest(0, messageAuthenticate, part{kind: partAuthentication, data: make([]byte, loginMessageLimit)})}},
		{"CONNECT first", [][]byte{encodeRequest(0, messageConnect, authenticate)}},
		{"AUTHENTICATE without its part", [][]byte{encodeRequest(0, messageAuthenticate)}},
		{"no user", [][]byte{encodeRequest(0, messageAuthenticate, authPart())}},
		{"short challenge", [][]byte{encodeRequest(0, messageAuthenticate, authPart([]byte(testUser), []byte(methodSHA256), []byte{1}))}},
		{"database question without its part", [][]byte{encodeRequest(0, messageDBConnectInfo)}},
		{"option of an unknown type", [][]byte{encodeRequest(0, messageDBConnectInfo, part{kind: partDBConnectInfo, count: 1, data: []byte{1, 99}})}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			client := dialRaw(t, address)
			for _, message := range test.messages {
				client.write(message)
			}
			client.hungUp()
		})
	}
}

func TestPrologs(t *testing.T) {
	address := startServer(t, &scripted{}, nil)
	tests := []struct {
		name   string
		prolog []byte
		good   bool
	}{
		{"one option", []byte{0xff, 0xff, 0xff, 0xff, 4, 20, 0, 4, 1, 0, 0, 1, 1, 1}, true},
		{"big-endian version", []byte{0xff, 0xff, 0xff, 0xff, 4, 0, 20, 4, 0, 1, 0, 1, 1, 1}, true},
		{"no option", []byte{0xff, 0xff, 0xff, 0xff, 4, 20, 0, 4, 1, 0, 0, 0, 0, 0}, true},
		{"two options", []byte{0xff, 0xff, 0xff, 0xff, 4, 20, 0, 4, 1, 0, 0, 2, 1, 1, 2, 0}, true},
		{"big-endian client", []byte{0xff, 0xff, 0xff, 0xff, 4, 20, 0, 4, 1, 0, 0, 1, 1, 0}, false},
		{"HTTP", []byte("GET / HTTP/1.1\r\nHost: hana\r\n\r\n"), false},
		{"many options", []byte{0xff, 0xff, 0xff, 0xff, 4, 20, 0, 4, 1, 0, 0, 0xff, 1, 1}, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			client := dial(t, address)
			client.write(test.prolog)
			got := make([]byte, 8)
			_, err := io.ReadFull(client.conn, got)
			if good := err == nil && bytes.Equal(got, prologReply()); good != test.good {
				t.Errorf("reply % x, error %v", got, err)
			}
		})
	}
}

func TestRefusedRequestsKeepTheSession(t *testing.T) {
	client := dialRaw(t, startServer(t, &scripted{statements: dummy}, nil))
	client.login()
	id := idPart(partStatementID, 99)
	lob := func(kind partKind, n int) part {
		return part{kind: kind, count: 1, data: append([]byte{99}, make([]byte, n-1)...)}
	}
	tests := []struct {
		name    string
		message messageType
		parts   []part
		code    int32
	}{
		{"unknown message type", 120, nil, codeParsingProtocol},
		{"statement that is not prepared", messageExecute, []part{id}, codeGeneral},
		{"result set that is not open", messageFetchNext, []part{idPart(partResultSetID, 99)}, codeGeneral},
		{"LOB that is not open", messageReadLob, []part{lob(partReadLobRequest, 24)}, codeGeneral},
		{"LOB data that nothing waits for", messageWriteLob, []part{lob(partWriteLobRequest, 21)}, codeGeneral},
		{"text that is not CESU-8", messageExecuteDirect, []part{{kind: partCommand, data: []byte{0xff, 0xfe}}}, codeFeatureNotSupported},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			client.send(test.message, test.parts...)
			kind, _, parts := client.receive()
			if kind != segmentError {
				t.Fatalf("segment kind %d, want an error", kind)
			}
			if code := int32(binary.LittleEndian.Uint32(parts[0].data)); code != test.code {
				t.Errorf("code %d, want %d", code, test.code)
			}
			client.send(messageClientPing)
			if kind, function, _ := client.receive(); kind != segmentReply || function != functionPing {
				t.Errorf("ping: segment %d, function %d", kind, function)
			}
		})
	}
	t.Run("closing and dropping what is not there is no error", func(t *testing.T) {
		client.send(messageCloseResultSet, idPart(partResultSetID, 99))
		if kind, _, _ := client.receive(); kind != segmentReply {
			t.Errorf("close: segment %d", kind)
		}
		client.send(messageDropStatementID, id)
		if kind, _, _ := client.receive(); kind != segmentReply {
			t.Errorf("drop: segment %d", kind)
		}
	})
}
