package access

import (
	"context"
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// Peers returns a listener for the Unix socket of l whose connections know who
// is at the other end: the kernel notes that when a peer connects (SO_PEERCRED,
// unix(7)), and a peer cannot choose it.
func Peers(l net.Listener) net.Listener { return peerListener{l} }

type peerListener struct{ net.Listener }

// Accept returns the next connection. One whose peer is not known is nobody's.
func (l peerListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &peerConn{Conn: conn, peer: peerOf(conn)}, nil
}

// peerConn tells its peer as its remote address, which wrappers pass on.
type peerConn struct {
	net.Conn
	peer peer
}

func (c *peerConn) RemoteAddr() net.Addr { return c.peer }

// peer is the process at the other end of a Unix socket.
type peer struct {
	known bool
	uid   uint32
	pid   int32
}

// Network implements [net.Addr].
func (peer) Network() string { return "unix" }

// String tells the process, for the log. Processes of other containers have the
// id 0 unless process ids are shared.
func (p peer) String() string {
	if !p.known {
		return "unix:unknown"
	}
	return fmt.Sprintf("unix:pid=%d", p.pid)
}

func peerOf(conn net.Conn) (p peer) {
	socket, is := conn.(*net.UnixConn)
	if !is {
		return p
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return p
	}
	err = raw.Control(func(fd uintptr) {
		credentials, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
		if err == nil {
			p = peer{known: true, uid: credentials.Uid, pid: credentials.Pid}
		}
	})
	if err != nil {
		return peer{}
	}
	return p
}

type peerKey struct{}

// WithConn is [http.Server.ConnContext]: requests of a connection that [Peers]
// accepted know their peer.
func WithConn(ctx context.Context, conn net.Conn) context.Context {
	if p, is := conn.RemoteAddr().(peer); is {
		return context.WithValue(ctx, peerKey{}, p)
	}
	return ctx
}

// identityOfPeer names the peer of a Unix socket.
func identityOfPeer(ctx context.Context) (string, error) {
	p, is := ctx.Value(peerKey{}).(peer)
	if !is || !p.known {
		return "", wrong("the kernel does not tell who is at the other end of the socket")
	}
	return identityOfUID(p.uid), nil
}
