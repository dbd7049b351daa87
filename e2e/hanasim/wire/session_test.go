package wire

import (
	"context"
	"database/sql"
	sqldriver "database/sql/driver"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/SAP/go-hdb/driver"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap/zaptest"
	"golang.org/x/sync/errgroup"
)

const waitLimit = 10 * time.Second

func numbers(n int) [][]any {
	rows := make([][]any, n)
	for i := range rows {
		rows[i] = []any{int64(i), fmt.Sprintf("row %d", i)}
	}
	return rows
}

var numberColumns = []Column{{Name: "ID", Type: BigInt}, {Name: "TEXT", Type: NVarchar, Length: 100}}

func TestLargeResult(t *testing.T) {
	const count = 10_000
	statements := map[string]script{"SELECT": {
		columns: numberColumns, rows: numbers(count), parameters: []Column{{Type: BigInt}},
	}}
	for _, fetchSize := range []int{128, 1000, 100_000} {
		t.Run(fmt.Sprint("fetch size ", fetchSize), func(t *testing.T) {
			connector := newConnector(startServer(t, &scripted{statements: statements}, nil), testUser, testPassword)
			connector.SetFetchSize(fetchSize)
			db := openDB(t, connector)
			t.Run("direct", func(t *testing.T) { readNumbers(t, db, count, "SELECT") })
			t.Run("prepared", func(t *testing.T) { readNumbers(t, db, count, "SELECT", 1) })
			t.Run("abandoned", func(t *testing.T) { readNumbers(t, db, 10, "SELECT") })
		})
	}
}

// readNumbers reads so many rows, which need not be all there are.
func readNumbers(t *testing.T, db *sql.DB, count int, query string, arguments ...any) {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), query, arguments...)
	if err != nil {
		t.Fatal(err)
	}
	defer closeRows(t, rows)
	for i := range count {
		var id int
		var text string
		if !rows.Next() {
			t.Fatalf("%d rows, want %d: %v", i, count, rows.Err())
		}
		if err := rows.Scan(&id, &text); err != nil {
			t.Fatal(err)
		}
		if id != i || text != fmt.Sprintf("row %d", i) {
			t.Fatalf("row %d is %d, %q", i, id, text)
		}
	}
}

func TestErrorAsHANAReportsIt(t *testing.T) {
	want := Error{
		Code: 447, Position: 17, State: "HY000",
		Text: "backup could not be completed, [2000008] Error during asynchronous file transfer, rc=32: Broken pipe, Größe \U0001F4BE",
	}
	// Texts of eight consecutive lengths meet every padding.
	for cut := range 8 {
		want := want
		want.Text = want.Text[cut:]
		backend := &scripted{statements: map[string]script{"BACKUP": {
			parameters: []Column{{Type: BigInt}},
			run:        func(context.Context, []any) (Result, error) { return Result{}, fmt.Errorf("execute: %w", &want) },
		}}}
		db := connect(t, backend)
		for _, arguments := range [][]any{nil, {1}} {
			_, err := db.ExecContext(t.Context(), "BACKUP", arguments...)
			var dbErr driver.Error
			if !errors.As(err, &dbErr) {
				t.Fatalf("error %v, want one of HANA", err)
			}
			got := Error{Code: dbErr.Code(), Position: dbErr.Position(), State: want.State, Text: dbErr.Text()}
			if diff := cmp.Diff(want, got); diff != "" || dbErr.Level() != levelError {
				t.Errorf("level %d, error (-want +got):\n%s", dbErr.Level(), diff)
			}
		}
	}
}

func TestSessionOutlivesAnError(t *testing.T) {
	statements := map[string]script{"BROKEN": {
		run: func(context.Context, []any) (Result, error) { return Result{}, errors.New("no such column") },
	}}
	maps.Copy(statements, dummy)
	db := connect(t, &scripted{statements: statements})
	conn := oneConn(t, db)
	_, err := conn.ExecContext(t.Context(), "BROKEN")
	checkCode(t, err, codeGeneral)
	_, err = conn.ExecContext(t.Context(), "NOT THERE", "an argument, so that it is prepared")
	checkCode(t, err, 257)
	checkCode(t, conn.PingContext(t.Context()), 0)
}

// oneConn gives a connection on which database/sql does not repeat a statement.
func oneConn(t *testing.T, db *sql.DB) *sql.Conn {
	t.Helper()
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil && !errors.Is(err, sqldriver.ErrBadConn) && !errors.Is(err, sql.ErrConnDone) {
			t.Errorf("close connection: %v", err)
		}
	})
	return conn
}

func TestFatalErrorEndsTheSession(t *testing.T) {
	closed := make(chan struct{}, 2)
	backend := &scripted{closed: closed, statements: map[string]script{"KILL": {
		run: func(context.Context, []any) (Result, error) {
			return Result{}, &Error{Code: 1347, Text: "session is terminated", Fatal: true}
		},
	}}}
	_, err := connect(t, backend).ExecContext(t.Context(), "KILL")
	checkCode(t, err, 1347)
	await(t, closed, "the session to end")
}

