package hdbtrigger

import (
	"context"
	sqldriver "database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"syscall"
	"time"

	hdb "github.com/SAP/go-hdb/driver"
	"github.com/SAP/go-hdb/driver/dial"
)

// connector opens connections to SYSTEMDB for database/sql.
type connector struct {
	config  Config
	timeout time.Duration // of each read and write after the login; 0 is none
	gate    *gate
	metrics *Metrics
	log     *slog.Logger
}

// Driver gives go-hdb's driver.
func (c *connector) Driver() sqldriver.Driver { return hdb.NewConnector().Driver() }

// Connect logs in with the password that the file holds now. It tries once: an
// error of it is never driver.ErrBadConn, for which database/sql would log in
// again. ctx ends a login at any point.
func (c *connector) Connect(ctx context.Context) (sqldriver.Conn, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.config.ConnectTimeout,
		fmt.Errorf("no login within %s: %w", c.config.ConnectTimeout, context.DeadlineExceeded))
	defer cancel()
	if err := c.gate.enter(ctx); err != nil {
		return nil, &connectError{c.config.address(), err}
	}
	defer c.gate.leave()

	secret, err := readPassword(c.config.PasswordFile)
	if err != nil {
		return nil, &connectError{c.config.address(), err}
	}
	if err := c.gate.check(secret); err != nil {
		return nil, &connectError{c.config.address(), err}
	}
	conn, err := c.login(ctx, secret)
	c.gate.note(secret, err)
	c.metrics.login(err)
	if err != nil {
		return nil, &connectError{c.config.address(), err}
	}
	return conn, nil
}

// login makes a go-hdb connector for this one connection. It has no database
// name: with one, go-hdb may log in twice at a remembered address, and a wrong
// password would count twice.
func (c *connector) login(ctx context.Context, secret password) (sqldriver.Conn, error) {
	tlsConfig, err := c.config.TLS.config(c.config.Host)
	if err != nil {
		return nil, err
	}
	dialer := &loginDialer{keepAlive: c.config.KeepAlive, silence: c.config.silence()}
	one := hdb.NewBasicAuthConnector(c.config.address(), c.config.User, string(secret))
	one.SetTimeout(c.timeout)
	one.SetTLSConfig(tlsConfig)
	one.SetDialer(dialer)
	one.SetLogger(c.log)
	one.SetApplicationName("pipestreamer")

	conn, err := one.Connect(ctx)
	if intact := dialer.release(); !intact {
		if conn != nil {
			// The socket is closed already; what matters is why.
			_ = conn.Close()
		}
		return nil, context.Cause(ctx)
	}
	if err != nil {
		return nil, translate("CONNECT", err)
	}
	return conn, nil
}

// loginDialer dials one connection and closes it when ctx ends before release:
// go-hdb itself does not look at ctx once TCP is up, and without a timeout a
// login at a server that accepts and stays silent would hang for ever.
type loginDialer struct {
	keepAlive, silence time.Duration
	stop               func() bool
}

// DialContext dials with TCP keep-alive. That alone notices a silent host only
// while nothing is on its way: a statement that nobody acknowledges is sent
// again for about 15 minutes (tcp_retries2, tcp(7)), unless TCP_USER_TIMEOUT
// ends it.
func (d *loginDialer) DialContext(ctx context.Context, address string, _ dial.DialerOptions) (net.Conn, error) {
	dialer := net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: d.keepAlive, Interval: d.keepAlive, Count: keepAliveProbes},
		Control:         d.limitSilence,
	}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	d.stop = context.AfterFunc(ctx, func() {
		// The login fails on the closed socket and reports ctx's cause.
		_ = conn.Close()
	})
	return conn, nil
}

// limitSilence sets TCP_USER_TIMEOUT.
func (d *loginDialer) limitSilence(_, _ string, raw syscall.RawConn) error {
	const tcpUserTimeout = 18 // linux/tcp.h; in milliseconds
	var errSet error
	err := raw.Control(func(fd uintptr) {
		errSet = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout, int(d.silence.Milliseconds()))
	})
	return errors.Join(err, os.NewSyscallError("setsockopt TCP_USER_TIMEOUT", errSet))
}

// release ends the watch over ctx and reports whether it has left the
// connection alone.
func (d *loginDialer) release() (intact bool) { return d.stop == nil || d.stop() }

// connectError is a connection that could not be made.
type connectError struct {
	address string
	err     error
}

// Error names the address.
func (e *connectError) Error() string {
	return fmt.Sprintf("connect to HANA at %s: %v", e.address, e.err)
}

// Is finds every cause but driver.ErrBadConn.
func (e *connectError) Is(target error) bool {
	return !errors.Is(target, sqldriver.ErrBadConn) && errors.Is(e.err, target)
}

// As finds every cause.
func (e *connectError) As(target any) bool { return errors.As(e.err, target) }
