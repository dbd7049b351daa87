package trace

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"google.golang.org/protobuf/proto"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// receiver is an OTLP collector.
type receiver struct {
	mu     sync.Mutex
	path   string
	spans  []*otlp.Span
	sender []string
	status int
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	text, err := io.ReadAll(request.Body)
	var got collector.ExportTraceServiceRequest
	if err != nil || proto.Unmarshal(text, &got) != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.path = request.URL.Path
	for _, resource := range got.GetResourceSpans() {
		for _, a := range resource.GetResource().GetAttributes() {
			r.sender = append(r.sender, a.GetKey()+"="+a.GetValue().GetStringValue())
		}
		for _, scope := range resource.GetScopeSpans() {
			r.spans = append(r.spans, scope.GetSpans()...)
		}
	}
	w.WriteHeader(r.status)
}

func TestSend(t *testing.T) {
	got := &receiver{status: http.StatusOK}
	server := httptest.NewServer(got)
	defer server.Close()
	tracer, err := New(t.Context(), server.URL, map[string]any{"service.name": "pipestreamer"}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Date(2026, 11, 30, 2, 0, 0, 0, time.UTC)
	id := [16]byte{1, 0xa2, 15: 0xff}
	tracer.Send(id, Span{
		Name: "backup HXE", Begin: begin, End: begin.Add(time.Minute), Failure: "upload_failed", Attributes: map[string]any{"bytes": int64(7)},
		Parts: []Span{{Name: "stream 3_1", Begin: begin.Add(time.Second), End: begin.Add(2 * time.Second), Events: []Event{{At: begin.Add(time.Second), Name: "began"}}}},
	})
	if err := tracer.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"service.name=pipestreamer"}, got.sender); diff != "" || got.path != "/v1/traces" {
		t.Errorf("sent to %s by (-want +got):\n%s", got.path, diff)
	}
	if len(got.spans) != 2 {
		t.Fatalf("%d spans", len(got.spans))
	}
	stream, root := got.spans[0], got.spans[1]
	if !bytes.Equal(stream.GetTraceId(), id[:]) || !bytes.Equal(root.GetTraceId(), id[:]) || !bytes.Equal(stream.GetParentSpanId(), root.GetSpanId()) {
		t.Errorf("the spans are not one trace: %v, %v", stream, root)
	}
	if root.GetStartTimeUnixNano() != uint64(begin.UnixNano()) || root.GetEndTimeUnixNano() != uint64(begin.Add(time.Minute).UnixNano()) {
		t.Errorf("the times are %d and %d", root.GetStartTimeUnixNano(), root.GetEndTimeUnixNano())
	}
	if root.GetStatus().GetCode() != otlp.Status_STATUS_CODE_ERROR || root.GetStatus().GetMessage() != "upload_failed" || root.GetAttributes()[0].GetValue().GetIntValue() != 7 {
		t.Errorf("the root is %v", root)
	}
	if events := stream.GetEvents(); len(events) != 1 || events[0].GetName() != "began" || stream.GetStatus().GetMessage() != "" {
		t.Errorf("the stream is %v", stream)
	}
}

// TestCollectorIsAway: sending does not wait for it, and the log says so.
func TestCollectorIsAway(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	core, logs := observer.New(zap.WarnLevel)
	tracer, err := New(t.Context(), server.URL, nil, zap.New(core))
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	for range 5000 {
		tracer.Send([16]byte{1}, Span{Name: "a", Begin: began, End: began})
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("sending took %s", took)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := tracer.Close(ctx); err != nil && ctx.Err() == nil {
		t.Error(err)
	}
	if lines := logs.All(); len(lines) == 0 || !strings.Contains(lines[0].Message, "not sent") {
		t.Errorf("the log has %v", lines)
	}
}

// TestLostAtTheEnd: a collector that does not answer takes nothing before the end,
// and the log says how much that was.
func TestLostAtTheEnd(t *testing.T) {
	hang := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hang }))
	defer server.Close()
	core, logs := observer.New(zap.WarnLevel)
	tracer, err := New(t.Context(), server.URL, nil, zap.New(core))
	if err != nil {
		t.Fatal(err)
	}
	tracer.Send([16]byte{1}, Span{Name: "a", Parts: []Span{{Name: "b"}, {Name: "c"}}})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := tracer.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Close: %v", err)
	}
	if lines := logs.FilterMessageSnippet("spans are lost").All(); len(lines) != 1 || lines[0].ContextMap()["spans"] != int64(3) {
		t.Errorf("the log has %v", logs.All())
	}
	close(hang)
}

// TestHeadersOfTheEnvironment are what docs/monitoring.md says of them.
func TestHeadersOfTheEnvironment(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-scope-orgid=hana")
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
	headers := make(chan string, 1)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { headers <- r.Header.Get("X-Scope-Orgid") }))
	defer server.Close()
	tracer, err := New(t.Context(), server.URL, nil, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	tracer.Send([16]byte{1}, Span{Name: "a"})
	if err := tracer.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := <-headers; got != "hana" {
		t.Errorf("header %q", got)
	}
}
