// Package wire speaks the server side of the SAP HANA SQL command network
// protocol: it turns bytes into logins, statements and parameters, and results
// and errors back into bytes. What a statement means is decided behind the
// [Backend] that it serves.
package wire

import (
	"context"
	"errors"
)

// Backend is what a Server serves.
type Backend interface {
	// Locate answers a client that asks where a database is reached (DB connect
	// info). here is true when this listener serves it; an unknown name is an
	// *Error.
	Locate(listener, database string) (host string, port int, here bool, err error)
	// Password returns the password of user in the database that this
	// connection is for. An *Error refuses the login with its code.
	Password(listener, user string) (string, error)
	// Open starts a session for a user who has proven the password.
	Open(listener, user string) (Session, error)
}

// Session is one authenticated connection. Its methods are called one at a
// time; Close may be called during Execute, whose ctx is then cancelled too.
type Session interface {
	// Describe tells the types of a statement's parameters and result without
	// running it. No columns means that it returns no rows.
	Describe(statement string) (parameters, columns []Column, err error)
	// Execute runs a statement. ctx ends when the client goes away.
	Execute(ctx context.Context, statement string, arguments []any) (Result, error)
	// Close ends the session.
	Close()
}

// Result is the outcome of a statement: rows when Columns is set, a count of
// affected rows otherwise.
//
// A value must be of the Go type that its column's type has: int64 for all
// integers and for decimals too. A time is sent as its UTC wall clock, since HANA
// knows no zones; for local time give one whose UTC wall clock says so.
type Result struct {
	Columns  []Column
	Rows     [][]any // nil, bool, int64, float64, string, []byte, time.Time or *big.Rat
	Affected int64
}

// Type is the SQL type of a column.
type Type int

// The types that the simulator's views need.
const (
	BigInt Type = iota
	Integer
	SmallInt
	TinyInt
	Double
	Boolean
	Decimal
	NVarchar
	Varchar
	NClob
	Timestamp // LONGDATE, 100 ns
	SecondDate
	DayDate
	Varbinary
)

// Column describes one column or parameter.
type Column struct {
	Table, Name string
	Type        Type
	Length      int // characters or digits
	Scale       int
	NotNull     bool
}

// Error is an error as HANA reports it to a client.
type Error struct {
	Code     int
	Position int
	State    string // SQLSTATE, five characters
	Text     string
	Fatal    bool
}

// Error gives the text.
func (e *Error) Error() string { return e.Text }

// ErrHangUp is returned by a Session that wants the connection cut without an
// answer, as by a crash of the database or of the network.
var ErrHangUp = errors.New("hang up")
