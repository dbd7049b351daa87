package httpapi

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"

	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/internal/access"
	"github.com/pipestreamer/pipestreamer/internal/job"
)

// Reasons for a refusal that access does not know.
const (
	refusedRole        access.Reason = "role"
	refusedCrossOrigin access.Reason = "cross_origin"
)

// admit lets a request pass when its caller is known, may ask now, and has a
// role. It stands in front of the routes, so none can be forgotten, and a path
// that is none tells a stranger nothing.
func (s *Server) admit(identify access.Identify, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		caller, err := identify(r)
		if err != nil {
			s.refuse(w, r, err)
			return
		}
		entry := entryOf(r.Context())
		entry.identity, entry.role = caller.Identity, caller.Role
		// A browser attaches a certificate to requests that a foreign page makes.
		if err := s.origins.Check(r); err != nil {
			entry.refused, entry.cause = refusedCrossOrigin, err.Error()
			s.metrics.refused.WithLabelValues(string(refusedCrossOrigin)).Inc()
			s.writeNoted(w, r, newProblem(http.StatusForbidden, "cross_origin", "Cross-origin request", "a web page of another origin may not change anything here"))
			return
		}
		if caller.Role < access.Reader {
			s.writeNoted(w, r, s.forbidden(r, access.Reader))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// require answers only callers who have the role. It is bound to the handler
// when the route is registered, so what is checked is what is served, however a
// path is spelled.
func (s *Server) require(role access.Role, handle handler) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if entryOf(r.Context()).role < role {
			return s.forbidden(r, role)
		}
		return handle(w, r)
	}
}

func (s *Server) forbidden(r *http.Request, needed access.Role) *Problem {
	return s.forbiddenTo(r, fmt.Sprintf("this needs the role %s", needed))
}

// forbiddenJob refuses to cancel a job to a caller who has not asked for it.
func (s *Server) forbiddenJob(r *http.Request, record *job.Record) *Problem {
	by := "by " + record.RequestedBy
	if record.RequestedBy == "" {
		by = "before it was noted by whom"
	}
	return s.forbiddenTo(r, fmt.Sprintf("to cancel a job that was asked for %s needs the role %s", by, access.Operator))
}

// forbiddenTo tells callers who they are and why that is not enough.
func (s *Server) forbiddenTo(r *http.Request, why string) *Problem {
	entry := entryOf(r.Context())
	entry.refused = refusedRole
	s.metrics.refused.WithLabelValues(string(refusedRole)).Inc()
	p := newProblem(http.StatusForbidden, "forbidden", "Not allowed", fmt.Sprintf("%s has the role %s; %s", entry.identity, entry.role, why))
	p.Hint = "http.operators, http.triggers and http.readers give roles to identities"
	return p
}

// refuse tells a caller why they are not let in, without telling a guesser what
// was nearly right; the log has the cause. Who is not known keeps no connection.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	refusal, is := errors.AsType[*access.Refusal](err)
	if !is {
		refusal = &access.Refusal{Reason: access.WrongCredentials, Cause: err.Error()}
	}
	entry := entryOf(r.Context())
	entry.identity, entry.refused, entry.cause = refusal.Identity, refusal.Reason, refusal.Cause
	s.metrics.refused.WithLabelValues(string(refusal.Reason)).Inc()
	s.log.Debug("refused", zap.String("reason", string(refusal.Reason)), zap.String("cause", refusal.Cause), zap.String("remote", r.RemoteAddr))
	if refusal.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(refusal.RetryAfter.Seconds()))))
	}
	if refusal.Identity == "" {
		w.Header().Set("Connection", "close")
	}
	s.writeNoted(w, r, problemOfRefusal(w.Header(), r, refusal))
}

func problemOfRefusal(header http.Header, r *http.Request, refusal *access.Refusal) *Problem {
	switch refusal.Reason {
	case access.TooManyRequests:
		p := newProblem(http.StatusTooManyRequests, "too_many_requests", "Too many requests", refusal.Identity+" sends more than http.rateLimit allows")
		p.Hint = "try again after the seconds in Retry-After"
		return p
	case access.TooManyFailures:
		p := newProblem(http.StatusTooManyRequests, "too_many_failures", "Too many failures", "too many requests with wrong credentials came from this address")
		p.Hint = "correct the credentials, and try again after the seconds in Retry-After"
		return p
	case access.ReviewUnavailable:
		p := newProblem(http.StatusServiceUnavailable, "review_unavailable", "The credentials could not be checked", "Kubernetes could not be asked about the token")
		p.Hint = "try again after the seconds in Retry-After; the daemon's log has the cause"
		return p
	}
	header.Add("WWW-Authenticate", `Bearer realm="pipestreamer"`)
	if access.Safe(r.Method) {
		header.Add("WWW-Authenticate", `Basic realm="pipestreamer", charset="UTF-8"`)
	}
	p := newProblem(http.StatusUnauthorized, "unauthorized", "Not authenticated", "expected Authorization: Bearer with a token that is known here")
	if refusal.Reason == access.NoCredentials {
		p.Detail = "expected credentials: Authorization: Bearer with a token"
	}
	p.Hint = "docs/access.md lists the ways to authenticate; metrics and the daemon's log have the cause"
	return p
}
