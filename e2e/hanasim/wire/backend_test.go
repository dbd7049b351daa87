package wire

import (
	"context"
	"crypto/tls"
	"database/sql"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/SAP/go-hdb/driver"
	"go.uber.org/zap/zaptest"
)

const (
	testUser     = "BACKUP_OPERATOR"
	testPassword = "Geheim-Ωß-1"
)

// scripted is a backend whose statements are a map. What is tested is the wire.
type scripted struct {
	statements map[string]script
	databases  map[string]*net.TCPAddr // elsewhere; "HERE" is here
	closed     chan struct{}           // gets one value per closed session, if not nil

	mu        sync.Mutex
	passwords int
}

// script is one statement. Without run it returns what it describes, and rows.
type script struct {
	parameters, columns []Column
	rows                [][]any
	run                 func(ctx context.Context, arguments []any) (Result, error)
}

func (b *scripted) Locate(_, database string) (string, int, bool, error) {
	if database == "HERE" {
		return "", 0, true, nil
	}
	address, ok := b.databases[database]
	if !ok {
		return "", 0, false, &Error{Code: 4321, Text: "database " + database + " does not exist"}
	}
	return address.IP.String(), address.Port, false, nil
}

func (b *scripted) Password(_, user string) (string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.passwords++
	switch user {
	case testUser:
		return testPassword, nil
	case "LOCKED":
		return "", &Error{Code: 416, State: "28000", Text: "user is locked; try again later"}
	default:
		return "", &Error{Code: 10, State: "28000", Text: "authentication failed"}
	}
}

func (b *scripted) Open(string, string) (Session, error) { return &scriptedSession{b}, nil }

type scriptedSession struct{ *scripted }

func (s *scriptedSession) find(text string) (script, error) {
	found, ok := s.statements[text]
	if !ok {
		return script{}, &Error{Code: 257, Position: 7, State: "HY000", Text: fmt.Sprintf("sql syntax error: %q", text)}
	}
	return found, nil
}

func (s *scriptedSession) Describe(text string) (parameters, columns []Column, err error) {
	found, err := s.find(text)
	return found.parameters, found.columns, err
}

func (s *scriptedSession) Execute(ctx context.Context, text string, arguments []any) (Result, error) {
	found, err := s.find(text)
	if err != nil || found.run == nil {
		return Result{Columns: found.columns, Rows: found.rows}, err
	}
	return found.run(ctx, arguments)
}

func (s *scriptedSession) Close() {
	if s.closed != nil {
		s.closed <- struct{}{}
	}
}

// startServer serves b on a port of its own until the test ends.
func startServer(t *testing.T, b *scripted, config *tls.Config, methods ...string) *net.TCPAddr {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := NewServer("test", b, zaptest.NewLogger(t), config)
	if len(methods) > 0 {
		server.methods = methods
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return listener.Addr().(*net.TCPAddr)
}

func newConnector(address net.Addr, user, password string) *driver.Connector {
	connector := driver.NewBasicAuthConnector(address.String(), user, password)
	connector.SetTimeout(20 * time.Second)
	connector.SetLogger(slog.New(slog.DiscardHandler))
	return connector
}

func openDB(t *testing.T, connector *driver.Connector) *sql.DB {
	t.Helper()
	db := sql.OpenDB(connector)
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Errorf("close database: %v", err)
		}
	})
	return db
}

// connect is the common case: a server with b and go-hdb logged in to it.
func connect(t *testing.T, b *scripted) *sql.DB {
	t.Helper()
	return openDB(t, newConnector(startServer(t, b, nil), testUser, testPassword))
}
