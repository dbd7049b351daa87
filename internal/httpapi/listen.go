package httpapi

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	stdlog "log"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"go.uber.org/zap"
	"golang.org/x/net/netutil"
	"golang.org/x/time/rate"

	"github.com/pipestreamer/pipestreamer/internal/access"
)

const (
	// headerTimeout is how long a client may take to send a request's header.
	headerTimeout = 10 * time.Second
	// idleTimeout is how long a connection may stay without a request.
	idleTimeout = 2 * time.Minute
	// maxHeader bounds a request's header in bytes.
	maxHeader = 32 << 10
	// maxConnections bounds the connections of each listener. Further ones wait
	// until one ends; each has to send its header within headerTimeout.
	maxConnections = 256
	// shutdownTimeout bounds the wait for requests that are being answered.
	shutdownTimeout = 5 * time.Second
)

// ListenUnix listens on a Unix socket at path with mode 0660. It replaces the
// socket that a dead process left behind, and refuses when a living one
// answers there or when something else than a socket is in the way. Its
// connections know their peer, and their number is bounded. Closing the listener
// removes the socket.
func ListenUnix(ctx context.Context, path string) (net.Listener, error) {
	if err := clearSocket(ctx, path); err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o660); err != nil {
		return nil, errors.Join(fmt.Errorf("listen on %s: %w", path, err), listener.Close())
	}
	return netutil.LimitListener(access.Peers(listener), maxConnections), nil
}

func clearSocket(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return errors.New("something that is not a socket is already there")
	}
	connection, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err == nil {
		return errors.Join(errors.New("another pipestreamer already serves there"), connection.Close())
	}
	return os.Remove(path)
}

// ListenTCP listens on a TCP address, for a bounded number of connections at
// once.
func ListenTCP(ctx context.Context, address string) (net.Listener, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return netutil.LimitListener(listener, maxConnections), nil
}

// Serve answers requests on the listener until ctx ends; then it ends event
// streams, lets other requests finish for a few seconds, and closes the
// listener. The error says why it could not serve; nil means that ctx ended.
func Serve(ctx context.Context, listener net.Listener, handler http.Handler, log *zap.Logger) error {
	return run(ctx, newHTTPServer(ctx, handler, log.Named("httpapi")), listener, log.Named("httpapi"))
}

func newHTTPServer(ctx context.Context, handler http.Handler, log *zap.Logger) *http.Server {
	return &http.Server{
		Handler: handler,
		// No WriteTimeout: events are written for the length of a job. Every
		// single write has a deadline instead, and so has a body.
		ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
		ErrorLog:    serverLog(log),
		BaseContext: func(net.Listener) context.Context { return ctx },
		ConnContext: access.WithConn,
		// net/http would answer "OPTIONS *" to everybody.
		DisableGeneralOptionsHandler: true,
	}
}

// serverLog takes what net/http says of connections, failed handshakes above
// all: the first lines, then one in ten seconds, so that strangers cannot fill
// the log.
func serverLog(log *zap.Logger) *stdlog.Logger {
	return stdlog.New(&fewLines{log: log, some: rate.Sometimes{First: 20, Interval: 10 * time.Second}}, "", 0)
}

type fewLines struct {
	log  *zap.Logger
	some rate.Sometimes
}

// Write takes one line.
func (f *fewLines) Write(line []byte) (int, error) {
	f.some.Do(func() { f.log.Info(strings.TrimSpace(string(line))) })
	return len(line), nil
}

func run(ctx context.Context, server *http.Server, listener net.Listener, log *zap.Logger) error {
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve on %s: %w", listener.Addr(), err)
	case <-ctx.Done():
	}
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	if err := server.Shutdown(closing); err != nil {
		log.Warn("requests were cut off", zap.Stringer("address", listener.Addr()), zap.Error(errors.Join(err, server.Close())))
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve on %s: %w", listener.Addr(), err)
	}
	return nil
}
