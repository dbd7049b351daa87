package httpapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"github.com/pipestreamer/pipestreamer/internal/httpapi"
	"github.com/pipestreamer/pipestreamer/internal/httpapi/apitest"
	"github.com/pipestreamer/pipestreamer/internal/job"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// api is a server in front of jobs that a test moves.
type api struct {
	jobs     *apitest.Jobs
	server   *httpapi.Server
	registry *prometheus.Registry
	document *openapi3.T
	router   routers.Router
}

func newAPI(t *testing.T) *api {
	t.Helper()
	document, err := openapi3.NewLoader().LoadFromFile("../../docs/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	router, err := legacy.NewRouter(document)
	if err != nil {
		t.Fatal(err)
	}
	a := &api{jobs: new(apitest.Jobs), registry: prometheus.NewRegistry(), document: document, router: router}
	a.server = httpapi.New(a.jobs, httpapi.Options{Heartbeat: 20 * time.Millisecond, BodyTimeout: 200 * time.Millisecond}, zaptest.NewLogger(t), httpapi.NewMetrics(a.registry))
	return a
}

// newServer is a server with a log that a test reads.
func newServer(t *testing.T, jobs *apitest.Jobs, log *zap.Logger) *httpapi.Server {
	t.Helper()
	return httpapi.New(jobs, httpapi.Options{BodyTimeout: 200 * time.Millisecond}, log, httpapi.NewMetrics(prometheus.NewRegistry()))
}

// answer is a response with its whole body.
type answer struct {
	StatusCode int
	Header     http.Header
	Text       string
}

// do sends one request over a real connection and checks that the document
// describes the response.
func (a *api) do(t *testing.T, handler http.Handler, request *http.Request) answer {
	t.Helper()
	server := httptest.NewServer(handler)
	defer server.Close()
	address, err := request.URL.Parse(server.URL + request.URL.RequestURI())
	if err != nil {
		t.Fatal(err)
	}
	request.URL, request.RequestURI = address, ""
	response, err := server.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	if err := errors.Join(err, response.Body.Close()); err != nil {
		t.Fatal(err)
	}
	got := answer{response.StatusCode, response.Header, string(body)}
	a.checkDocumented(t, request, got)
	return got
}

func (a *api) checkDocumented(t *testing.T, request *http.Request, response answer) {
	t.Helper()
	plain := request.Clone(t.Context())
	plain.URL.Scheme, plain.URL.Host, plain.Host = "", "", ""
	route, parameters, err := a.router.FindRoute(plain)
	if err != nil {
		if response.StatusCode != http.StatusNotFound && response.StatusCode != http.StatusMethodNotAllowed && response.StatusCode != http.StatusUnauthorized && response.StatusCode != http.StatusForbidden {
			t.Errorf("%s %s: %d, and the document does not know the route: %v", request.Method, request.URL.Path, response.StatusCode, err)
		}
		return
	}
	input := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: plain, PathParams: parameters, Route: route},
		Status:                 response.StatusCode, Header: response.Header,
		Options: &openapi3filter.Options{IncludeResponseStatus: true, ExcludeResponseBody: response.Header.Get("Content-Type") == "text/event-stream"},
	}
	input.SetBodyBytes([]byte(response.Text))
	if err := openapi3filter.ValidateResponse(t.Context(), input); err != nil {
		t.Errorf("%s %s: the response is not as documented: %v", request.Method, request.URL.Path, err)
	}
}

func newRequest(t *testing.T, method, path, body string, header ...string) *http.Request {
	t.Helper()
	request := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
	if method == http.MethodPost || method == http.MethodPut {
		request.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		request.Header.Add(header[i], header[i+1])
	}
	return request
}

func decode[T any](t *testing.T, response answer) T {
	t.Helper()
	var value T
	if err := json.Unmarshal([]byte(response.Text), &value); err != nil {
		t.Fatal(err)
	}
	return value
}

