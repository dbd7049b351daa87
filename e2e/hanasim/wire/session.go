package wire

import (
	"context"
	"fmt"
)

// session is what one logged-in connection has open.
type session struct {
	backend    Session
	format     int // data format version
	lastID     uint64
	statements map[uint64]*statement
	results    map[uint64]*resultSet
	lobs       map[uint64]*outLob
	pending    *execution
	handlers   map[messageType]handler
}

// handler answers a request. An error wrapping errMalformed or ErrHangUp ends the
// connection; any other is told to the client.
type handler func(context.Context, request) (*reply, error)

func newSession(backend Session, format int) *session {
	s := &session{
		backend:    backend,
		format:     format,
		statements: make(map[uint64]*statement),
		results:    make(map[uint64]*resultSet),
		lobs:       make(map[uint64]*outLob),
	}
	s.handlers = map[messageType]handler{
		messageExecuteDirect:   s.executeDirect,
		messagePrepare:         s.prepare,
		messageExecute:         s.execute,
		messageReadLob:         s.lob,
		messageWriteLob:        s.lob,
		messagePing:            s.ping,
		messageClientPing:      s.ping,
		messageCommit:          s.commit,
		messageRollback:        s.rollback,
		messageDropStatementID: s.dropStatement,
		messageFetchNext:       func(_ context.Context, r request) (*reply, error) { return s.fetchNext(r) },
		messageCloseResultSet:  func(_ context.Context, r request) (*reply, error) { return s.endResultSet(r) },
	}
	return s
}

// newID numbers statements, result sets and locators. It is never 0, which go-hdb
// takes for "no result set".
func (s *session) newID() uint64 {
	s.lastID++
	return s.lastID
}

func (s *session) handle(ctx context.Context, req request) (*reply, error) {
	handle, ok := s.handlers[req.messageType]
	if !ok {
		text := fmt.Sprintf("error while parsing protocol: message type %d", req.messageType)
		return nil, &Error{Code: codeParsingProtocol, State: stateGeneral, Text: text}
	}
	return handle(ctx, req)
}

// lob goes by the part: go-hdb has the two message types the other way round.
func (s *session) lob(ctx context.Context, req request) (*reply, error) {
	if p, ok := req.part(partReadLobRequest); ok {
		return s.readLob(p)
	}
	if p, ok := req.part(partWriteLobRequest); ok {
		return s.writeLob(ctx, p)
	}
	return nil, fmt.Errorf("%w: LOB message without a LOB part", errMalformed)
}

func (s *session) ping(context.Context, request) (*reply, error) {
	return success(functionPing), nil
}

// commit and rollback are answered and nothing else: the backend has no
// transactions.
func (s *session) commit(context.Context, request) (*reply, error) {
	return transactionReply(functionCommit, transactionCommitted), nil
}

func (s *session) rollback(context.Context, request) (*reply, error) {
	return transactionReply(functionRollback, transactionRolledBack), nil
}

func transactionReply(function functionCode, flag byte) *reply {
	var flags options
	flags.boolean(flag, true)
	return success(function, flags.part(partTransactionFlags))
}
