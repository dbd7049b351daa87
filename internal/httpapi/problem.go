package httpapi

import (
	"context"
	"errors"
	"net/http"

	"github.com/pipestreamer/pipestreamer/internal/job"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// problemMediaType is the media type of errors (RFC 9457).
const problemMediaType = "application/problem+json"

// Problem is an error of the interface (RFC 9457, with members of its own).
type Problem struct { //nolint:errname // RFC 9457 calls it a problem, and so does docs/openapi.yaml
	// Type is stable: "urn:pipestreamer:problem:" and one of the words below.
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`
	// Field names what was wrong in the request.
	Field string `json:"field,omitempty"`
	// JobID names the job that is in the way.
	JobID string `json:"job_id,omitempty"`
	// Hint says what to do.
	Hint string `json:"hint,omitempty"`
}

const problemType = "urn:pipestreamer:problem:"

// The types of problems that a client may want to tell apart.
const (
	ProblemBusy          = problemType + "busy"
	ProblemFinished      = problemType + "finished"
	ProblemStarting      = problemType + "starting"
	ProblemUnknownBackup = problemType + "unknown_backup"
	ProblemUnknownJob    = problemType + "unknown_job"
)

// Error gives field and detail; the hint is for whoever shows the error.
func (p *Problem) Error() string {
	text := p.Detail
	if text == "" {
		text = p.Title
	}
	if p.Field != "" {
		text = p.Field + ": " + text
	}
	return text
}

func newProblem(status int, word, title, detail string) *Problem {
	return &Problem{Type: problemType + word, Title: title, Status: status, Detail: detail}
}

func invalid(field, detail string) *Problem {
	p := newProblem(http.StatusBadRequest, "invalid_request", "The request is not valid", detail)
	p.Field = field
	return p
}

// problemOf turns an error of a room below into what the caller is told.
func problemOf(err error) *Problem {
	if p, is := errors.AsType[*Problem](err); is {
		return p
	}
	if field, is := errors.AsType[*job.FieldError](err); is {
		return invalid(field.Field, field.Err.Error())
	}
	if busy, is := errors.AsType[*job.BusyError](err); is {
		p := newProblem(http.StatusConflict, "busy", "The database is busy", err.Error())
		p.JobID, p.Hint = busy.JobID, "wait for that job, or cancel it with DELETE /v1/jobs/"+busy.JobID
		return p
	}
	if conflict, is := errors.AsType[*job.ConflictError](err); is {
		p := newProblem(http.StatusConflict, "idempotency_conflict", "The idempotency key is taken", err.Error())
		p.JobID, p.Hint = conflict.JobID, "use a new key for each request"
		return p
	}
	if lost, is := errors.AsType[*job.LostError](err); is {
		p := newProblem(http.StatusConflict, "base_lost", "The base of this delta is lost", err.Error())
		p.JobID, p.Hint = lost.JobID, "make a complete backup of "+lost.Database+" first"
		return p
	}
	return problemOfSentinel(err)
}

func problemOfSentinel(err error) *Problem {
	switch {
	case errors.Is(err, job.ErrUnknownJob):
		p := newProblem(http.StatusNotFound, "unknown_job", "No such job", err.Error())
		p.Hint = "GET /v1/jobs lists those that are known"
		return p
	case errors.Is(err, job.ErrFinished):
		return newProblem(http.StatusConflict, "finished", "The job has ended", err.Error())
	case errors.Is(err, job.ErrSuspended):
		return newProblem(http.StatusConflict, "suspended", "The job is left to the next daemon", err.Error())
	case errors.Is(err, job.ErrDraining):
		p := newProblem(http.StatusServiceUnavailable, "draining", "The daemon takes no new jobs", err.Error())
		p.Hint = "send the request again, with the same idempotency key, when it is back"
		if _, drained := errors.AsType[*job.DrainedError](err); drained {
			p.Hint = "restart the sidecar, then send the request again, with the same idempotency key"
		}
		return p
	case errors.Is(err, job.ErrHANAStarting):
		p := newProblem(http.StatusServiceUnavailable, "hana_starting", "HANA does not take backups yet", err.Error())
		p.Hint = "send the request again, with the same idempotency key, when the database has started; if it has, pipestreamer doctor tells what is in the way"
		return p
	case errors.Is(err, backup.ErrNotFound):
		p := newProblem(http.StatusNotFound, "unknown_backup", "No such backup", err.Error())
		p.Hint = "GET /v1/backups lists those that exist"
		return p
	case errors.Is(err, backup.ErrBusy):
		return newProblem(http.StatusConflict, "busy", "HANA is busy", err.Error())
	case errors.Is(err, backup.ErrNotPrimary):
		return newProblem(http.StatusUnprocessableEntity, "unprocessable", "The system cannot do this now", err.Error())
	case errors.Is(err, context.DeadlineExceeded):
		return newProblem(http.StatusGatewayTimeout, "timeout", "The answer took too long", err.Error())
	default:
		return newProblem(http.StatusInternalServerError, "internal", "The request failed", err.Error())
	}
}