func TestHangUp(t *testing.T) {
	var runs atomic.Int32
	backend := &scripted{statements: map[string]script{"BACKUP": {
		run: func(context.Context, []any) (Result, error) { runs.Add(1); return Result{}, ErrHangUp },
	}}}
	conn := oneConn(t, connect(t, backend))
	var dbErr driver.Error
	if _, err := conn.ExecContext(t.Context(), "BACKUP"); err == nil || errors.As(err, &dbErr) {
		t.Errorf("error %v, want a lost connection", err)
	}
	if n := runs.Load(); n != 1 {
		t.Errorf("the statement ran %d times", n)
	}
}

func TestCounts(t *testing.T) {
	affected := script{
		parameters: []Column{{Type: BigInt}},
		run: func(_ context.Context, arguments []any) (Result, error) {
			if arguments == nil {
				return Result{Affected: 3}, nil
			}
			return Result{Affected: arguments[0].(int64)}, nil
		},
	}
	db := connect(t, &scripted{statements: map[string]script{
		"INSERT INTO T VALUES (?)": affected, " update T": affected, "DELETE\nFROM T": affected,
	}})
	for _, text := range []string{"INSERT INTO T VALUES (?)", " update T", "DELETE\nFROM T"} {
		checkCount(t, db, 3, text)
		checkCount(t, db, 41, text, 41)
		checkCount(t, db, 6, text, 1, 2, 3) // rows of one parameter
	}
}

func checkCount(t *testing.T, db *sql.DB, want int64, text string, arguments ...any) {
	t.Helper()
	result, err := db.ExecContext(t.Context(), text, arguments...)
	if err != nil {
		t.Fatalf("%q %v: %v", text, arguments, err)
	}
	if got, err := result.RowsAffected(); err != nil || got != want {
		t.Errorf("%q %v: %d rows (%v), want %d", text, arguments, got, err, want)
	}
}

