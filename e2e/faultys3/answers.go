package faultys3

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Answer takes care of one request. forward hands it to the server.
type Answer func(w http.ResponseWriter, r *http.Request, forward http.Handler)

// Refuse answers with a status and an error of S3, after it has read the whole
// request.
func Refuse(status int, code string) Answer {
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		drain(r)
		writeError(w, status, code)
	}
}

// RefuseWhile refuses the requests that are signed with an access key for which
// refused is true; others are forwarded.
func RefuseWhile(refused func(accessKey string) bool, status int, code string) Answer {
	refuse := Refuse(status, code)
	return func(w http.ResponseWriter, r *http.Request, forward http.Handler) {
		if refused(AccessKey(r)) {
			refuse(w, r, forward)
			return
		}
		forward.ServeHTTP(w, r)
	}
}

// AccessKey is the one with which a request is signed (SigV4).
func AccessKey(r *http.Request) string {
	_, after, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
	key, _, _ := strings.Cut(after, "/")
	return key
}

// ErrorInside answers with status 200 and an error in the body, as S3 may do for
// a completion; the server does not hear of the request.
func ErrorInside(code string) Answer { return Refuse(http.StatusOK, code) }

// LoseAnswer lets the server do its work and resets the connection instead of
// passing on what it says.
func LoseAnswer(w http.ResponseWriter, r *http.Request, forward http.Handler) {
	forward.ServeHTTP(&keptAnswer{header: make(http.Header)}, r)
	reset(w)
}

// Reset reads some of the request and resets the connection.
func Reset(w http.ResponseWriter, r *http.Request, _ http.Handler) {
	// That it cannot be read changes nothing.
	_, _ = io.CopyN(io.Discard, r.Body, 1<<20)
	reset(w)
}

// BlackHole swallows the request and stays silent until the client gives up.
func BlackHole(_ http.ResponseWriter, r *http.Request, _ http.Handler) {
	drain(r) // a server notices a client that went away only after the body
	<-r.Context().Done()
	panic(http.ErrAbortHandler)
}

// Delay waits before it forwards.
func Delay(wait time.Duration) Answer {
	return func(w http.ResponseWriter, r *http.Request, forward http.Handler) {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
			forward.ServeHTTP(w, r)
		case <-r.Context().Done():
			panic(http.ErrAbortHandler)
		}
	}
}

// SlowBody passes the server's answer on in pieces, with a pause after each.
func SlowBody(piece int, pause time.Duration) Answer {
	return func(w http.ResponseWriter, r *http.Request, forward http.Handler) {
		forward.ServeHTTP(&slowWriter{ResponseWriter: w, piece: piece, pause: pause}, r)
	}
}

// WrongETag replaces the ETag that the server gives, in header and body.
func WrongETag(w http.ResponseWriter, r *http.Request, forward http.Handler) {
	const wrong = "00000000000000000000000000000000"
	Alter(func(header http.Header, body []byte) []byte {
		if header.Get("ETag") != "" {
			header.Set("ETag", `"`+wrong+`"`)
		}
		before, rest, found := bytes.Cut(body, []byte("<ETag>"))
		_, after, closed := bytes.Cut(rest, []byte("</ETag>"))
		if !found || !closed {
			return body
		}
		return bytes.Join([][]byte{before, []byte("<ETag>&quot;" + wrong + "&quot;</ETag>"), after}, nil)
	})(w, r, forward)
}

// Truncate passes on the first half of the server's answer as if it were all.
func Truncate(w http.ResponseWriter, r *http.Request, forward http.Handler) {
	Alter(func(_ http.Header, body []byte) []byte { return body[:len(body)/2] })(w, r, forward)
}

// BreakOff passes on the first half of the server's answer and then resets the
// connection.
func BreakOff(w http.ResponseWriter, r *http.Request, forward http.Handler) {
	kept := &keptAnswer{header: make(http.Header)}
	forward.ServeHTTP(kept, r)
	length := kept.body.Len()
	kept.header.Set("Content-Length", strconv.Itoa(length))
	kept.body.Truncate(length / 2)
	kept.pass(w)
	// What is not flushed would be lost with the connection.
	_ = http.NewResponseController(w).Flush()
	reset(w)
}

// Damage flips a bit in the middle of the body of the server's answer.
func Damage(w http.ResponseWriter, r *http.Request, forward http.Handler) {
	Alter(func(_ http.Header, body []byte) []byte {
		if len(body) > 0 {
			body[len(body)/2] ^= 1
		}
		return body
	})(w, r, forward)
}

// DamageRequest flips a bit in the body of the request.
func DamageRequest(w http.ResponseWriter, r *http.Request, forward http.Handler) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if len(body) > 0 {
		body[len(body)/2] ^= 1
	}
	changed := r.Clone(r.Context())
	changed.Body = io.NopCloser(bytes.NewReader(body))
	forward.ServeHTTP(w, changed)
}

// Alter passes on what change makes of the server's answer.
func Alter(change func(header http.Header, body []byte) []byte) Answer {
	return func(w http.ResponseWriter, r *http.Request, forward http.Handler) {
		kept := &keptAnswer{header: make(http.Header)}
		forward.ServeHTTP(kept, r)
		body := change(kept.header, kept.body.Bytes())
		kept.body = *bytes.NewBuffer(body)
		if r.Method != http.MethodHead {
			kept.header.Set("Content-Length", strconv.Itoa(len(body)))
		}
		kept.pass(w)
	}
}

func drain(r *http.Request) {
	// Who stops sending is answered all the same.
	_, _ = io.Copy(io.Discard, r.Body)
}

func writeError(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	// A client that has gone needs no answer.
	_, _ = fmt.Fprintf(w, `<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>%s</Code><Message>said by the fault proxy</Message><RequestId>0</RequestId></Error>`, code)
}

// reset ends the connection in a way that the client sees as a reset.
func reset(w http.ResponseWriter) {
	connection, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) // it closes the connection, at least
	}
	if tcp, is := connection.(*net.TCPConn); is {
		_ = tcp.SetLinger(0) // close then sends RST
	}
	_ = connection.Close()
}

// keptAnswer takes an answer instead of the client.
type keptAnswer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

// Header implements http.ResponseWriter.
func (k *keptAnswer) Header() http.Header { return k.header }

// WriteHeader implements http.ResponseWriter.
func (k *keptAnswer) WriteHeader(status int) { k.status = status }

// Write implements http.ResponseWriter.
func (k *keptAnswer) Write(p []byte) (int, error) { return k.body.Write(p) }

func (k *keptAnswer) pass(w http.ResponseWriter) {
	maps.Copy(w.Header(), k.header)
	if k.status != 0 {
		w.WriteHeader(k.status)
	}
	// A client that has gone needs no answer.
	_, _ = w.Write(k.body.Bytes())
}

// slowWriter writes in pieces.
type slowWriter struct {
	http.ResponseWriter

	piece int
	pause time.Duration
}

// Write implements http.ResponseWriter.
func (w *slowWriter) Write(p []byte) (int, error) {
	written := 0
	for written < len(p) {
		n, err := w.ResponseWriter.Write(p[written:min(len(p), written+w.piece)])
		written += n
		if err != nil {
			return written, err
		}
		time.Sleep(w.pause)
	}
	return written, nil
}
