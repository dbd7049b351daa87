package main

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/pipestreamer/pipestreamer/internal/access"
	"github.com/pipestreamer/pipestreamer/internal/access/accesstest"
	"github.com/pipestreamer/pipestreamer/internal/config"
	"github.com/pipestreamer/pipestreamer/internal/httpapi"
	"github.com/pipestreamer/pipestreamer/internal/httpapi/apitest"
	"github.com/pipestreamer/pipestreamer/internal/job"
)

const (
	nightlyCanary = "nightly-token-canary"
	watcherCanary = "watcher-token-canary"
)

// silentHANA takes connections and never says a word; it ends with the test.
func silentHANA(t *testing.T) (port int) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	wait.Go(func() {
		var held []net.Conn
		for {
			conn, err := listener.Accept()
			if err != nil {
				break
			}
			held = append(held, conn)
		}
		for _, conn := range held {
			_ = conn.Close()
		}
	})
	t.Cleanup(func() { _ = listener.Close(); wait.Wait() })
	return listener.Addr().(*net.TCPAddr).Port
}

// guard replaces what the machine's configuration says about http and HANA.
func (m *machine) guard(t *testing.T, port int, http string) {
	t.Helper()
	m.write(t, "c.yaml", fmt.Sprintf(`
hana: {sid: HXE, host: 127.0.0.1, port: %[2]d, user: U, passwordFile: %[1]s/pw}
backupDirectory: %[1]s/backup
stateDirectory: %[1]s/state
http: {listen: '127.0.0.1:0', %[3]s}
metrics: {listen: '127.0.0.1:0'}
store: {type: local, root: %[1]s/store}
shutdownGrace: 1s
`, m.dir, port, http))
}

