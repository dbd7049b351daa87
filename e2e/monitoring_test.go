package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"go.yaml.in/yaml/v3"

	"github.com/pipestreamer/pipestreamer/internal/job"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// emptyPanels are the expressions of the dashboard that give nothing in the world
// of TestMonitoring, each by a piece of it, and why that is right.
func emptyPanels() map[string]string {
	return map[string]string{
		"pipestreamer_job_stalled_streams":                          "there only while a backup streams",
		"pipestreamer_logs_oldest_waiting_timestamp_seconds":        "there only while a log backup waits",
		"pipestreamer_logs_space_seconds_left":                      "there only when HANA has written log backups for a while",
		"pipestreamer_store_limit_bytes_per_second":                 "no limit is set, and 0 is not shown",
		"pipestreamer_http_certificate_not_after_timestamp_seconds": "there only with TLS",
		"pipestreamer_build_info{pod=\"\"}":                         "there only without pods",
		"pipestreamer_store_retries_total":                          "the store never failed",
		"pipestreamer_spool_read_bytes_total{content=\"data\"}":     "no data came through files",
	}
}

// unseenMetrics are described and not served in that world.
func unseenMetrics() map[string]string {
	unseen := emptyPanels()
	delete(unseen, "pipestreamer_store_limit_bytes_per_second")
	return unseen
}

