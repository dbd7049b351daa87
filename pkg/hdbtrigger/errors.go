package hdbtrigger

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"

	hdb "github.com/SAP/go-hdb/driver"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// HANA's outer codes.
const (
	codeGeneral        = 2
	codeAuthentication = 10
	codeSyntax         = 257
	codePrivilege      = 258
	codeTable          = 259
	codeSchema         = 362
	codeForcedChange   = 414
	codeLocked         = 416
	codeBackup         = 447
	codeRecovery       = 448
	codeStrategy       = 449

	// Of SAP's own clients, as users quote them; go-hdb reports the operating
	// system's error instead.
	codeClientConnect = -10709
	codeClientKey     = -10104
)

// innerCode finds the codes that HANA nests into a text: "[2000008] Error
// during …". Other brackets in these texts are not codes: backup ids have 13
// digits, "$fileCallback$=[W]" and "queue[3]" follow other characters.
var innerCode = regexp.MustCompile(`(?:^|[\s,:;(])\[(\d{2,9})\]`)

// innerCodes lists the codes in text that are not the outer one, in order.
func innerCodes(outer int, text string) []int {
	var codes []int
	for _, match := range innerCode.FindAllStringSubmatch(text, -1) {
		code, err := strconv.Atoi(match[1])
		if err != nil || code == outer {
			continue
		}
		codes = append(codes, code)
	}
	return codes
}

// IsQuery reports whether HANA refused to answer a question, as opposed to a
// statement that changes something.
func IsQuery(err *backup.HANAError) bool { return err.Statement == kindSelect }

// translate turns what go-hdb returned for a statement into a
// *backup.HANAError, if HANA has answered, or wraps it.
func translate(statement string, err error) error {
	if err == nil {
		return nil
	}
	if _, found := errors.AsType[*connectError](err); found {
		return err // it speaks for itself, and nothing was sent
	}
	if answer, found := errors.AsType[hdb.Error](err); found {
		text := answer.Text()
		return &backup.HANAError{
			Code: answer.Code(), Inner: innerCodes(answer.Code(), text), Text: text, Statement: statement,
		}
	}
	return &lostError{statement, err}
}

// lostError is a statement that may have reached HANA, without an answer.
type lostError struct {
	statement string
	err       error
}

// Error names the statement.
func (e *lostError) Error() string {
	return fmt.Sprintf("%s: no answer from HANA: %v", e.statement, e.err)
}

// Unwrap gives what happened to the connection.
func (e *lostError) Unwrap() error { return e.err }
