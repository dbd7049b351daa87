package hanasim

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// port keeps a TCP port for a database, so that it refuses connections while
// the database is stopped and is still there when it starts.
type port struct {
	address string
	fd      int // bound, never listening: enough to keep others away
}

// reservePort keeps a port, any free one for number 0.
func reservePort(host string, number int) (*port, error) {
	ip, err := netip.ParseAddr(host)
	if err != nil || !ip.Is4() {
		return nil, fmt.Errorf("listen address %q: expected an IPv4 address", host)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("reserve port: %w", err)
	}
	// The listener binds the same port: both sockets say SO_REUSEADDR (Go's
	// listeners do), which Linux allows as long as only one listens.
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
		unix.Bind(fd, &unix.SockaddrInet4{Port: number, Addr: ip.As4()}))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("reserve port %d: %w", number, err), unix.Close(fd))
	}
	bound, err := unix.Getsockname(fd)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("reserve port: %w", err), unix.Close(fd))
	}
	if inet, ok := bound.(*unix.SockaddrInet4); ok {
		number = inet.Port
	}
	return &port{address: netip.AddrPortFrom(ip, uint16(number)).String(), fd: fd}, nil
}

func (p *port) number() int {
	return int(netip.MustParseAddrPort(p.address).Port())
}

func (p *port) listen() (net.Listener, error) {
	listener, err := net.Listen("tcp4", p.address) //nolint:noctx // does not block
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	return listener, nil
}

func (p *port) release() error {
	if err := unix.Close(p.fd); err != nil {
		return fmt.Errorf("release port %s: %w", p.address, err)
	}
	return nil
}