// TestMonitoring lets a real Prometheus scrape the daemon through a backup, a
// verification, a restore and a backup that fails, then asks it everything that the
// dashboard and the alerts ask.
func TestMonitoring(t *testing.T) {
	t.Parallel()
	requireProgram(t, "prometheus")
	hook := startHook(t)
	address := filepath.Join(directory(t), "url")
	if err := os.WriteFile(address, []byte(hook.URL+"/path-canary\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	traces := startCollector(t)
	p := newPast(t, openS3(t), map[string]any{
		"compression": "fastest", "tracing": map[string]any{"endpoint": traces.URL}, "notify": map[string]any{"urlFile": address, "on": "job.failed,job.recovered"},
	})
	server := startPrometheus(t, p.metrics)
	server.await("the daemon is scraped", "pipestreamer_build_info")

	good := p.backUpKind(backup.KindComplete)
	p.live(2)
	p.awaitShipped()
	verified := p.run("verify", "--database", "HXE", "--backup", "latest").expect(t, 0).record(t)
	restored := p.run("restore", "--database", "HXE", "--backup", "latest").expect(t, 0).record(t)
	p.hana.set("fail", "refuse")
	bad := p.run("backup", "--database", "HXE").expect(t, 1).record(t)
	hook.await(t, "job.failed", bad.ID)
	for _, span := range []string{"backup HXE", "restore HXE", "stage commit", "stream 2_1", "began to write"} {
		traces.await(t, span)
	}
	server.await("the failure is seen", `pipestreamer_job_last_failed{action="backup"} == 1`)
	server.await("its alert fires", `ALERTS{alertname="PipestreamerBackupFailed",alertstate="firing",database="HXE"}`)
	server.askDashboard()
	server.askAlerts()
	p.expectMetrics(good, verified, restored, bad)
	p.expectOneLine(good, verified, restored, bad)

	again := p.run("backup", "--database", "HXE").expect(t, 0).record(t)
	hook.await(t, "job.recovered", again.ID)
	server.await("the alert ends", `absent(ALERTS{alertname="PipestreamerBackupFailed",alertstate="firing"})`)
	if text := p.log.String(); strings.Contains(text, "canary") {
		t.Error("the log shows the address of the webhook")
	}
	p.stopDaemon()

	p.startDaemon()
	_, text, err := p.get("/metrics")
	if err != nil {
		t.Fatal(err)
	}
	for _, series := range []string{
		`last_success_timestamp_seconds{action="backup",database="HXE",kind="complete"} `,
		`last_proof_timestamp_seconds{action="restore",database="HXE"} `, `last_failed{action="backup",database="HXE"} 0`,
	} {
		if !strings.Contains(text, "pipestreamer_job_"+series) {
			t.Errorf("after a restart there is no %s", series)
		}
	}
	p.stopDaemon()
}

// expectMetrics lints what the daemon serves, compares it with docs/monitoring.md
// and looks for what no label may hold.
func (w *world) expectMetrics(records ...job.Record) {
	w.t.Helper()
	_, text, err := w.get("/metrics")
	if err != nil {
		w.t.Fatal(err)
	}
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, p := range problems {
		w.t.Errorf("%s: %s", p.Metric, p.Text)
	}
	for i := range records {
		r := &records[i]
		for _, secret := range []string{r.ID, r.Prefix, strconv.FormatInt(r.BackupID, 10), r.Manifest} {
			if secret != "" && secret != "0" && strings.Contains(text, secret) {
				w.t.Errorf("the metrics show %s", secret)
			}
		}
	}
	document, err := os.ReadFile("../docs/monitoring.md")
	if err != nil {
		w.t.Fatal(err)
	}
	var described, served []string
	for _, row := range regexp.MustCompile("(?m)^\\| `(pipestreamer_[a-z_]+)` \\|").FindAllStringSubmatch(string(document), -1) {
		if unseenMetrics()[row[1]] == "" {
			described = append(described, row[1])
		}
	}
	for _, row := range regexp.MustCompile(`(?m)^# TYPE (pipestreamer_[a-z_]+) `).FindAllStringSubmatch(text, -1) {
		if unseenMetrics()[row[1]] == "" {
			served = append(served, row[1])
		}
	}
	slices.Sort(served)
	if diff := gocmp.Diff(described, served); diff != "" {
		w.t.Errorf("metrics (-described +served):\n%s", diff)
	}
}

// expectOneLine counts what jobs leave in the log when nothing else goes wrong.
func (w *world) expectOneLine(records ...job.Record) {
	w.t.Helper()
	lines := make(map[string][]string)
	for text := range strings.Lines(w.log.String()) {
		var line struct {
			Level  string `json:"level"`
			Logger string `json:"logger"`
			JobID  string `json:"job_id"`
		}
		// Who has asked for it is told in the audit log.
		if json.Unmarshal([]byte(text), &line) == nil && line.JobID != "" && line.Logger != "audit" {
			lines[line.JobID] = append(lines[line.JobID], line.Level)
		}
	}
	for i := range records {
		r := &records[i]
		want := []string{"info"}
		if r.State != job.StateSucceeded {
			want = []string{"error"}
		}
		if diff := gocmp.Diff(want, lines[r.ID]); diff != "" {
			w.t.Errorf("lines of a %s that %s (-want +got):\n%s", r.Action, r.State, diff)
		}
	}
}

// hook is a webhook.
type hook struct {
	*httptest.Server

	mu    sync.Mutex
	types map[string]string // by job id
}

func startHook(t *testing.T) *hook {
	t.Helper()
	h := &hook{types: make(map[string]string)}
	h.Server = httptest.NewServer(h)
	t.Cleanup(h.Close)
	return h
}

func (h *hook) ServeHTTP(to http.ResponseWriter, r *http.Request) {
	var event struct {
		Type string
		Data struct {
			JobID string `json:"job_id"`
		}
	}
	if json.NewDecoder(r.Body).Decode(&event) != nil {
		to.WriteHeader(http.StatusBadRequest)
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.types[event.Data.JobID] = event.Type
}

func (h *hook) await(t *testing.T, name, id string) {
	t.Helper()
	eventually(t, name+" is told", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.types[id] == name
	})
}

// collector is an OpenTelemetry collector. Texts stand in protocol buffers as they
// are, so they are not decoded.
type collector struct {
	*httptest.Server

	mu  sync.Mutex
	got []byte
}

func startCollector(t *testing.T) *collector {
	t.Helper()
	c := new(collector)
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.URL.Path != "/v1/traces" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.got = append(c.got, body...)
	}))
	t.Cleanup(c.Close)
	return c
}

func (c *collector) await(t *testing.T, text string) {
	t.Helper()
	eventually(t, text+" is traced", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return bytes.Contains(c.got, []byte(text))
	})
}

// monitor is a Prometheus with our alerts.
type monitor struct {
	t   *testing.T
	url string
}

