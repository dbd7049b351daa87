package wire

import (
	"encoding/binary"
	"errors"
	"strings"
)

// Error codes that the server itself answers with.
const (
	codeGeneral              = 2
	codeFeatureNotSupported  = 7
	codeAuthenticationFailed = 10
	codeParsingProtocol      = 1033
)

const (
	stateGeneral       = "HY000"
	stateAuthorization = "28000"
)

const (
	levelError = 1
	levelFatal = 2
)

func generalError(text string) *Error {
	return &Error{Code: codeGeneral, State: stateGeneral, Text: "general error: " + text}
}

func authenticationFailed() *Error {
	return &Error{Code: codeAuthenticationFailed, State: stateAuthorization, Text: "authentication failed"}
}

// asError gives err the form that a client is told. What is not an *Error is a
// fault of the backend and becomes a general error.
func asError(err error) *Error {
	if answer, ok := errors.AsType[*Error](err); ok {
		return answer
	}
	return generalError(err.Error())
}

// errorReply is code, position, length of the text, level, SQLSTATE and text
// (SAP HANA SQL Command Network Protocol Reference: error part). A single error
// has a part that is one byte longer than its data: so HANA sends it, and go-hdb
// panics on anything shorter.
func errorReply(e *Error) *reply {
	text := strings.ToValidUTF8(e.Text, "\uFFFD")
	level := byte(levelError)
	if e.Fatal {
		level = levelFatal
	}
	state := e.State
	if len(state) != len(stateGeneral) {
		state = stateGeneral
	}
	le := binary.LittleEndian
	b := le.AppendUint32(nil, uint32(int32(e.Code)))
	b = le.AppendUint32(b, uint32(int32(e.Position)))
	b = le.AppendUint32(b, uint32(len(text)))
	b = append(b, level)
	b = append(b, state...)
	b = append(b, text...)
	b = append(b, 0)
	return &reply{kind: segmentError, parts: []part{{kind: partError, count: 1, data: b}}}
}