func closeAll(t *testing.T, closers ...io.Closer) {
	t.Helper()
	for _, c := range closers {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}

func testManifest(database string, id int64) *backup.Manifest {
	sum := strings.Repeat("ab", 32)
	key := backup.StreamKey("HXE", database, "P", backup.StreamID{VolumeID: 3, PartID: 1})
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return &backup.Manifest{
		Version: backup.ManifestVersion, Tool: "pipestreamer test", JobID: "j", SID: "HXE", Database: database, Kind: backup.KindComplete,
		BackupID: id, Directory: "/backup", Prefix: "P", HANAVersion: "2.00", StartedAt: at, FinishedAt: at,
		Streams: []backup.ManifestStream{{
			StreamID: backup.StreamID{VolumeID: 3, PartID: 1}, Service: "indexserver", Host: "h", Path: "/backup/P_databackup_3_1", Size: 7, SHA256: sum,
			Objects: []backup.Object{{Key: key, Size: 7, SHA256: sum, Parts: []backup.Part{{Size: 7, SHA256: sum}}}},
		}},
		Catalog: backup.CatalogEntry{BackupID: id, EntryType: "complete data backup", State: backup.CatalogSuccessful, Files: []backup.CatalogFile{}},
	}
}

// testProbe is a report with every field.
func testProbe() *job.ProbeReport {
	size := int64(7)
	return &job.ProbeReport{
		MaxSize: 8, HANAVersion: "2.00", Recommendation: job.DoorSpool, Reason: "because",
		Attempts: []job.ProbeAttempt{
			{Door: job.DoorAuto, State: job.StateFailed, Error: "refused", NamesUnseen: "no inotify", Streams: []job.ProbeStream{}},
			{Door: job.DoorSpool, State: job.StateSucceeded, BackupID: 1700000000000, FirstByteSeconds: 1, AnswerSeconds: 2, TotalSeconds: 3, Streams: []job.ProbeStream{{
				StreamID: backup.StreamID{VolumeID: 3, PartID: 1}, Service: "indexserver", Extra: true, Opened: job.NameHidden, Renamed: true, Door: backup.DoorSpool,
				Opens: 1, EmptyOpens: 1, DirectOpens: 1, Bypass: "a file", Bytes: 7, CatalogBytes: &size, Header: "other", DatabaseUUID: "u",
			}}},
		},
	}
}

func TestDocumentAndRouterAgree(t *testing.T) {
	a := newAPI(t)
	if err := a.document.Validate(t.Context()); err != nil {
		t.Fatalf("docs/openapi.yaml: %v", err)
	}
	var documented []string
	for path, item := range a.document.Paths.Map() {
		for method := range item.Operations() {
			documented = append(documented, method+" "+path)
		}
	}
	slices.Sort(documented)
	if diff := cmp.Diff(httpapi.Patterns(a.server), documented); diff != "" {
		t.Errorf("routes (-served +documented):\n%s", diff)
	}
}

func TestJobs(t *testing.T) {
	a := newAPI(t)
	a.jobs.SetBackups(nil, testManifest("HXE", 1700000000001), testManifest("HXE", 1700000000000), testManifest("SYSTEMDB", 1700000000002))
	steps := []struct {
		name, method, path, body string
		header                   []string
		status                   int
		before                   func()
		want                     string
	}{
		{name: "no jobs yet", method: "GET", path: "/v1/jobs", status: 200, want: `{"jobs":[]}`},
		{name: "backup", method: "POST", path: "/v1/backups", body: `{"database":"hxe","kind":"complete"}`, header: []string{"Idempotency-Key", "k1"}, status: 202, want: `"job_id":"job-1"`},
		{name: "same key, same request", method: "POST", path: "/v1/backups", body: `{"kind":"complete","database":"hxe"}`, header: []string{"Idempotency-Key", "k1"}, status: 202, want: `"job_id":"job-1"`},
		{name: "same key, other request", method: "POST", path: "/v1/backups", body: `{"database":"SYSTEMDB"}`, header: []string{"Idempotency-Key", "k1"}, status: 409, want: "idempotency_conflict"},
		{name: "busy", method: "POST", path: "/v1/backups", body: `{"database":"HXE"}`, status: 409, want: `"job_id":"job-1"`},
		{name: "field", method: "POST", path: "/v1/backups", body: `{"database":"a'b"}`, status: 400, want: `"field":"database"`},
		{name: "show", method: "GET", path: "/v1/jobs/job-1", status: 200, want: `"state":"running"`},
		{name: "show unknown", method: "GET", path: "/v1/jobs/nope", status: 404, want: "unknown_job"},
		{name: "cancel", method: "DELETE", path: "/v1/jobs/job-1", status: 202, want: `"state":"canceled"`},
		{name: "cancel again", method: "DELETE", path: "/v1/jobs/job-1", status: 409, want: "finished"},
		{name: "cancel unknown", method: "DELETE", path: "/v1/jobs/nope", status: 404, want: "unknown_job"},
		{name: "restore", method: "POST", path: "/v1/restores", body: `{"database":"HXE","backup":"latest"}`, status: 202, want: `"action":"restore"`},
		{name: "restore of nothing", method: "POST", path: "/v1/restores", body: `{"database":"HXE","backup":"1"}`, status: 404, want: "unknown_backup"},
		{name: "verification", method: "POST", path: "/v1/verifications", body: `{"database":"SYSTEMDB","backup":"1700000000002","sample":2}`, status: 202, want: `"action":"verification"`},
		{name: "list jobs, newest first", method: "GET", path: "/v1/jobs", status: 200, want: `{"jobs":[{"job_id":"job-3"`},
		{name: "probe", method: "POST", path: "/v1/probes", body: `{"database":"PROBED","max_size":7}`, status: 202, want: `"probe":{"max_size":7}`},
		{name: "probe of a busy database", method: "POST", path: "/v1/probes", body: `{"database":"PROBED"}`, status: 409, want: `"job_id":"job-4"`},
		{name: "probe, wrong type", method: "POST", path: "/v1/probes", body: `{"database":"PROBED","max_size":"7"}`, status: 400, want: `"field":"max_size"`},
		{
			name: "probe that has ended", method: "GET", path: "/v1/jobs/job-4", status: 200, want: `"recommendation":"spool"`,
			before: func() { a.jobs.Change("job-4", func(r *job.Record) { r.Probe = testProbe() }) },
		},
		{name: "list backups", method: "GET", path: "/v1/backups?database=HXE", status: 200, want: `{"backups":[{"backup_id":1700000000001,"sid":"HXE","database":"HXE","kind":"complete","prefix":"P","job_id":"j","started_at":"2026-01-02T03:04:05Z","finished_at":"2026-01-02T03:04:05Z","streams":1,"bytes":7},`},
		{name: "list backups of none", method: "GET", path: "/v1/backups?database=NONE", status: 200, want: `{"backups":[]}`},
		{
			name: "list with what cannot be read", method: "GET", path: "/v1/backups?database=NONE", status: 200,
			before: func() {
				a.jobs.SetUnreadable(job.UnreadableManifest{Database: "NONE", Key: "HXE/NONE/manifests/1.json", Error: "cut short"})
			},
			want: `{"backups":[],"unreadable":[{"database":"NONE","key":"HXE/NONE/manifests/1.json","error":"cut short"}]}`,
		},
		{name: "list with a bad name", method: "GET", path: "/v1/backups?database=%27", status: 400, want: `"field":"database"`},
		{name: "show backup", method: "GET", path: "/v1/backups/latest?database=SYSTEMDB", status: 200, want: `"backup_id":1700000000002`},
		{name: "show backup without a database", method: "GET", path: "/v1/backups/latest", status: 400, want: `"field":"database"`},
		{name: "store fails", method: "GET", path: "/v1/backups", before: func() { a.jobs.SetBackups(io.ErrUnexpectedEOF) }, status: 500, want: "unexpected EOF"},
		{name: "store is slow", method: "GET", path: "/v1/backups", before: func() { a.jobs.SetBackups(context.DeadlineExceeded) }, status: 504, want: "timeout"},
		{name: "not the primary", method: "POST", path: "/v1/restores", body: `{"database":"HXE","backup":"latest"}`, before: func() { a.jobs.SetBackups(backup.ErrNotPrimary) }, status: 422, want: "unprocessable"},
		{name: "to be lost", method: "POST", path: "/v1/backups", body: `{"database":"LOSER"}`, status: 202, want: `"job_id":"job-5"`},
		{name: "delta of a lost base", method: "POST", path: "/v1/backups", body: `{"database":"LOSER","kind":"differential"}`, before: func() { a.jobs.Finish("job-5", job.StateLost) }, status: 409, want: "base_lost"},
		{name: "draining", method: "POST", path: "/v1/backups", body: `{"database":"NEW"}`, before: a.jobs.Drain, status: 503, want: "draining"},
		{name: "unknown path", method: "GET", path: "/v2/jobs", status: 404, want: "unknown_path"},
		{name: "wrong method", method: "PUT", path: "/v1/jobs/job-1", status: 405, want: "DELETE, GET, HEAD"},
		{name: "nothing of the default mux", method: "GET", path: "/debug/pprof/cmdline", status: 404, want: "unknown_path"},
	}
	for _, step := range steps {
		t.Run(step.name, func(t *testing.T) {
			if step.before != nil {
				step.before()
			}
			response := a.do(t, a.server.Handler(apitest.Operator), newRequest(t, step.method, step.path, step.body, step.header...))
			if response.StatusCode != step.status || !strings.Contains(response.Text, step.want) {
				t.Errorf("%d %s\nexpected %d with %s", response.StatusCode, response.Text, step.status, step.want)
			}
			if wantType := map[bool]string{true: "application/json", false: "application/problem+json"}[step.status < 300]; response.Header.Get("Content-Type") != wantType {
				t.Errorf("Content-Type %q, expected %q", response.Header.Get("Content-Type"), wantType)
			}
		})
	}
}

func TestHostileRequests(t *testing.T) {
	a := newAPI(t)
	tests := []struct {
		name, body string
		header     []string
		status     int
		field      string
		detail     string
	}{
		{name: "empty", status: 400, detail: "expected a JSON object"},
		{name: "not an object", body: `[1]`, status: 400, detail: "expected a JSON object"},
		{name: "cut off", body: `{"database":"HXE"`, status: 400, detail: "expected '}'"},
		{name: "text after it", body: `{"database":"HXE"} {}`, status: 400, detail: "nothing after"},
		{name: "unknown field", body: `{"database":"HXE","force":true}`, status: 400, field: "force", detail: "known are database, kind, prefix"},
		{name: "other spelling", body: `{"Database":"HXE"}`, status: 400, field: "Database", detail: "unknown field"},
		{name: "twice", body: `{"database":"HXE","database":"SYSTEMDB"}`, status: 400, field: "database", detail: "stands twice"},
		{name: "twice, escaped", body: `{"database":"HXE","\u0064atabase":"SYSTEMDB"}`, status: 400, field: "database", detail: "stands twice"},
		{name: "null", body: `{"database":null}`, status: 400, field: "database", detail: "not null"},
		{name: "wrong type", body: `{"database":7}`, status: 400, field: "database", detail: "expected a string, got a number"},
		{name: "deep nesting", body: `{"database":` + strings.Repeat("[", 20000), status: 400, field: "database", detail: "not JSON"},
		{name: "missing", body: `{}`, status: 400, field: "database"},
		{name: "SQL", body: `{"database":"HXE') ; DROP USER SYSTEM --"}`, status: 400, field: "database"},
		{name: "NUL", body: `{"database":"HXE\u0000"}`, status: 400, field: "database"},
		{name: "path", body: `{"database":"../../etc"}`, status: 400, field: "database"},
		{name: "oversized", body: `{"database":"` + strings.Repeat("x", 64<<10) + `"}`, status: 413},
		{name: "form", body: "database=HXE", header: []string{"Content-Type", "application/x-www-form-urlencoded"}, status: 415},
		{name: "no type", body: "{}", header: []string{"Content-Type", ""}, status: 415},
		{name: "type with charset", body: "{}", header: []string{"Content-Type", "application/json; charset=utf-8"}, status: 400, field: "database"},
		{name: "long key", body: "{}", header: []string{"Idempotency-Key", strings.Repeat("k", 129)}, status: 400, field: "Idempotency-Key"},
		{name: "key not ASCII", body: "{}", header: []string{"Idempotency-Key", "ü"}, status: 400, field: "Idempotency-Key"},
		{name: "empty key", body: "{}", header: []string{"Idempotency-Key", ""}, status: 400, field: "Idempotency-Key"},
		{name: "two keys", body: "{}", header: []string{"Idempotency-Key", "a", "Idempotency-Key", "b"}, status: 400, field: "Idempotency-Key"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			request := newRequest(t, "POST", "/v1/backups", test.body)
			if len(test.header) > 0 && test.header[0] == "Content-Type" {
				request.Header.Del("Content-Type")
			}
			for i := 0; i < len(test.header); i += 2 {
				request.Header.Add(test.header[i], test.header[i+1])
			}
			response := a.do(t, a.server.Handler(apitest.Operator), request)
			p := decode[httpapi.Problem](t, response)
			if response.StatusCode != test.status || p.Status != test.status || p.Field != test.field || !strings.Contains(p.Detail, test.detail) {
				t.Errorf("%d %+v\nexpected %d, field %q, detail %q", response.StatusCode, p, test.status, test.field, test.detail)
			}
		})
	}
	if jobs := a.jobs.Jobs(); len(jobs) != 0 {
		t.Errorf("jobs were started: %v", jobs)
	}
}

