package views

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	_ "modernc.org/sqlite" // the engine

	"github.com/pipestreamer/pipestreamer/e2e/hanasim/wire"
)

//go:embed schema.sql
var schemaText string

// AllDatabases is the schema in which SYSTEMDB shows every database.
const AllDatabases = "SYS_DATABASES"

// Source gives the rows of a view, in the order of schema.sql. For the schema
// SYS_DATABASES the first value of each row is the database's name.
type Source interface {
	Rows(ctx context.Context, schema, view string) ([][]any, error)
}

// Reader is who asks: it answers CURRENT_USER and the like.
type Reader struct {
	User       string
	Connection int64
	// Clock is by how much HANA's clock is ahead of the machine's.
	Clock time.Duration
}

// Engine holds the views of one database. Its methods may be called at once.
type Engine struct {
	mu    sync.Mutex
	db    *sql.DB
	conn  *sql.Conn
	views map[string]view // by SCHEMA.NAME
}

type view struct {
	schema, name string
	columns      []wire.Column
}

// Open makes the views; those of SYS_DATABASES only for SYSTEMDB.
func Open(ctx context.Context, systemDB bool) (*Engine, error) {
	// _dqs=0: "X" is an identifier only, as in HANA.
	db, err := sql.Open("sqlite", "file::memory:?_dqs=0&_pragma=case_sensitive_like(1)")
	if err != nil {
		return nil, fmt.Errorf("open views: %w", err)
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open views: %w", err), db.Close())
	}
	e := &Engine{db: db, conn: conn, views: map[string]view{}}
	if err := e.create(ctx, systemDB); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

func (e *Engine) create(ctx context.Context, systemDB bool) error {
	statements := "ATTACH ':memory:' AS SYS; ATTACH ':memory:' AS SIM; ATTACH ':memory:' AS SYS_DATABASES;"
	if _, err := e.conn.ExecContext(ctx, statements); err != nil {
		return fmt.Errorf("create views: %w", err)
	}
	for line := range strings.Lines(schemaText) {
		line, table := strings.CutPrefix(strings.TrimSpace(line), "CREATE TABLE ")
		if !table || (!systemDB && strings.HasPrefix(line, "SYS.M_DATABASES ")) {
			continue
		}
		if err := e.createView(ctx, line); err != nil {
			return err
		}
		rest, inSys := strings.CutPrefix(line, "SYS.M_")
		if !inSys || !systemDB || strings.HasPrefix(rest, "DATABASE") {
			continue
		}
		name, columns, _ := strings.Cut(rest, " (")
		if err := e.createView(ctx, AllDatabases+".M_"+name+" (DATABASE_NAME NVARCHAR(256), "+columns); err != nil {
			return err
		}
	}
	return nil
}

func (e *Engine) createView(ctx context.Context, definition string) error {
	if _, err := e.conn.ExecContext(ctx, "CREATE TABLE "+definition); err != nil {
		return fmt.Errorf("create view %s: %w", definition, err)
	}
	full, _, _ := strings.Cut(definition, " ")
	schema, name, _ := strings.Cut(full, ".")
	columns, err := e.describe("SELECT * FROM " + full)
	e.views[full] = view{schema, name, columns}
	return err
}

// Close frees the views.
func (e *Engine) Close() error {
	return errors.Join(e.conn.Close(), e.db.Close())
}

// Describe tells the types of a query without running it. A column of a view
// has the view's type; README.md gives the rule for expressions. A parameter
// has the type of the nearest column before it, or NVARCHAR.
func (e *Engine) Describe(reader Reader, query string) (parameters, columns []wire.Column, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	q, err := e.rewrite(reader, query)
	if err != nil {
		return nil, nil, err
	}
	columns, err = e.columns(q)
	return q.parameters, columns, err
}

// Query runs a query over fresh rows from source. Its errors are *wire.Error
// where the query is at fault.
func (e *Engine) Query(ctx context.Context, reader Reader, source Source, query string, arguments []any) (wire.Result, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	q, err := e.rewrite(reader, query)
	if err != nil {
		return wire.Result{}, err
	}
	columns, err := e.columns(q)
	if err != nil {
		return wire.Result{}, err
	}
	for _, v := range q.views {
		if err := e.refresh(ctx, v, source); err != nil {
			return wire.Result{}, err
		}
	}
	values := make([]any, len(arguments))
	for i, argument := range arguments {
		values[i] = toEngine(argument)
	}
	rows, err := e.conn.QueryContext(ctx, q.text, values...)
	if err != nil {
		return wire.Result{}, q.hanaError(err)
	}
	defer rows.Close() //nolint:errcheck // rows.Err tells what counts
	result := wire.Result{Columns: columns, Rows: [][]any{}}
	for rows.Next() {
		row, err := scan(rows, columns)
		if err != nil {
			return wire.Result{}, err
		}
		result.Rows = append(result.Rows, row)
	}
	if err := rows.Err(); err != nil {
		return wire.Result{}, q.hanaError(err)
	}
	return result, nil
}

func scan(rows *sql.Rows, columns []wire.Column) ([]any, error) {
	row := make([]any, len(columns))
	targets := make([]any, len(columns))
	for i := range row {
		targets[i] = &row[i]
	}
	if err := rows.Scan(targets...); err != nil {
		return nil, fmt.Errorf("read row: %w", err)
	}
	for i, column := range columns {
		value, err := fromEngine(row[i], column.Type)
		if err != nil {
			return nil, fmt.Errorf("column %s: %w", column.Name, err)
		}
		row[i] = value
	}
	return row, nil
}

func (e *Engine) refresh(ctx context.Context, v view, source Source) error {
	table := v.schema + "." + v.name
	rows, err := source.Rows(ctx, v.schema, v.name)
	if err != nil {
		return fmt.Errorf("rows of %s: %w", table, err)
	}
	if _, err := e.conn.ExecContext(ctx, "DELETE FROM "+table); err != nil {
		return fmt.Errorf("empty %s: %w", table, err)
	}
	marks := strings.TrimSuffix(strings.Repeat("?,", len(v.columns)), ",")
	insert, err := e.conn.PrepareContext(ctx, "INSERT INTO "+table+" VALUES ("+marks+")")
	if err != nil {
		return fmt.Errorf("fill %s: %w", table, err)
	}
	defer insert.Close() //nolint:errcheck // the errors of ExecContext tell what counts
	for _, row := range rows {
		values := make([]any, len(row))
		for i, value := range row {
			values[i] = toEngine(value)
		}
		if _, err := insert.ExecContext(ctx, values...); err != nil {
			return fmt.Errorf("fill %s: %w", table, err)
		}
	}
	return nil
}
