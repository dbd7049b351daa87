package wire

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
)

const (
	tlsHandshake      = 0x16 // first byte of a TLS connection
	prologFixedLength = 12
	prologFiller      = 0xff
	maxPrologOptions  = 16

	optionByteOrder = 1
	littleEndian    = 1
)

// prologReply is the version of product and protocol: 4.20 and 4.1.
func prologReply() []byte { return []byte{4, 20, 0, 4, 1, 0, 0, 0} }

var errNoTLS = errors.New("client wants TLS, which is not set up")

// bufferedConn is a connection of which some bytes have been read ahead.
type bufferedConn struct {
	net.Conn
	r *bufio.Reader
}

func (c *bufferedConn) Read(b []byte) (int, error) { return c.r.Read(b) }

// sniffTLS takes the first byte for what the client speaks, since HANA has TLS on
// the same port. Closing raw closes what is returned.
func sniffTLS(raw net.Conn, config *tls.Config) (*bufferedConn, error) {
	conn := &bufferedConn{Conn: raw, r: bufio.NewReader(raw)}
	first, err := conn.r.Peek(1)
	if err != nil {
		return nil, err
	}
	if first[0] != tlsHandshake {
		return conn, nil
	}
	if config == nil {
		return nil, errNoTLS
	}
	encrypted := tls.Server(conn, config)
	return &bufferedConn{Conn: encrypted, r: bufio.NewReader(encrypted)}, nil
}

// readProlog reads the request that a connection begins with: four bytes 0xff,
// versions of product and protocol, a filler, the number of options, options of
// id and value (SAP HANA SQL Command Network Protocol Reference: initialization
// request). Versions are not looked at: some clients have them big-endian.
// Without options the request is as long as with one.
func readProlog(r io.Reader) error {
	fixed := make([]byte, prologFixedLength)
	if _, err := io.ReadFull(r, fixed); err != nil {
		return err
	}
	if !slices.Equal(fixed[:4], []byte{prologFiller, prologFiller, prologFiller, prologFiller}) {
		return fmt.Errorf("%w: initialization begins with % x", errMalformed, fixed[:4])
	}
	count := int(fixed[prologFixedLength-1])
	if count > maxPrologOptions {
		return fmt.Errorf("%w: %d initialization options", errMalformed, count)
	}
	values := make([]byte, 2*max(count, 1))
	if _, err := io.ReadFull(r, values); err != nil {
		return err
	}
	for option := range slices.Chunk(values[:2*count], 2) {
		if option[0] == optionByteOrder && option[1] != littleEndian {
			return fmt.Errorf("%w: byte order %d is not supported", errMalformed, option[1])
		}
	}
	return nil
}
