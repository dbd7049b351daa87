// Package trace shows what has ended as traces, to an OpenTelemetry collector by
// OTLP over HTTP. Nothing is measured for it: a trace is made of the times that are
// known at the end, so that what is traced costs nothing while it runs.
package trace

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	api "go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"
)

// Span is something that took time. What belongs to it are its Parts.
type Span struct {
	Name       string
	Begin, End time.Time
	// Failure says why it failed, empty when it did not.
	Failure string
	// Attributes are strings, int64 and float64.
	Attributes map[string]any
	Events     []Event
	Parts      []Span
}

// Event is a moment in a span.
type Event struct {
	At         time.Time
	Name       string
	Attributes map[string]any
}

// Tracer sends traces. It is safe for concurrent use.
type Tracer struct {
	provider *sdk.TracerProvider
	tracer   api.Tracer
	log      *zap.Logger
	// made are the spans that were given to the SDK, settled those that were sent, or
	// of which was told that they were not.
	made    atomic.Int64
	settled *atomic.Int64
}

// New prepares to send to the collector at endpoint, a URL: to the path /v1/traces of
// it (OTLP specification, "OTLP/HTTP Request") unless it has one. about describes the
// sender. It does not connect; Close ends it.
func New(ctx context.Context, endpoint string, about map[string]any, log *zap.Logger) (*Tracer, error) {
	target, err := url.Parse(endpoint)
	if err != nil {
		return nil, fmt.Errorf("tracing.endpoint: %w", err)
	}
	if strings.Trim(target.Path, "/") == "" {
		target.Path = "/v1/traces"
	}
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(target.String()))
	if err != nil {
		return nil, fmt.Errorf("tracing.endpoint: %w", err)
	}
	log = log.Named("trace")
	settled := new(atomic.Int64)
	provider := sdk.NewTracerProvider(
		sdk.WithBatcher(telling{exporter, log, settled}), sdk.WithIDGenerator(ids{}), sdk.WithSampler(sdk.AlwaysSample()),
		sdk.WithResource(resource.NewSchemaless(attributes(about)...)),
	)
	return &Tracer{
		provider: provider, tracer: provider.Tracer("github.com/pipestreamer/pipestreamer/internal/trace"), log: log, settled: settled,
	}, nil
}

// Send has a trace sent under an id, and does not wait. When too many wait already
// they are dropped, which Close tells of.
func (t *Tracer) Send(id [16]byte, root Span) {
	t.send(context.WithValue(context.Background(), traceID{}, id), root)
}

func (t *Tracer) send(ctx context.Context, s Span) {
	ctx, span := t.tracer.Start(ctx, s.Name, api.WithTimestamp(s.Begin), api.WithAttributes(attributes(s.Attributes)...))
	for _, e := range s.Events {
		span.AddEvent(e.Name, api.WithTimestamp(e.At), api.WithAttributes(attributes(e.Attributes)...))
	}
	if s.Failure != "" {
		span.SetStatus(codes.Error, s.Failure)
	}
	for _, part := range s.Parts { //nolint:gocritic // once for each job
		t.send(ctx, part)
	}
	t.made.Add(1)
	span.End(api.WithTimestamp(s.End))
}

// Close sends what waits, until ctx ends. What was lost without a word is logged.
func (t *Tracer) Close(ctx context.Context) error {
	err := t.provider.Shutdown(ctx)
	if lost := t.made.Load() - t.settled.Load(); lost > 0 {
		t.log.Warn("spans are lost: too many waited, or the collector did not take them before the end", zap.Int64("spans", lost))
	}
	return err
}

func attributes(values map[string]any) []attribute.KeyValue {
	list := make([]attribute.KeyValue, 0, len(values))
	for name, value := range values {
		switch v := value.(type) {
		case string:
			list = append(list, attribute.String(name, v))
		case int64:
			list = append(list, attribute.Int64(name, v))
		case float64:
			list = append(list, attribute.Float64(name, v))
		}
	}
	return list
}

// traceID is the key of the id in a context.
type traceID struct{}

// ids gives a trace the id of its context.
type ids struct{}

// NewIDs implements sdk.IDGenerator.
func (g ids) NewIDs(ctx context.Context) (api.TraceID, api.SpanID) {
	id, given := ctx.Value(traceID{}).([16]byte)
	if !given {
		_, _ = rand.Read(id[:]) // it never fails (crypto/rand)
	}
	return id, g.NewSpanID(ctx, id)
}

// NewSpanID implements sdk.IDGenerator.
func (ids) NewSpanID(context.Context, api.TraceID) (id api.SpanID) {
	_, _ = rand.Read(id[:]) // it never fails (crypto/rand)
	return id
}

// telling logs what could not be sent: what the SDK does with an error is global.
type telling struct {
	sdk.SpanExporter

	log     *zap.Logger
	settled *atomic.Int64
}

// ExportSpans implements sdk.SpanExporter.
func (t telling) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	defer t.settled.Add(int64(len(spans)))
	if err := t.SpanExporter.ExportSpans(ctx, spans); err != nil {
		t.log.Warn("spans were not sent to the collector", zap.Int("spans", len(spans)), zap.Error(err))
	}
	return nil
}