// TestServeOverTLS runs the daemon as a CronJob meets it: TLS, a token for each
// caller, client certificates, service accounts.
func TestServeOverTLS(t *testing.T) {
	m := newMachine(t)
	authority := accesstest.NewAuthority(t)
	k := accesstest.NewKubernetes(t, authority)
	server, ops := authority.Issue(t, "hana", nil), authority.Issue(t, "ops.example.com", nil)
	m.write(t, "nightly", nightlyCanary+"\n")
	m.write(t, "watcher", watcherCanary+"\n")
	m.write(t, "own", k.OwnToken+"\n")
	m.guard(t, 1, fmt.Sprintf(`tokens: {nightly: %[1]s/nightly, watcher: %[1]s/watcher},
  tls: {certFile: %[2]s, keyFile: %[3]s, clientCAFile: %[4]s}, tokenReview: {audience: pipestreamer, url: '%[5]s', caFile: %[4]s, tokenFile: %[1]s/own},
  operators: ['certificate:ops.example.com'], triggers: ['token:nightly', 'serviceaccount:backup/cron'], readers: ['token:watcher']`,
		m.dir, server.CertFile, server.KeyFile, authority.File, k.URL))
	m.write(t, "cron", accesstest.ServiceAccountToken("backup", "cron", "pipestreamer", time.Hour))
	m.write(t, "elsewhere", accesstest.ServiceAccountToken("backup", "cron", "vault", time.Hour))
	log, stop := m.serve(t)
	ca, of := []string{"--ca-file", authority.File}, func(name string) []string { return []string{"--token-file", filepath.Join(m.dir, name)} }
	certificate := []string{"--cert-file", ops.CertFile, "--key-file", ops.KeyFile}
	backup, list, limit := []string{"backup", "--database", "HXE", "--detach"}, []string{"list", "--jobs"}, []string{"bandwidth", "20MiB/s"}
	var shown strings.Builder
	tests := []struct {
		name   string
		verb   []string
		flags  [][]string
		status int
		stderr string
	}{
		{"a trigger starts a backup", backup, [][]string{ca, of("nightly")}, 0, ""},
		{"a trigger looks", list, [][]string{ca, of("nightly")}, 0, ""},
		{"a trigger sets no limit", limit, [][]string{ca, of("nightly")}, 1, "token:nightly has the role trigger; this needs the role operator"},
		{"a reader looks", list, [][]string{ca, of("watcher")}, 0, ""},
		{"a reader starts nothing", backup, [][]string{ca, of("watcher")}, 1, "token:watcher has the role reader; this needs the role trigger"},
		{"a certificate sets a limit", limit, [][]string{ca, certificate}, 0, ""},
		{"a service account looks", list, [][]string{ca, of("cron")}, 0, ""},
		{"a service account sets no limit", limit, [][]string{ca, of("cron")}, 1, "serviceaccount:backup/cron has the role trigger"},
		{"a service account with a token for something else", list, [][]string{ca, of("elsewhere")}, 1, "expected Authorization: Bearer with a token that is known here"},
		{"nobody", list, [][]string{ca}, 1, "expected credentials"},
		{"a daemon that cannot be trusted", list, [][]string{of("nightly")}, 1, "certificate signed by unknown authority\n  what to do: the daemon answers: name the file with the authority of its certificate in --ca-file; its certificate is for "},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			args := slices.Concat(append([][]string{test.verb, {"--url", "https://" + m.listen}}, test.flags...)...)
			status, stdout, stderr := execute(t.Context(), args...)
			if status != test.status || !strings.Contains(stderr, test.stderr) {
				t.Errorf("status %d, expected %d\n%s\n%s", status, test.status, stdout, stderr)
			}
			shown.WriteString(stdout + stderr)
		})
	}
	if status, _, stderr := execute(t.Context(), append(list, "--url", "http://"+m.listen, "--token-file", filepath.Join(m.dir, "nightly"))...); status != 2 || !strings.Contains(stderr, "Client sent an HTTP request to an HTTPS server.\n  what to do: the daemon speaks https there: --url https://") {
		t.Errorf("without TLS: status %d\n%s", status, stderr)
	}
	// What the environment says is what the flags say.
	var stderr bytes.Buffer
	environ := []string{"PIPESTREAMER_URL=https://" + m.listen, "PIPESTREAMER_CA_FILE=" + authority.File, "PIPESTREAMER_CERT_FILE=" + ops.CertFile, "PIPESTREAMER_KEY_FILE=" + ops.KeyFile}
	if status := run(t.Context(), list, environ, io.Discard, &stderr); status != 0 {
		t.Errorf("by variables: status %d\n%s", status, stderr.String())
	}
	stderr.Reset()
	elsewhere := []string{"PIPESTREAMER_URL=https://127.0.0.1:1", "PIPESTREAMER_CA_FILE=/does/not/exist"}
	if status := run(t.Context(), append(list, "--socket", m.socket), elsewhere, io.Discard, &stderr); status != 0 {
		t.Errorf("a socket beside variables: status %d\n%s", status, stderr.String())
	}
	if got := stop(); got != 0 {
		t.Errorf("serve: status %d\n%s", got, log)
	}
	audited := auditOf(t, log.String())
	want := []string{
		"token:nightly POST /v1/backups 202", "token:nightly PUT /v1/bandwidth 403", "token:watcher POST /v1/backups 403",
		"certificate:ops.example.com PUT /v1/bandwidth 200", "serviceaccount:backup/cron PUT /v1/bandwidth 403", " GET /v1/jobs 401",
	}
	if diff := cmp.Diff(want, audited); diff != "" {
		t.Errorf("audit log (-want +got):\n%s", diff)
	}
	for _, secret := range []string{nightlyCanary, watcherCanary, k.OwnToken, accesstest.ServiceAccountToken("backup", "cron", "vault", time.Hour)[:40]} {
		if strings.Contains(log.String()+shown.String(), secret) {
			t.Errorf("a token is shown: %s", secret)
		}
	}
}

// auditOf are the lines of the audit log, in short.
func auditOf(t *testing.T, log string) (lines []string) {
	t.Helper()
	for text := range strings.Lines(log) {
		var line struct {
			Logger, Identity, Method, Route string
			Status                          int
		}
		if err := json.Unmarshal([]byte(text), &line); err == nil && line.Logger == "audit" {
			lines = append(lines, fmt.Sprintf("%s %s %s %d", line.Identity, line.Method, line.Route, line.Status))
		}
	}
	return lines
}

// TestConcurrentPosts sends one request many times at once to the real
// conductor: one backup starts, and everybody else is told which.
func TestConcurrentPosts(t *testing.T) {
	m := newMachine(t)
	m.guard(t, silentHANA(t), "tokenFile: "+m.dir+"/token, rateLimit: 1000")
	_, stop := m.serve(t)
	const posts = 40
	var mu sync.Mutex
	statuses, ids := map[int]int{}, map[string]int{}
	var wait sync.WaitGroup
	transport := &http.Transport{DisableKeepAlives: true}
	for range posts {
		wait.Go(func() {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+m.listen+"/v1/backups", strings.NewReader(`{"database":"HXE"}`))
			if err != nil {
				t.Error(err)
				return
			}
			request.Header = http.Header{"Authorization": {"Bearer " + tokenCanary}, "Content-Type": {"application/json"}}
			response, err := (&http.Client{Transport: transport}).Do(request)
			if err != nil {
				t.Error(err)
				return
			}
			var record job.Record
			err = json.NewDecoder(response.Body).Decode(&record)
			if err := response.Body.Close(); err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Errorf("%d: %v", response.StatusCode, err)
			}
			statuses[response.StatusCode]++
			ids[record.ID]++
		})
	}
	wait.Wait()
	if diff := cmp.Diff(map[int]int{202: 1, 409: posts - 1}, statuses); diff != "" {
		t.Errorf("statuses (-want +got):\n%s", diff)
	}
	if len(ids) != 1 {
		t.Errorf("jobs: %v, expected everybody to be told the same", ids)
	}
	if got := stop(); got != 0 {
		t.Errorf("serve: status %d", got)
	}
}

