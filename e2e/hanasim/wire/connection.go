package wire

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"go.uber.org/zap"
)

const (
	// loginTimeout bounds the time that a connection may take to log in.
	loginTimeout = 30 * time.Second
	// sessionMessageLimit bounds one message of a session.
	sessionMessageLimit = 64 << 20
	// readAhead is how many requests are read while one is served. Clients wait
	// for each answer; this keeps the server looking at the connection of one
	// that does not.
	readAhead = 16
)

// connection is one client.
type connection struct {
	server    *Server
	log       *zap.Logger
	sessionID int64
	*bufferedConn
}

// errGoodbye ends a session whose client has said so.
var errGoodbye = errors.New("client disconnected")

// serve serves a client until it is gone. It closes raw.
func (s *Server) serve(raw net.Conn) {
	log := s.log.With(zap.Stringer("remote", raw.RemoteAddr()))
	c := &connection{server: s, log: log}
	err := c.converse(raw)
	if closeErr := raw.Close(); closeErr != nil && !errors.Is(closeErr, net.ErrClosed) {
		err = errors.Join(err, closeErr)
	}
	if errors.Is(err, errMalformed) {
		c.log.Warn("connection closed", zap.Error(err))
		return
	}
	c.log.Debug("connection closed", zap.Error(err))
}

// converse runs the phases of a connection. Its error is the reason for the end.
func (c *connection) converse(raw net.Conn) error {
	if err := raw.SetDeadline(time.Now().Add(loginTimeout)); err != nil {
		return fmt.Errorf("set deadline: %w", err)
	}
	var err error
	if c.bufferedConn, err = sniffTLS(raw, c.server.tls); err != nil {
		return err
	}
	if err := readProlog(c.r); err != nil {
		return err
	}
	if _, err := c.Write(prologReply()); err != nil {
		return err
	}
	session, err := c.login()
	if err != nil {
		return err
	}
	defer session.backend.Close()
	if err := raw.SetDeadline(time.Time{}); err != nil {
		return fmt.Errorf("clear deadline: %w", err)
	}
	c.log.Debug("session opened")
	return c.runSession(session)
}

// runSession answers requests until the client is gone. The connection is read
// all the time, also while a statement runs, so that the statement's context ends
// as soon as the client does: a BACKUP may run for hours with nothing on the wire.
func (c *connection) runSession(s *session) error {
	ctx, cancel := context.WithCancelCause(context.Background())
	requests := make(chan request, readAhead)
	var goodbye request
	var reader sync.WaitGroup
	reader.Go(func() {
		var err error
		goodbye, err = c.readRequests(ctx, requests)
		cancel(err)
	})
	err := c.answerRequests(ctx, s, requests)
	cancel(err)
	if errors.Is(err, errGoodbye) {
		reader.Wait() // it has ended, with goodbye
		err = errors.Join(err, c.send(goodbye, success(functionDisconnect)))
	}
	closeErr := c.Close() // lets the reader go
	reader.Wait()
	return errors.Join(err, closeErr)
}

// readRequests passes requests on until the client disconnects, which is the
// request that it returns, or is gone.
func (c *connection) readRequests(ctx context.Context, requests chan<- request) (request, error) {
	for {
		req, err := readRequest(c.r, sessionMessageLimit)
		if err != nil {
			return request{}, err
		}
		if req.messageType == messageDisconnect {
			return req, errGoodbye
		}
		select {
		case requests <- req:
		case <-ctx.Done():
			return request{}, context.Cause(ctx)
		}
	}
}

func (c *connection) answerRequests(ctx context.Context, s *session, requests <-chan request) error {
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case req := <-requests:
			if ctx.Err() != nil {
				return context.Cause(ctx) // nothing is begun for a client that has gone
			}
			answer, err := s.handle(ctx, req)
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err := c.answer(req, answer, err); err != nil {
				return err
			}
		}
	}
}

// answer sends the reply, or tells the client of err. What it returns ends the
// connection: so do errMalformed, ErrHangUp and, once told, a fatal error.
func (c *connection) answer(req request, reply *reply, err error) error {
	if err == nil {
		return c.send(req, reply)
	}
	if errors.Is(err, errMalformed) || errors.Is(err, ErrHangUp) {
		return err
	}
	told := asError(err)
	if err := c.send(req, errorReply(told)); err != nil {
		return err
	}
	if told.Fatal {
		return fmt.Errorf("fatal error: %w", told)
	}
	return nil
}

// send writes the reply to a request in one piece.
func (c *connection) send(req request, reply *reply) error {
	if _, err := c.Write(reply.encode(req.sessionID, req.packetCount)); err != nil {
		return fmt.Errorf("send reply: %w", err)
	}
	return nil
}
