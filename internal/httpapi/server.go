// Package httpapi is the counter: it takes requests over HTTP, hands them to
// the jobs behind it and tells what became of them. docs/openapi.yaml describes
// the interface; tests hold the two together.
//
// Nobody is trusted because of where the request comes from: every caller is
// identified (package access) and needs the role that the route asks for.
package httpapi

import (
	"errors"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/pipestreamer/pipestreamer/internal/access"
	"github.com/pipestreamer/pipestreamer/internal/job"
	"github.com/pipestreamer/pipestreamer/internal/logship"
)

// Options shape a Server.
type Options struct {
	// Daemon is who answers; Time and DrainingSince are filled in.
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
	// LogsNote says what there is to know where none are found and nothing is wrong.
	// nil means nothing.
	LogsNote func() string
	// Throttle is the bandwidth limit. nil means that there is nothing to limit.
	Throttle Throttle
	// Drain refuses new jobs from now on and returns those that run. nil means that
	// there are none, ever.
	Drain func() []job.Record
	// DrainingSince tells when that was first done, zero before. nil means never.
	DrainingSince func() time.Time
	// Settings are what GET /debug/config shows. Nothing of it is secret.
	Settings []Setting
}

// Server answers requests. It is safe for concurrent use and holds nothing
// that has to be closed.
type Server struct {
	jobs     Jobs
	options  Options
	log      *zap.Logger
	auditLog *zap.Logger
	metrics  *Metrics
	mux      *http.ServeMux
	origins  *http.CrossOriginProtection
	tooMany  *rate.Sometimes // lines of the audit log for those that come too often
	looked   *rate.Sometimes // and for those that were refused a look

	following followers
	looks     looks
}

// New returns a Server in front of jobs.
func New(jobs Jobs, options Options, log *zap.Logger, metrics *Metrics) *Server {
	s := newServer(jobs, options, log, metrics)
	for pattern, handle := range s.routes() {
		s.serve(pattern, handle)
	}
	return s
}

// newServer has no routes yet.
func newServer(jobs Jobs, options Options, log *zap.Logger, metrics *Metrics) *Server {
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
	if options.LogsNote == nil {
		options.LogsNote = func() string { return "" }
	}
	if options.Throttle == nil {
		options.Throttle = noThrottle{}
	}
	if options.Settings == nil {
		options.Settings = []Setting{}
	}
	if options.Drain == nil {
		options.Drain = func() []job.Record { return nil }
	}
	if options.DrainingSince == nil {
		options.DrainingSince = func() time.Time { return time.Time{} }
	}
	return &Server{
		jobs: jobs, options: options, log: log.Named("httpapi"), auditLog: log.Named("audit"), metrics: metrics,
		mux: http.NewServeMux(), origins: http.NewCrossOriginProtection(),
		tooMany: &rate.Sometimes{First: 10, Interval: 10 * time.Second},
		looked:  &rate.Sometimes{First: 10, Interval: 10 * time.Second},
	}
}

// serve answers requests for a route of those who have its role.
func (s *Server) serve(pattern string, handle handler) {
	s.mux.HandleFunc(pattern, s.answer(s.require(roleOf(pattern), handle)))
}

// Handler serves the interface to those whom identify lets in, each to the
// extent of their role. Requests are checked before they are routed.
func (s *Server) Handler(identify access.Identify) http.Handler {
	return s.observe(s.admit(identify, http.HandlerFunc(s.route)))
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
		s.writeNoted(w, r, newProblem(said.status, "method_not_allowed", "Method not allowed", "this path allows "+said.header.Get("Allow")))
		return
	}
	s.writeNoted(w, r, newProblem(http.StatusNotFound, "unknown_path", "No such path", "docs/openapi.yaml lists the paths"))
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
		if look, is := errors.AsType[*lookPanic](err); is {
			panic(look)
		}
		p := problemOf(err)
		if p.Status >= http.StatusInternalServerError {
			s.log.Error("a request failed", zap.String("route", r.Pattern), zap.Int("status", p.Status), zap.Error(err))
		}
		s.writeNoted(w, r, p)
	}
}

// observe counts the request. A panic is logged with its stack, counted and
// answered: it ends the request, not the jobs that run.
func (s *Server) observe(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		seen, entry := &observed{ResponseWriter: w}, new(auditEntry)
		r = r.WithContext(withEntry(r.Context(), entry))
		s.limitBody(seen, r)
		defer func() { s.audit(r, entry, seen.status) }()
		defer func() {
			if cause := recover(); cause != nil {
				if err, is := cause.(error); is && errors.Is(err, http.ErrAbortHandler) {
					panic(cause)
				}
				stack := debug.Stack()
				if look, is := cause.(*lookPanic); is {
					cause, stack = look.cause, look.stack
				}
				s.metrics.panics.Inc()
				s.log.Error("a request ended in a panic", zap.String("route", r.Pattern), zap.Any("panic", cause), zap.ByteString("stack", stack))
				if seen.status == 0 {
					s.writeNoted(seen, r, newProblem(http.StatusInternalServerError, "internal", "The request failed", "a defect of pipestreamer; its log has the stack"))
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

// Write notes the status that net/http takes then.
func (o *observed) Write(p []byte) (int, error) {
	if o.status == 0 {
		o.status = http.StatusOK
	}
	return o.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController reach the connection.
func (o *observed) Unwrap() http.ResponseWriter { return o.ResponseWriter }
