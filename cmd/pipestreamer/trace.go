package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/internal/job"
	"github.com/pipestreamer/pipestreamer/internal/trace"
)

// traceTimeout bounds sending the last traces.
const traceTimeout = 5 * time.Second

// startTracer prepares traces, if they are configured; nil is none. Jobs need none.
func (d *daemon) startTracer(ctx context.Context) *trace.Tracer {
	if d.cfg.Tracing.Endpoint == "" {
		return nil
	}
	about := map[string]any{"service.name": "pipestreamer", "service.version": versionText(), "sap.hana.sid": d.cfg.HANA.SID}
	tracer, err := trace.New(ctx, d.cfg.Tracing.Endpoint, about, d.log)
	if err != nil {
		d.log.Error("there are no traces until a restart", zap.Error(err))
		return nil
	}
	return tracer
}

// closeTracer sends what waits.
func closeTracer(tracer *trace.Tracer) error {
	if tracer == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), traceTimeout)
	defer cancel()
	if err := tracer.Close(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("close the tracer: %w", err)
	}
	return nil
}

// traced sends the trace of a job; its id is that of the job.
func (m *messenger) traced(r *job.Record) {
	if id, err := uuid.Parse(r.ID); err == nil && m.tracer != nil {
		m.tracer.Send(id, spanOf(r))
	}
}

// spanOf is the trace of a job: its stages, and its streams from their first event
// to their last one.
func spanOf(r *job.Record) trace.Span {
	root := trace.Span{
		Name: string(r.Action) + " " + r.Database, Begin: r.StartedAt, End: r.FinishedAt,
		Attributes: map[string]any{
			"job_id": r.ID, "action": string(r.Action), "database": r.Database, "kind": string(r.Kind), "state": string(r.State),
			"backup_id": r.BackupID, "attempt": int64(r.Attempt),
		},
	}
	if r.Error != nil {
		root.Failure = r.Error.Code + ": " + r.Error.Error()
	}
	stage := trace.Span{Name: "stage " + string(job.StagePlan), Begin: r.StartedAt}
	for _, next := range r.Stages {
		stage.End = next.At
		root.Parts = append(root.Parts, stage)
		stage = trace.Span{Name: "stage " + string(next.Stage), Begin: next.At}
	}
	if stage.End = r.FinishedAt; stage.Name != "stage "+string(job.StageDone) {
		root.Parts = append(root.Parts, stage)
	}
	for i := range r.Streams {
		if s, seen := streamSpan(r, &r.Streams[i]); seen {
			root.Parts = append(root.Parts, s)
		}
	}
	for _, e := range r.History {
		if e.Stream == "" {
			root.Events = append(root.Events, eventSpan(e))
		}
	}
	return root
}

// streamSpan is a stream, if the history knows anything of it.
func streamSpan(r *job.Record, p *job.Progress) (s trace.Span, seen bool) {
	s = trace.Span{Name: "stream " + p.String(), Attributes: map[string]any{
		"service": p.Service, "bytes": p.Bytes, "stored": p.Stored, "door": p.Door,
		"hana_seconds": p.Waits.HANASeconds, "store_seconds": p.Waits.StoreSeconds, "own_seconds": p.Waits.OwnSeconds,
	}}
	for _, e := range r.History {
		if e.Stream != p.String() {
			continue
		}
		if !seen {
			s.Begin = e.At
		}
		s.End, seen = e.At, true
		s.Events = append(s.Events, eventSpan(e))
	}
	if r.Error != nil && r.Error.Stream == p.String() {
		s.Failure = r.Error.Code
	}
	return s, seen
}

func eventSpan(e job.Event) trace.Event {
	return trace.Event{At: e.At, Name: e.Text, Attributes: map[string]any{"side": string(e.Side), "bytes": e.Bytes}}
}
