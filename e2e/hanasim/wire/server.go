package wire

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"

	"go.uber.org/zap"
)

// Server serves a Backend to SAP HANA clients on one listener's behalf.
//
// The protocol is that of the SAP HANA SQL Command Network Protocol Reference, as
// far as go-hdb and npm hdb need it. No HANA was at hand: that real servers behave
// alike is known from what these clients expect.
type Server struct {
	name        string
	backend     Backend
	log         *zap.Logger
	tls         *tls.Config
	methods     []string // of authentication, best first
	lastSession atomic.Int64

	mu      sync.Mutex
	closed  bool
	open    map[io.Closer]struct{} // listeners and connections
	clients sync.WaitGroup
}

// NewServer makes a server. name is the listener that the backend is asked about.
// With a tlsConfig clients may speak TLS, on the same port as those that do not.
func NewServer(name string, backend Backend, log *zap.Logger, tlsConfig *tls.Config) *Server {
	return &Server{
		name:    name,
		backend: backend,
		log:     log.Named("wire").With(zap.String("listener", name)),
		tls:     tlsConfig,
		methods: []string{methodPBKDF2, methodSHA256},
		open:    make(map[io.Closer]struct{}),
	}
}

// Serve accepts clients until Close, and then returns nil. It closes listener.
// Clients outlive a Serve that fails; Close ends them.
func (s *Server) Serve(listener net.Listener) error {
	if !s.track(listener, nil) {
		return errors.Join(net.ErrClosed, listener.Close())
	}
	for {
		conn, err := listener.Accept()
		if err != nil && s.untrack(listener) {
			return errors.Join(fmt.Errorf("accept a client: %w", err), listener.Close())
		}
		if err != nil {
			return nil //nolint:nilerr // the listener was closed by Close
		}
		serve := func() {
			s.serve(conn)
			s.untrack(conn)
		}
		if !s.track(conn, serve) {
			return conn.Close()
		}
	}
}

// track registers what Close is to close, and starts its work, which Close then
// waits for. It does neither, and returns false, once the server is closed.
func (s *Server) track(c io.Closer, work func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.open[c] = struct{}{}
	if work != nil {
		s.clients.Go(work)
	}
	return true
}

// untrack forgets c. It returns false if Close has taken it over.
func (s *Server) untrack(c io.Closer) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, c)
	return !s.closed
}

// Close closes the listeners and the connections of all clients, whose running
// statements have their contexts cancelled, and waits until all are gone. It may
// be called again.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	var errs []error
	for c := range s.open {
		if err := c.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	clear(s.open)
	s.mu.Unlock()
	s.clients.Wait()
	return errors.Join(errs...)
}