func TestExposedListenerIsWarnedOf(t *testing.T) {
	for listen, want := range map[string]int{":8080": 1, "127.0.0.1:8080": 0, "": 0} {
		core, logs := observer.New(zap.WarnLevel)
		d := &daemon{cfg: &config.Config{HTTP: config.HTTP{Listen: listen, RateLimit: 20}}, log: zap.New(core), registry: prometheus.NewRegistry()}
		d.newPorter()
		if got := logs.FilterMessageSnippet("open to the network without TLS").Len(); got != want {
			t.Errorf("%q: %d warnings, expected %d", listen, got, want)
		}
	}
}

func TestClientFlags(t *testing.T) {
	authority := accesstest.NewAuthority(t)
	issued, other := authority.Issue(t, "x", nil), authority.Issue(t, "y", nil)
	const address = "https://127.0.0.1:1"
	tests := []struct {
		name string
		args []string
		want string
	}{
		{"authorities for a socket", []string{"--ca-file", authority.File}, "--ca-file has no effect without --url https://host:port"},
		{"certificate without TLS", []string{"--url", "http://127.0.0.1:1", "--cert-file", issued.CertFile}, "--cert-file has no effect"},
		{"no such authorities", []string{"--url", address, "--ca-file", authority.File + "x"}, "--ca-file: open"},
		{"authorities that are none", []string{"--url", address, "--ca-file", issued.KeyFile}, "expected PEM with at least one certificate"},
		{"certificate without key", []string{"--url", address, "--cert-file", issued.CertFile}, "--cert-file and --key-file: expected both or none"},
		{"key of another", []string{"--url", address, "--cert-file", issued.CertFile, "--key-file", other.KeyFile}, "--cert-file, --key-file: tls: private key does not match"},
		{"no token", []string{"--url", address, "--token-file", "/does/not/exist"}, "--token-file: open"},
		{"an empty token", []string{"--url", address, "--token-file", os.DevNull}, "/dev/null is empty"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if status, _, stderr := execute(t.Context(), append([]string{"list"}, test.args...)...); status != statusUsage || !strings.Contains(stderr, test.want) {
				t.Errorf("status %d, expected %d with %q\n%s", status, statusUsage, test.want, stderr)
			}
		})
	}
}

// TestFollowAcrossARotation: a projected token is replaced while a job is
// followed.
func TestFollowAcrossARotation(t *testing.T) {
	leaks := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, leaks) })
	file := filepath.Join(t.TempDir(), "token")
	rotate := func(token string) {
		if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
			t.Error(err)
		}
	}
	rotate("first-token-0123")
	authority := accesstest.NewAuthority(t)
	guard := access.NewGuard(access.Config{Tokens: map[string]access.Token{"token": tokenIn(file)}, Roles: access.NewRoles([]string{"token"}, nil, nil), RateLimit: 100}, zap.NewNop())
	jobs := new(apitest.Jobs)
	handler := httpapi.New(jobs, httpapi.Options{}, zap.NewNop(), httpapi.NewMetrics(prometheus.NewRegistry())).Handler(guard.Network())
	var mu sync.Mutex
	var given []string
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		given = append(given, strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
		mu.Unlock()
		if r.Method == http.MethodGet {
			jobs.Finish("job-1", job.StateSucceeded)
		}
		handler.ServeHTTP(w, r)
		if r.Method == http.MethodPost {
			rotate("second-token-012") // net/http sends a small answer when the handler has returned
		}
	}))
	server.TLS = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{authority.Issue(t, "hana", nil).Pair}}
	server.StartTLS()
	defer server.Close()
	status, _, stderr := execute(t.Context(), "backup", "--database", "HXE", "--url", server.URL, "--ca-file", authority.File, "--token-file", file)
	mu.Lock()
	defer mu.Unlock()
	if diff := cmp.Diff([]string{"first-token-0123", "second-token-012"}, given); status != 0 || diff != "" {
		t.Errorf("status %d\n%s\ntokens (-want +got):\n%s", status, stderr, diff)
	}
}
