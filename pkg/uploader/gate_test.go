package uploader

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// gate carries connections to a server and can be shut in several ways.
type gate struct {
	t       *testing.T
	address string
	target  string

	mu       sync.Mutex
	listener net.Listener
	conns    map[net.Conn]struct{}
	deaf     bool
	running  sync.WaitGroup
}

// startGate opens a gate to target that ends with t.
func startGate(t *testing.T, target string) *gate {
	t.Helper()
	g := &gate{t: t, address: "127.0.0.1:0", target: target, conns: map[net.Conn]struct{}{}}
	g.open()
	t.Cleanup(func() {
		g.refuse()
		g.running.Wait()
	})
	return g
}

// open lets everything through.
func (g *gate) open() {
	g.drop()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.deaf = false
	if g.listener != nil {
		return
	}
	listener, err := net.Listen("tcp", g.address)
	if err != nil {
		g.t.Error(err)
		return
	}
	g.listener, g.address = listener, listener.Addr().String()
	g.running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			g.running.Go(func() { g.carry(conn) })
		}
	})
}

// refuse makes connections impossible and breaks those that there are.
func (g *gate) refuse() {
	g.mu.Lock()
	if g.listener != nil {
		_ = g.listener.Close()
		g.listener = nil
	}
	g.mu.Unlock()
	g.drop()
}

// swallow accepts connections and answers nothing, on those that there are too.
func (g *gate) swallow() {
	g.mu.Lock()
	g.deaf = true
	g.mu.Unlock()
}

// drop resets the connections that there are.
func (g *gate) drop() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for conn := range g.conns {
		if tcp, is := conn.(*net.TCPConn); is {
			_ = tcp.SetLinger(0)
		}
		_ = conn.Close()
	}
	clear(g.conns)
}

func (g *gate) hold(conn net.Conn) {
	g.mu.Lock()
	g.conns[conn] = struct{}{}
	g.mu.Unlock()
}

func (g *gate) carry(client net.Conn) {
	g.hold(client)
	server, err := net.Dial("tcp", g.target)
	if err != nil {
		_ = client.Close()
		return
	}
	g.hold(server)
	var both sync.WaitGroup
	both.Go(func() { g.pour(server, client) })
	both.Go(func() { g.pour(client, server) })
	both.Wait()
	g.mu.Lock()
	delete(g.conns, client)
	delete(g.conns, server)
	g.mu.Unlock()
}

func (g *gate) pour(to, from net.Conn) {
	defer func() {
		_ = to.Close()
		_ = from.Close()
	}()
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		g.mu.Lock()
		deaf := g.deaf
		g.mu.Unlock()
		if n > 0 && !deaf {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// resolver answers every question for an address with 127.0.0.1, or with
// "no such name" while unknown is set.
type resolver struct {
	mu      sync.Mutex
	unknown bool
	asked   int
}

// nameServer is whom the process asks for names while it is set.
var nameServer atomic.Pointer[net.UDPAddr]

// resolveThroughTests makes net.DefaultResolver ask nameServer. Dials of tests
// that are over may still read the variable, so it is set before any of them.
func resolveThroughTests() {
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		if server := nameServer.Load(); server != nil {
			network, address = "udp", server.String()
		}
		return new(net.Dialer).DialContext(ctx, network, address)
	}}
}

// startResolver answers for every name until t ends.
func startResolver(t *testing.T) *resolver {
	t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	r := &resolver{}
	address, ok := conn.LocalAddr().(*net.UDPAddr)
	if !ok {
		t.Fatalf("address %v, expected one of UDP", conn.LocalAddr())
	}
	nameServer.Store(address)
	var running sync.WaitGroup
	running.Go(func() {
		buffer := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(buffer)
			if err != nil {
				if !errors.Is(err, net.ErrClosed) && !errors.Is(err, io.EOF) {
					t.Error(err)
				}
				return
			}
			if text, err := r.answer(buffer[:n]); err == nil {
				_, _ = conn.WriteTo(text, from)
			}
		}
	})
	t.Cleanup(func() {
		nameServer.Store(nil)
		_ = conn.Close()
		running.Wait()
	})
	return r
}

func (r *resolver) set(unknown bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unknown = unknown
}

func (r *resolver) refusals() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.asked
}

func (r *resolver) answer(question []byte) ([]byte, error) {
	var message dnsmessage.Message
	if err := message.Unpack(question); err != nil {
		return nil, err
	}
	message.Response, message.Additionals = true, nil
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.unknown {
		r.asked++
		message.RCode = dnsmessage.RCodeNameError
	} else if q := message.Questions[0]; q.Type == dnsmessage.TypeA {
		message.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class},
			Body:   &dnsmessage.AResource{A: [4]byte{127, 0, 0, 1}},
		}}
	}
	return message.Pack()
}