func TestConcurrentPostsStartOneJob(t *testing.T) {
	a := newAPI(t)
	server := httptest.NewServer(a.server.Handler(apitest.Operator))
	defer server.Close()
	const posts = 20
	statuses := make(chan int, posts)
	for range posts {
		go func() {
			response, err := http.Post(server.URL+"/v1/backups", "application/json", strings.NewReader(`{"database":"HXE"}`))
			if err != nil {
				t.Error(err)
				statuses <- 0
				return
			}
			statuses <- response.StatusCode
			if err := response.Body.Close(); err != nil {
				t.Error(err)
			}
		}()
	}
	counts := map[int]int{}
	for range posts {
		counts[<-statuses]++
	}
	http.DefaultClient.CloseIdleConnections()
	if diff := cmp.Diff(map[int]int{202: 1, 409: posts - 1}, counts); diff != "" {
		t.Errorf("statuses (-want +got):\n%s", diff)
	}
}

type quietJobs = httpapi.Jobs

type panicking struct{ quietJobs }

func (panicking) Jobs() []job.Record { panic("nil map") }

func TestPanicIsToldAndCounted(t *testing.T) {
	a := newAPI(t)
	registry := prometheus.NewRegistry()
	a.server = httpapi.New(panicking{a.jobs}, httpapi.Options{}, zaptest.NewLogger(t), httpapi.NewMetrics(registry))
	response := a.do(t, a.server.Handler(apitest.Operator), newRequest(t, "GET", "/v1/jobs", ""))
	if p := decode[httpapi.Problem](t, response); response.StatusCode != http.StatusInternalServerError || strings.Contains(p.Detail, "nil map") {
		t.Errorf("%d %+v", response.StatusCode, p)
	}
	if got := gathered(t, registry, "pipestreamer_http_panics_total"); got != 1 {
		t.Errorf("pipestreamer_http_panics_total = %v, expected 1", got)
	}
}