// startPrometheus scrapes target each second, as from a pod.
func startPrometheus(t *testing.T, target string) *monitor {
	t.Helper()
	dir := directory(t)
	rules, err := filepath.Abs("../deploy/monitoring/rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	settings, err := yaml.Marshal(map[string]any{
		"global":     map[string]any{"scrape_interval": "1s", "evaluation_interval": "1s"},
		"rule_files": []string{rules},
		"scrape_configs": []any{map[string]any{
			"job_name": "pipestreamer",
			"static_configs": []any{map[string]any{
				"targets": []string{target}, "labels": map[string]string{"namespace": "hana", "pod": "hana-0"},
			}},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "prometheus.yaml")
	if err := os.WriteFile(config, settings, 0o600); err != nil {
		t.Fatal(err)
	}
	var log tail
	log.showOnFailure(t, "prometheus")
	for range 5 {
		address := freeAddress(t)
		m := &monitor{t: t, url: "http://" + address}
		process := startProcess(t, "prometheus", &log, nil, "prometheus", "--config.file="+config,
			"--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+address)
		if process.awaitStart(func() bool { _, err := m.ask("vector(1)"); return err == nil }) {
			return m
		}
	}
	t.Fatal("prometheus does not start")
	return nil
}

// ask evaluates an expression now and says how many series come out.
func (m *monitor) ask(expr string) (series int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, m.url+"/api/v1/query?"+url.Values{"query": {expr}}.Encode(), http.NoBody)
	if err != nil {
		return 0, err
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return 0, err
	}
	text, err := io.ReadAll(response.Body)
	_ = response.Body.Close() // it was read
	if err != nil {
		return 0, err
	}
	var answer struct {
		Status, Error string
		Data          struct{ Result []any }
	}
	if err := json.Unmarshal(text, &answer); err != nil || answer.Status != "success" {
		return 0, fmt.Errorf("%s: %s %w", expr, text, err)
	}
	return len(answer.Data.Result), nil
}

func (m *monitor) await(what, expr string) {
	m.t.Helper()
	eventually(m.t, what+": "+expr, func() bool {
		n, err := m.ask(expr)
		return err == nil && n > 0
	})
}

// expect asks expr until it gives something, unless it may give nothing.
func (m *monitor) expect(where, expr string) {
	m.t.Helper()
	for piece := range emptyPanels() {
		if strings.Contains(expr, piece) {
			if _, err := m.ask(expr); err != nil {
				m.t.Errorf("%s: %v", where, err)
			}
			return
		}
	}
	n, err := m.ask(expr)
	for deadline := time.Now().Add(20 * time.Second); err == nil && n == 0 && time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		n, err = m.ask(expr) // a second scrape may be missing
	}
	if err != nil || n == 0 {
		m.t.Errorf("%s: %s gives %d series, %v", where, expr, n, err)
	}
}

// askDashboard asks what every panel does.
func (m *monitor) askDashboard() {
	m.t.Helper()
	text, err := os.ReadFile("../deploy/monitoring/dashboard.json")
	if err != nil {
		m.t.Fatal(err)
	}
	board := decode[struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}](m.t, string(text))
	asked := 0
	for _, panel := range board.Panels {
		for _, target := range panel.Targets {
			expr := strings.NewReplacer("$__rate_interval", "2m", "$database", "HXE", "$instance", ".*").Replace(target.Expr)
			m.expect(panel.Title, expr)
			asked++
		}
	}
	if asked < 50 {
		m.t.Errorf("%d expressions, expected all of them", asked)
	}
}

// selector is a metric with its labels.
var selector = regexp.MustCompile(`\b(?:pipestreamer|process)_[a-z_]+(?:\{[^}]*\})?`)

// askAlerts evaluates every alert, which gives nothing when all is well, and every
// selector in it, which has to give something: a label that does not exist keeps an
// alert silent for ever.
func (m *monitor) askAlerts() {
	m.t.Helper()
	text, err := os.ReadFile("../deploy/monitoring/rules.yaml")
	if err != nil {
		m.t.Fatal(err)
	}
	var rules struct {
		Groups []struct {
			Rules []struct{ Alert, Expr string }
		}
	}
	if err := yaml.Unmarshal(text, &rules); err != nil {
		m.t.Fatal(err)
	}
	asked := 0
	for _, group := range rules.Groups {
		for _, rule := range group.Rules {
			if _, err := m.ask(rule.Expr); err != nil {
				m.t.Errorf("%s: %v", rule.Alert, err)
			}
			for _, piece := range selector.FindAllString(rule.Expr, -1) {
				m.expect(rule.Alert, piece)
			}
			asked++
		}
	}
	if asked < 30 {
		m.t.Errorf("%d alerts, expected all of them", asked)
	}
}
