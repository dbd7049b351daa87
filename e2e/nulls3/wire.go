package nulls3

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"time"
)

// slack is how far a connection may be ahead of its rate, because a shorter
// sleep lasts longer than it should, and how much of a delay it may make up for.
const slack = 2 * time.Millisecond

// Listen listens at a free port of the loopback interface. Connections carry at
// most rate bytes per second in each direction, 0 for any number, and speak TLS
// when config is not nil: one protocol, HTTP/1.1. The caller closes it.
func Listen(ctx context.Context, config *tls.Config, rate int64) (net.Listener, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	if rate > 0 {
		listener = &slowListener{Listener: listener, rate: rate}
	}
	if config != nil {
		config = config.Clone()
		config.NextProtos = []string{"http/1.1"}
		listener = tls.NewListener(listener, config)
	}
	return listener, nil
}

// slowListener gives each connection a rate.
type slowListener struct {
	net.Listener

	rate int64
}

// Accept implements net.Listener.
func (l *slowListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &slowConn{Conn: conn, in: pace{rate: l.rate}, out: pace{rate: l.rate}}, nil
}

// slowConn is a connection with a rate, which is that of what lies below TLS.
type slowConn struct {
	net.Conn

	in, out pace
}

// Read implements net.Conn.
func (c *slowConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.in.wait(n)
	return n, err
}

// Write implements net.Conn.
func (c *slowConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.out.wait(n)
	return n, err
}

// pace holds bytes to a rate.
type pace struct {
	rate int64

	mu  sync.Mutex
	due time.Time // when all bytes so far should have passed
}

// wait returns when n more bytes may have passed, or slack earlier.
func (p *pace) wait(n int) {
	p.mu.Lock()
	now := time.Now()
	if earliest := now.Add(-slack); p.due.Before(earliest) {
		p.due = earliest
	}
	p.due = p.due.Add(time.Duration(int64(n) * int64(time.Second) / p.rate))
	ahead := p.due.Sub(now)
	p.mu.Unlock()
	if ahead > slack {
		time.Sleep(ahead)
	}
}
