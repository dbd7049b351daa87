package hdbtrigger

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"slices"
	"syscall"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// Hint gives one sentence for whoever has to act on err, or "" when there is
// nothing to add to it. It knows errors of this package only: a refused
// connection to anything else is none of its business.
func Hint(err error) string {
	if hana, found := errors.AsType[*backup.HANAError](err); found {
		return hanaHint(hana)
	}
	if failed, found := errors.AsType[*connectError](err); found {
		return connectHint(failed.err)
	}
	if lost, found := errors.AsType[*lostError](err); found && lost.statement != kindSelect {
		return lostHint(lost.err)
	}
	return ""
}

// hanaHint takes the first inner code that is known, because it says more than
// the outer one.
func hanaHint(err *backup.HANAError) string {
	known := KnownCodes()
	for _, code := range err.Inner {
		if i := slices.IndexFunc(known, func(k KnownCode) bool { return k.Inner && k.Code == code }); i >= 0 {
			return known[i].Hint
		}
	}
	if i := slices.IndexFunc(known, func(k KnownCode) bool { return !k.Inner && k.Code == err.Code }); i >= 0 {
		return known[i].Hint
	}
	return ""
}

func connectHint(err error) string {
	if errors.Is(err, syscall.ECONNREFUSED) {
		return refusedHint // hdbsql shows this as -10709 "Connection refused"
	}
	if errors.Is(err, syscall.ETIMEDOUT) || errors.Is(err, syscall.EHOSTUNREACH) || errors.Is(err, syscall.ENETUNREACH) {
		return "No packet comes back from HANA's host: check host and port, and what filters packets on the way there."
	}
	if _, found := errors.AsType[x509.UnknownAuthorityError](err); found {
		return "HANA's certificate is not signed by an authority that is trusted here: set the root CA file."
	}
	if _, found := errors.AsType[x509.HostnameError](err); found {
		return "HANA's certificate is for another name: set the TLS server name to one that it carries."
	}
	if _, found := errors.AsType[tls.RecordHeaderError](err); found {
		return "The server does not speak TLS on this port: check the port, or switch TLS off."
	}
	return ""
}

const refusedHint = "Nothing listens at SYSTEMDB's SQL port: HANA is down or still starting, the port is wrong (3<instance>13), or this is a secondary site, where refused connections are normal."

func lostHint(err error) string {
	if errors.Is(err, syscall.ETIMEDOUT) {
		return "HANA's host stopped answering while the statement ran: look whether the host is up, and for a firewall that drops long connections; only the backup catalog tells what became of the statement."
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		return "The connection to HANA was cut while the statement ran: HANA stopped or crashed, the session was cancelled, or something on the way closed it; only the backup catalog tells what became of the statement."
	}
	return ""
}
