package uploader

import (
	"context"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"slices"

	"github.com/rclone/rclone/fs"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// The classes of what the store answers, a metric label.
const (
	classThrottled  = "throttled"
	classDenied     = "denied"
	classNotFound   = "not_found"
	classTimeout    = "timeout"
	classConnection = "connection"
	classServer     = "server"
	classChecksum   = "checksum"
	classOther      = "other"
)

func classes() []string {
	return []string{classThrottled, classDenied, classNotFound, classTimeout, classConnection, classServer, classChecksum, classOther}
}

// class says what kind of trouble err is. It is empty for answers that are none,
// such as that a key is free.
func class(err error) string {
	for _, answer := range []error{fs.ErrorObjectNotFound, fs.ErrorDirNotFound, fs.ErrorIsDir, fs.ErrorNotAFile, backup.ErrExists, errNotShown, errMakeRoom} {
		if errors.Is(err, answer) {
			return ""
		}
	}
	if errors.Is(err, backup.ErrCorrupt) {
		return classChecksum
	}
	if name := answerClass(err); name != "" {
		return name
	}
	if refused(err) {
		return classDenied
	}
	return lineClass(err)
}

// answerClass judges what the store has answered, if it has.
func answerClass(err error) string {
	var code interface{ ErrorCode() string }
	if errors.As(err, &code) {
		switch name := code.ErrorCode(); {
		case slices.Contains([]string{"SlowDown", "SlowDownRead", "SlowDownWrite", "Throttling", "ThrottlingException", "TooManyRequests", "RequestLimitExceeded"}, name):
			return classThrottled
		case slices.Contains([]string{"BadDigest", "XAmzContentSHA256Mismatch", "InvalidDigest"}, name):
			return classChecksum
		case slices.Contains([]string{"RequestTimeout", "RequestTimeoutException"}, name):
			return classTimeout
		}
	}
	var status interface{ HTTPStatusCode() int }
	if !errors.As(err, &status) {
		return ""
	}
	switch n := status.HTTPStatusCode(); {
	case n == http.StatusTooManyRequests:
		return classThrottled
	case n == http.StatusUnauthorized, n == http.StatusForbidden:
		return classDenied
	case n == http.StatusNotFound:
		return classNotFound
	case n == http.StatusRequestTimeout:
		return classTimeout
	case n >= http.StatusInternalServerError:
		return classServer
	}
	return ""
}

// lineClass judges why there was no answer.
func lineClass(err error) string {
	for _, silence := range []error{errSilent, context.DeadlineExceeded, os.ErrDeadlineExceeded} {
		if errors.Is(err, silence) {
			return classTimeout
		}
	}
	if line, is := errors.AsType[net.Error](err); is {
		if line.Timeout() {
			return classTimeout
		}
		return classConnection
	}
	if _, is := errors.AsType[x509.UnknownAuthorityError](err); is || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return classConnection
	}
	if errors.Is(err, ErrNotInTime) { // and there is no other reason
		return classTimeout
	}
	return classOther
}