func TestTransactions(t *testing.T) {
	statements := map[string]script{"INSERT": {}}
	for _, level := range []string{"set transaction isolation level read committed", "set transaction read write"} {
		statements[level] = script{}
	}
	db := connect(t, &scripted{statements: statements})
	for name, end := range map[string]func(*sql.Tx) error{"commit": (*sql.Tx).Commit, "rollback": (*sql.Tx).Rollback} {
		t.Run(name, func(t *testing.T) {
			tx, err := db.BeginTx(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := tx.ExecContext(t.Context(), "INSERT"); err != nil {
				t.Error(err)
			}
			if err := end(tx); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestLobsInPieces(t *testing.T) {
	text := strings.Repeat("Größe \U0001F4BE 数据;", 50_000)
	var got []any
	backend := &scripted{statements: map[string]script{
		"SELECT": {columns: []Column{{Name: "A", Type: NClob}, {Name: "B", Type: NClob}}, rows: [][]any{{text, "short"}, {nil, text}}},
		"INSERT": {
			parameters: []Column{{Type: NClob}, {Type: BigInt}, {Type: NClob}},
			run: func(_ context.Context, arguments []any) (Result, error) {
				got = arguments
				return Result{Affected: 1}, nil
			},
		},
	}}
	connector := newConnector(startServer(t, backend, nil), testUser, testPassword)
	connector.SetLobChunkSize(10_007) // cuts text anywhere
	db := openDB(t, connector)
	lob := func(s string) *driver.Lob { return driver.NewLob(strings.NewReader(s), nil) }
	for _, second := range []string{"", "short", text[:90_000]} {
		checkCount(t, db, 1, "INSERT", lob(text), 4711, lob(second))
		if diff := cmp.Diff([]any{text, int64(4711), second}, got); diff != "" {
			t.Fatalf("arrived changed (-want +got):\n%.500s", diff)
		}
	}
	var a, b strings.Builder
	if err := db.QueryRowContext(t.Context(), "SELECT").Scan(driver.NewLob(nil, &a), driver.NewLob(nil, &b)); err != nil {
		t.Fatal(err)
	}
	if a.String() != text || b.String() != "short" {
		t.Errorf("read %d and %d bytes, want %d and 5", a.Len(), b.Len(), len(text))
	}
}

func TestDescriptionMustBeKept(t *testing.T) {
	db := connect(t, &scripted{statements: map[string]script{"SELECT": {
		parameters: []Column{{Type: BigInt}}, columns: numberColumns,
		run: func(context.Context, []any) (Result, error) {
			return Result{Columns: numberColumns[:1], Rows: [][]any{{int64(1)}}}, nil
		},
	}}})
	_, err := db.ExecContext(t.Context(), "SELECT", 1)
	checkCode(t, err, codeGeneral)
}

// blocking is a statement that runs until its context ends.
func blocking() (backend *scripted, started, stopped chan struct{}) {
	started, stopped = make(chan struct{}, 1), make(chan struct{}, 1)
	return &scripted{statements: map[string]script{"BACKUP": {
		run: func(ctx context.Context, _ []any) (Result, error) {
			started <- struct{}{}
			<-ctx.Done()
			stopped <- struct{}{}
			return Result{}, ctx.Err()
		},
	}}}, started, stopped
}

func await(t *testing.T, c <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(waitLimit):
		t.Fatalf("waited %v for %s", waitLimit, what)
	}
}

func TestExecuteEndsWithItsClient(t *testing.T) {
	t.Run("cancelled", func(t *testing.T) {
		backend, started, stopped := blocking()
		db := connect(t, backend)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			_, err := db.ExecContext(ctx, "BACKUP")
			done <- err
		}()
		await(t, started, "the statement to run")
		cancel()
		await(t, stopped, "the statement to be cancelled")
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("error %v, want cancelled", err)
		}
	})
	t.Run("cut", func(t *testing.T) {
		backend, started, stopped := blocking()
		client := dialRaw(t, startServer(t, backend, nil))
		client.login()
		client.send(messageExecuteDirect, part{kind: partCommand, count: 1, data: []byte("BACKUP")})
		await(t, started, "the statement to run")
		client.close()
		await(t, stopped, "the statement to be cancelled")
	})
	t.Run("cut after sending more", func(t *testing.T) {
		backend, started, stopped := blocking()
		client := dialRaw(t, startServer(t, backend, nil))
		client.login()
		client.send(messageExecuteDirect, part{kind: partCommand, count: 1, data: []byte("BACKUP")})
		await(t, started, "the statement to run")
		client.send(messageClientPing)
		client.close()
		await(t, stopped, "the statement to be cancelled")
	})
	t.Run("disconnect", func(t *testing.T) {
		backend, started, stopped := blocking()
		client := dialRaw(t, startServer(t, backend, nil))
		client.login()
		client.send(messageExecuteDirect, part{kind: partCommand, count: 1, data: []byte("BACKUP")})
		await(t, started, "the statement to run")
		client.send(messageDisconnect)
		await(t, stopped, "the statement to be cancelled")
		if kind, function, _ := client.receive(); kind != segmentReply || function != functionDisconnect {
			t.Errorf("segment %d, function %d", kind, function)
		}
	})
	t.Run("server closed", func(t *testing.T) {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		started, stopped := make(chan struct{}), make(chan struct{})
		backend := &scripted{statements: map[string]script{"BACKUP": {
			run: func(ctx context.Context, _ []any) (Result, error) {
				close(started)
				<-ctx.Done()
				<-time.After(50 * time.Millisecond) // a statement that takes its time to stop
				close(stopped)
				return Result{}, ctx.Err()
			},
		}}}
		server := NewServer("test", backend, zaptest.NewLogger(t), nil)
		served := make(chan error, 1)
		go func() { served <- server.Serve(listener) }()
		client := dialRaw(t, listener.Addr())
		client.login()
		client.send(messageExecuteDirect, part{kind: partCommand, count: 1, data: []byte("BACKUP")})
		await(t, started, "the statement to run")
		if err := errors.Join(server.Close(), server.Close(), <-served); err != nil {
			t.Error(err)
		}
		select {
		case <-stopped:
		default:
			t.Error("Close returned while the statement ran")
		}
		if err := server.Serve(listener); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Serve after Close: %v", err)
		}
	})
}

func TestConcurrentConnections(t *testing.T) {
	const clients = 12
	backend := &scripted{closed: make(chan struct{}, clients), statements: map[string]script{
		"SELECT": {columns: numberColumns, rows: numbers(500)},
	}}
	address := startServer(t, backend, nil)
	var group errgroup.Group
	for range clients {
		group.Go(func() error {
			db := sql.OpenDB(newConnector(address, testUser, testPassword))
			sum, err := sumOfNumbers(t.Context(), db)
			if err == nil && sum != 500*499/2 {
				err = fmt.Errorf("sum %d", sum)
			}
			return errors.Join(err, db.Close())
		})
	}
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
	for range clients {
		await(t, backend.closed, "every session to be closed")
	}
}

func sumOfNumbers(ctx context.Context, db *sql.DB) (sum int, err error) {
	rows, err := db.QueryContext(ctx, "SELECT")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var id int
		if err := rows.Scan(&id, new(string)); err != nil {
			return 0, err
		}
		sum += id
	}
	return sum, rows.Err()
}

func TestSessionVariablesAndSchema(t *testing.T) {
	statements := map[string]script{"set schema SYS": {}, "INSERT": {}}
	connector := newConnector(startServer(t, &scripted{statements: statements}, nil), testUser, testPassword)
	connector.SetDefaultSchema("SYS")
	connector.SetSessionVariables(map[string]string{"APPLICATION": "pipestreamer"})
	connector.SetLocale("en_US")
	connector.SetLogger(slog.New(slog.NewTextHandler(io.Discard, nil)))
	if _, err := openDB(t, connector).ExecContext(t.Context(), "INSERT"); err != nil {
		t.Error(err)
	}
}
