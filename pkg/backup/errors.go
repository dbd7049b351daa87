package backup

import (
	"errors"
	"fmt"
)

// Errors that callers branch on.
var (
	// ErrNotFound means that what was asked for does not exist.
	ErrNotFound = errors.New("not found")
	// ErrExists means that a key already holds an object.
	ErrExists = errors.New("already exists")
	// ErrEmptyStream means that a stream ended without a byte.
	ErrEmptyStream = errors.New("the stream ended without a byte")
	// ErrCorrupt means that stored bytes are not the bytes that were stored.
	ErrCorrupt = errors.New("content does not match its checksum")
	// ErrNoIdentity means that a stream is encrypted and that no identity is at
	// hand which decrypts it.
	ErrNoIdentity = errors.New("no identity decrypts the stream")
	// ErrAborted means that an upload was aborted or spoiled before.
	ErrAborted = errors.New("the upload was aborted")
	// ErrMemory means that the memory budget has no room.
	ErrMemory = errors.New("the memory budget has no room")
	// ErrNotSent means that a statement never reached HANA.
	ErrNotSent = errors.New("nothing was sent to HANA")
	// ErrBusy means that HANA already runs a data backup of this database.
	ErrBusy = errors.New("a data backup is already running")
	// ErrWrongSystem means that another system answers than the one expected.
	ErrWrongSystem = errors.New("another HANA system answers")
	// ErrBypassed means that HANA wrote a file instead of using a pipe.
	ErrBypassed = errors.New("HANA wrote a file past the pipe")
	// ErrNotPrimary means that the system is not the primary of its replication.
	ErrNotPrimary = errors.New("the system is not the primary site")
)

// HANAError is an error that HANA itself reported.
type HANAError struct {
	// Code is the outer code, for example 447.
	Code int
	// Inner are the codes in brackets of Text after the outer one, for example
	// 2000008, in the order of the text.
	Inner []int
	// Text is HANA's text without the driver's decoration.
	Text string
	// Statement names what was sent, without credentials, for example "BACKUP DATA".
	Statement string
}

// Error gives statement, code and text.
func (e *HANAError) Error() string {
	return fmt.Sprintf("%s: HANA error %d: %s", e.Statement, e.Code, e.Text)
}
