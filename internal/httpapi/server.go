// Package httpapi is the counter: it takes requests over HTTP, hands them to
// the jobs behind it and tells what became of them. docs/openapi.yaml describes
// the interface; tests hold the two together.
//
// Nobody is trusted because of where the request comes from, with one
// exception: whoever may open the Unix socket (mode 0660) needs no token.
package httpapi

import (
	"errors"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/internal/logship"
)

// eventsPattern is the route that stays open for the length of a job.
const eventsPattern = "GET /v1/jobs/{id}/events"

// Options shape a Server.
type Options struct {
	// Daemon is who answers; Time is filled in.
	Daemon Daemon
	// Page serves the status page at / and its files below /page/. nil means that
	// there is none.
	Page http.Handler
	// Heartbeat is the pause between comments on a silent event stream, so that
	// proxies and clients can tell silence from a dead connection. Default 15 s.
	Heartbeat time.Duration
	// BodyTimeout is how long a client may take to send a body. Default 10 s.
	BodyTimeout time.Duration
	// Logs tells how far the shipping of log backups is, by database. nil means
	// that none are shipped.
	Logs func() []logship.Status
	// LogsTrouble says what keeps log backups from being found, empty when nothing
	// does. nil means that none are looked for.
	LogsTrouble func() string
	// Throttle is the bandwidth limit. nil means that there is nothing to limit.
	Throttle Throttle
}

// Server answers requests. It is safe for concurrent use and holds nothing
// that has to be closed.
type Server struct {
	jobs    Jobs
	options Options
	log     *zap.Logger
	metrics *Metrics
	mux     *http.ServeMux

	following followers
	looks     looks
}

// New returns a Server in front of jobs.
func New(jobs Jobs, options Options, log *zap.Logger, metrics *Metrics) *Server {
	if options.Heartbeat <= 0 {
		options.Heartbeat = 15 * time.Second
	}
	if options.BodyTimeout <= 0 {
		options.BodyTimeout = 10 * time.Second
	}
	if options.Logs == nil {
		options.Logs = func() []logship.Status { return nil }
	}
	if options.LogsTrouble == nil {
		options.LogsTrouble = func() string { return "" }
	}
	if options.Throttle == nil {
		options.Throttle = noThrottle{}
	}
	s := &Server{jobs: jobs, options: options, log: log.Named("httpapi"), metrics: metrics, mux: http.NewServeMux()}
	for pattern, handle := range s.routes() {
		s.mux.HandleFunc(pattern, s.answer(handle))
	}
	s.mountPage()
	return s
}

// Handler serves the interface to whoever can reach it: for the Unix socket and
// for loopback without a token.
func (s *Server) Handler() http.Handler { return s.observe(http.HandlerFunc(s.route)) }

// Authenticated serves the interface to those who carry the token. Requests
// are checked before they are routed, so no route can be forgotten.
func (s *Server) Authenticated(token Token) http.Handler {
	return s.observe(s.authenticate(token, http.HandlerFunc(s.route)))
}

// route answers like http.ServeMux, with a problem where that has plain text.
func (s *Server) route(w http.ResponseWriter, r *http.Request) {
	fallback, pattern := s.mux.Handler(r)
	if pattern != "" {
		s.mux.ServeHTTP(w, r)
		return
	}
	said := &refusal{header: http.Header{}}
	fallback.ServeHTTP(said, r)
	if said.status == http.StatusMethodNotAllowed {
		w.Header().Set("Allow", said.header.Get("Allow"))
		s.writeProblem(w, newProblem(said.status, "method_not_allowed", "Method not allowed", "this path allows "+said.header.Get("Allow")))
		return
	}
	s.writeProblem(w, newProblem(http.StatusNotFound, "unknown_path", "No such path", "docs/openapi.yaml lists the paths"))
}

// refusal notes status and header of a response that is not sent.
type refusal struct {
	header http.Header
	status int
}

func (f *refusal) Header() http.Header         { return f.header }
func (f *refusal) WriteHeader(status int)      { f.status = status }
func (f *refusal) Write(p []byte) (int, error) { return len(p), nil }

// answer runs a handler and tells the caller why it failed, if it did.
func (s *Server) answer(handle handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		err := handle(w, r)
		if err == nil {
			return
		}
		p := problemOf(err)
		if p.Status >= http.StatusInternalServerError {
			s.log.Error("a request failed", zap.String("route", r.Pattern), zap.Int("status", p.Status), zap.Error(err))
		}
		s.writeProblem(w, p)
	}
}

// observe counts the request. A panic is logged with its stack, counted and
// answered: it ends the request, not the jobs that run.
func (s *Server) observe(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		seen := &observed{ResponseWriter: w}
		defer func() {
			if cause := recover(); cause != nil {
				if err, is := cause.(error); is && errors.Is(err, http.ErrAbortHandler) {
					panic(cause)
				}
				s.metrics.panics.Inc()
				s.log.Error("a request ended in a panic", zap.String("route", r.Pattern), zap.Any("panic", cause), zap.ByteString("stack", debug.Stack()))
				if seen.status == 0 {
					s.writeProblem(seen, newProblem(http.StatusInternalServerError, "internal", "The request failed", "a defect of pipestreamer; its log has the stack"))
				}
			}
			_, route, _ := strings.Cut(r.Pattern, " ")
			s.metrics.observe(route, r, seen.status, time.Since(start))
			s.log.Debug("request", zap.String("method", r.Method), zap.String("route", route), zap.Int("status", seen.status))
		}()
		next.ServeHTTP(seen, r)
	})
}

// observed notes the status of a response.
type observed struct {
	http.ResponseWriter
	status int
}

// WriteHeader notes the first status.
func (o *observed) WriteHeader(status int) {
	if o.status == 0 {
		o.status = status
	}
	o.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController reach the connection.
func (o *observed) Unwrap() http.ResponseWriter { return o.ResponseWriter }