func gathered(t *testing.T, gatherer prometheus.Gatherer, name string) (sum float64) {
	t.Helper()
	families, err := gatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			if family.GetName() == name {
				sum += metric.GetCounter().GetValue()
			}
		}
	}
	return sum
}

func TestSlowBodyIsCutOff(t *testing.T) {
	a := newAPI(t)
	server := httptest.NewServer(a.server.Handler(apitest.Operator))
	defer server.Close()
	connection, err := new(net.Dialer).DialContext(t.Context(), "tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeAll(t, connection) })
	if _, err := io.WriteString(connection, "POST /v1/backups HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"); err != nil {
		t.Fatal(err)
	}
	if err := connection.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(connection)
	if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 400") {
		t.Errorf("answer %q, %v; expected 400 and the end of the connection", answer, err)
	}
}

// patient takes longer to accept a job than a body may take to arrive.
type patient struct {
	quietJobs
	wait time.Duration
}

func (p patient) StartBackup(ctx context.Context, r job.BackupRequest, key string) (job.Record, error) {
	timer := time.NewTimer(p.wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return job.Record{}, context.Cause(ctx)
	case <-timer.C:
		return p.quietJobs.StartBackup(ctx, r, key)
	}
}

func TestBodyTimeoutIsForTheBodyOnly(t *testing.T) {
	a := newAPI(t)
	server := httpapi.New(patient{a.jobs, 150 * time.Millisecond}, httpapi.Options{BodyTimeout: 50 * time.Millisecond}, zaptest.NewLogger(t), httpapi.NewMetrics(prometheus.NewRegistry()))
	if got := a.do(t, server.Handler(apitest.Operator), newRequest(t, "POST", "/v1/backups", `{"database":"HXE"}`)); got.StatusCode != http.StatusAccepted {
		t.Errorf("%d %s", got.StatusCode, got.Text)
	}
}
