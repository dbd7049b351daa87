package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

const (
	passwordCanary = "hana-password-canary"
	tokenCanary    = "http-token-canary-0123"
)

// machine is a directory with a configuration: a local store, and a HANA that
// does not answer. Tests that serve on one do not run in parallel: a daemon has
// rclone's logger and metrics of this process to itself (uploader.Quiet).
type machine struct {
	dir, config, socket, metrics, listen string
	environ                              []string
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	dir := t.TempDir()
	m := machine{dir: dir, config: filepath.Join(dir, "c.yaml"), socket: filepath.Join(dir, "state", "pipestreamer.sock"), metrics: "127.0.0.1:0", listen: "127.0.0.1:0"}
	for _, name := range []string{"backup", "store", "out"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o770); err != nil {
			t.Fatal(err)
		}
	}
	m.write(t, "pw", passwordCanary+"\n")
	m.write(t, "token", tokenCanary+"\n")
	m.write(t, "c.yaml", fmt.Sprintf(`
hana: {sid: HXE, host: 127.0.0.1, port: 1, user: U, passwordFile: %[1]s/pw}
backupDirectory: %[1]s/backup
stateDirectory: %[1]s/state
http: {listen: '%[3]s', tokenFile: %[1]s/token}
metrics: {listen: '%[2]s'}
store: {type: local, root: %[1]s/store}
shutdownGrace: 1s
`, dir, m.metrics, m.listen))
	return &m
}

func (m *machine) write(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join(m.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// lockedBuffer is written by the daemon while a test reads it.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string { b.mu.Lock(); defer b.mu.Unlock(); return b.buf.String() }

// serve runs the daemon and learns its addresses from its log; stop ends it and
// returns its exit status.
func (m *machine) serve(t *testing.T) (log *lockedBuffer, stop func() int) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	log = new(lockedBuffer)
	ended := make(chan int, 1)
	go func() { ended <- run(ctx, []string{"serve", "--config", m.config}, m.environ, io.Discard, log) }()
	stop = func() int { cancel(); return <-ended }
	line := m.await(t, log, "serving")
	m.metrics = m.await(t, log, "metrics and probes").Address
	m.listen = line.Addresses[1]
	return log, stop
}

type logLine struct {
	Message   string   `json:"msg"`
	Address   string   `json:"address"`
	Addresses []string `json:"addresses"`
}

// await returns the first line of the log with that message.
func (m *machine) await(t *testing.T, log *lockedBuffer, message string) logLine {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		for text := range strings.Lines(log.String()) {
			var line logLine
			if json.Unmarshal([]byte(text), &line) == nil && line.Message == message {
				return line
			}
		}
	}
	t.Fatalf("the log has no %q\n%s", message, log)
	return logLine{}
}

func get(t *testing.T, url string, header ...string) (status int, body string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(response.Body)
	if err := errors.Join(err, response.Body.Close()); err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// TestServeWithoutHANA shows that the daemon lives without HANA, says so, fails
// jobs with the reason, and ends in order.
func TestServeWithoutHANA(t *testing.T) {
	leaks := goleak.IgnoreCurrent()
	m := newMachine(t)
	log, stop := m.serve(t)
	if !strings.Contains(log.String(), "an outage of this store") {
		t.Error("the log does not say that a local store absorbs no outages")
	}
	if status, body := get(t, "http://"+m.metrics+"/readyz"); status != 503 || !strings.Contains(body, "connection refused") {
		t.Errorf("/readyz: %d %s", status, body)
	}
	if status, _ := get(t, "http://"+m.metrics+"/healthz"); status != 200 {
		t.Errorf("/healthz: %d", status)
	}
	if status, body := get(t, "http://"+m.metrics+"/startupz"); status != 200 {
		t.Errorf("/startupz: %d %s", status, body)
	}
	_, metrics := get(t, "http://"+m.metrics+"/metrics")
	for _, room := range []string{"pipestreamer_job_starting 0", "pipestreamer_http_", "pipestreamer_fifo_", "pipestreamer_hana_", "pipestreamer_store_", "go_goroutines"} {
		if !strings.Contains(metrics, room) {
			t.Errorf("/metrics has nothing of %s", room)
		}
	}
	if status, _ := get(t, "http://"+m.metrics+"/v1/jobs"); status != 404 {
		t.Errorf("jobs on the listener for metrics: %d", status)
	}
	if status, _ := get(t, "http://"+m.listen+"/v1/jobs"); status != 401 {
		t.Errorf("jobs over TCP without a token: %d", status)
	}
	if status, body := get(t, "http://"+m.listen+"/v1/jobs", "Authorization", "Bearer "+tokenCanary); status != 200 {
		t.Errorf("jobs over TCP with the token: %d %s", status, body)
	}
	status, stdout, stderr := execute(t.Context(), "backup", "--database", "HXE", "--socket", m.socket)
	if status != 1 || !strings.Contains(stdout, "connection refused") || !strings.Contains(stdout, "what to do ") {
		t.Errorf("backup: status %d\n%s\n%s", status, stdout, stderr)
	}
	status, stdout, _ = execute(t.Context(), "list", "--jobs", "--url", "http://"+m.listen, "--token-file", filepath.Join(m.dir, "token"))
	if status != 0 || !strings.Contains(stdout, "failed") {
		t.Errorf("list --jobs: status %d\n%s", status, stdout)
	}
	if got := stop(); got != 0 {
		t.Errorf("serve: status %d, expected 0\n%s", got, log)
	}
	if _, err := os.Lstat(m.socket); !os.IsNotExist(err) {
		t.Errorf("the socket is still there: %v", err)
	}
	for _, canary := range []string{passwordCanary, tokenCanary} {
		if strings.Contains(log.String()+metrics+stdout+stderr, canary) {
			t.Errorf("a secret is shown: %s", canary)
		}
	}
	// go-hdb collects statistics in one goroutine per process, from the first
	// connection to its end. Its name depends on what the compiler inlines.
	goleak.VerifyNone(t, leaks, goleak.IgnoreTopFunction("github.com/SAP/go-hdb/driver.newConn.(*metrics).lazyInit.func1.1"),
		goleak.IgnoreTopFunction("github.com/SAP/go-hdb/driver.(*metrics).lazyInit.func1.1"))
}

// TestServeRefusesASecondDaemon: a second one would take the first one's jobs
// for dead.
func TestServeRefusesASecondDaemon(t *testing.T) {
	m := newMachine(t)
	_, stop := m.serve(t)
	defer stop()
	// The address of its metrics is taken, too, and that is not what is wrong.
	text, err := os.ReadFile(m.config)
	if err != nil {
		t.Fatal(err)
	}
	m.write(t, "c.yaml", strings.Replace(string(text), "metrics: {listen: '127.0.0.1:0'", "metrics: {listen: '"+m.metrics+"'", 1))
	status, _, stderr := execute(t.Context(), "serve", "--config", m.config)
	if status != 1 || strings.Count(stderr, "another pipestreamer already uses this state directory") != 1 || !strings.Contains(stderr, "stateDirectory: lock "+m.dir) {
		t.Errorf("status %d\n%s", status, stderr)
	}
	if status, _, stderr := execute(t.Context(), "list", "--socket", m.socket); status != 0 {
		t.Errorf("the first daemon afterwards: status %d\n%s", status, stderr)
	}
}

func TestServeOnATakenAddress(t *testing.T) {
	m := newMachine(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := taken.Close(); err != nil {
			t.Error(err)
		}
	})
	text, err := os.ReadFile(m.config)
	if err != nil {
		t.Fatal(err)
	}
	for setting, key := range map[string]string{"http.listen": "http: {listen: ", "metrics.listen": "metrics: {listen: "} {
		m.write(t, "c.yaml", strings.Replace(string(text), key+"'127.0.0.1:0'", key+"'"+taken.Addr().String()+"'", 1))
		status, _, stderr := execute(t.Context(), "serve", "--config", m.config)
		if status != 1 || strings.Count(stderr, "address already in use") != 1 || !strings.Contains(stderr, setting+": listen tcp ") {
			t.Errorf("%s: status %d\n%s", key, status, stderr)
		}
		if _, err := os.Lstat(m.socket); !os.IsNotExist(err) {
			t.Errorf("%s: the socket is still there: %v", key, err)
		}
	}
}

// TestServeWithoutBackupDirectory: the daemon stays, says so, and gets ready
// for the next reason once the directory is mended.
func TestServeWithoutBackupDirectory(t *testing.T) {
	m := newMachine(t)
	dir := filepath.Join(m.dir, "backup")
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	log, stop := m.serve(t)
	m.await(t, log, "backups and restores will fail until the backup directory is mended")
	tests := []struct {
		name   string
		mend   func() error
		reason string
	}{
		{"missing", func() error { return nil }, "backupDirectory: stat"},
		{"a file", func() error { return os.WriteFile(dir, nil, 0o600) }, "is not a directory"},
		{"a link", func() error { return errors.Join(os.Remove(dir), os.Symlink(m.dir, dir)) }, "leads through a symbolic link"},
		{"sticky", func() error {
			return errors.Join(os.Remove(dir), os.Mkdir(dir, 0o700), os.Chmod(dir, 0o770|os.ModeSticky))
		}, "is sticky"},
		{"as it should be", func() error { return os.Chmod(dir, 0o770) }, "connection refused"},
	}
	for _, test := range tests {
		if err := test.mend(); err != nil {
			t.Fatal(err)
		}
		if status, body := get(t, "http://"+m.metrics+"/readyz"); status != 503 || !strings.Contains(body, test.reason) {
			t.Errorf("%s: /readyz: %d %s, expected %q", test.name, status, body, test.reason)
		}
	}
	if status := stop(); status != 0 {
		t.Errorf("serve: status %d, expected 0\n%s", status, log)
	}
}

// TestStoreIsAway has an sftp store whose server does not answer: the daemon
// waits for it, and says so. A pipe of an earlier daemon does not wait with it.
func TestStoreIsAway(t *testing.T) {
	m := newMachine(t)
	text, err := os.ReadFile(m.config)
	if err != nil {
		t.Fatal(err)
	}
	m.write(t, "c.yaml", strings.Replace(string(text), "type: local", "type: sftp, options: {host: 127.0.0.1, port: '1', user: u}, secrets: {pass: "+m.dir+"/pw}", 1))
	m.write(t, "state/jobs/j.json", `{"version": 1, "pipes": [{"name": "P_databackup_3_1"}], "record": {"job_id": "j", "action": "backup",
		"state": "running", "stage": "stream", "database": "HXE", "kind": "complete", "prefix": "P"}}`)
	pipe := filepath.Join(m.dir, "backup", "P_databackup_3_1")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	opened := make(chan error, 1)
	go func() {
		file, err := os.OpenFile(pipe, os.O_WRONLY, 0) // blocks until somebody reads
		opened <- errors.Join(err, file.Close())
	}()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	log := new(lockedBuffer)
	ended := make(chan int, 1)
	go func() { ended <- run(ctx, []string{"serve", "--config", m.config}, nil, io.Discard, log) }()
	m.await(t, log, "there are no jobs yet: store or HANA cannot be used; trying again")
	select {
	case err := <-opened:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("HANA stays blocked in opening a pipe")
	}
	metrics := m.await(t, log, "metrics and probes").Address
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		status, body := get(t, "http://"+metrics+"/readyz")
		if status == 503 && strings.Contains(body, "store: ") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("/readyz: %d %s", status, body)
		}
	}
	// HANA may start; whoever asks for jobs is told what is in the way.
	if status, body := get(t, "http://"+metrics+"/startupz"); status != 200 {
		t.Errorf("/startupz: %d %s", status, body)
	}
	status, _, stderr := execute(t.Context(), "list", "--socket", m.socket)
	if status != 1 || !strings.Contains(stderr, "store: ") || !strings.Contains(stderr, "connection refused") || !strings.Contains(stderr, "what to do: mend") {
		t.Errorf("list: status %d\n%s", status, stderr)
	}
	status, stdout, stderr := execute(t.Context(), "drain", "--socket", m.socket)
	if status != 0 || !strings.Contains(stdout, "no job runs") {
		t.Errorf("drain: status %d\n%s%s", status, stdout, stderr)
	}
	cancel()
	if status := <-ended; status != 0 {
		t.Errorf("serve: status %d, expected 0\n%s", status, log)
	}
}

// TestStoreIsSilent has an azureblob store that is away, which rclone tries to open
// for as long as it takes: what is in the way is told all the same.
func TestStoreIsSilent(t *testing.T) {
	m := newMachine(t)
	text, err := os.ReadFile(m.config)
	if err != nil {
		t.Fatal(err)
	}
	const canary = "c2VjcmV0LWNhbmFyeQ"
	m.write(t, "sas", "http://127.0.0.1:1/container?sv=2022-11-02&sig="+canary)
	store := "type: azureblob, secrets: {sas_url: " + m.dir + "/sas}"
	m.write(t, "c.yaml", strings.Replace(string(text), "type: local", store, 1))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	log := new(lockedBuffer)
	ended := make(chan int, 1)
	go func() { ended <- run(ctx, []string{"serve", "--config", m.config}, nil, io.Discard, log) }()
	m.await(t, log, "opens the store")
	status, body := get(t, "http://"+m.await(t, log, "metrics and probes").Address+"/readyz")
	if status != 503 || !strings.Contains(body, "store: ") {
		t.Errorf("/readyz: %d %s, expected what is in the way", status, body)
	}
	// Alerts on backups need series, and nobody backs up meanwhile.
	_, metrics := get(t, "http://"+m.await(t, log, "metrics and probes").Address+"/metrics")
	for _, series := range []string{"pipestreamer_job_starting 1", "pipestreamer_job_store_recalled 0"} {
		if !strings.Contains(metrics, series+"\n") {
			t.Errorf("there is no %s while the store is not open", series)
		}
	}
	cancel()
	if status := <-ended; status != 0 {
		t.Errorf("serve: status %d, expected 0\n%s", status, log)
	}
	if strings.Contains(log.String()+body, canary) {
		t.Errorf("the signature is shown: %s%s", body, log)
	}
}

// TestStoreRefusesWithoutSecrets: credentials need not come from store.secrets, and
// a right that is missing in the store may be given.
func TestStoreRefusesWithoutSecrets(t *testing.T) {
	m := newMachine(t)
	store := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	defer store.Close()
	m.environ = []string{
		"PIPESTREAMER_STORE_TYPE=azureblob", "PIPESTREAMER_STORE_ROOT=container/directory", "PIPESTREAMER_STORE_OPTIONS_ACCOUNT=account",
		"PIPESTREAMER_STORE_OPTIONS_ENDPOINT=" + store.URL,
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	log := new(lockedBuffer)
	ended := make(chan int, 1)
	go func() { ended <- run(ctx, []string{"serve", "--config", m.config}, m.environ, io.Discard, log) }()
	m.await(t, log, "there are no jobs yet: store or HANA cannot be used; trying again")
	status, body := get(t, "http://"+m.await(t, log, "metrics and probes").Address+"/readyz")
	if status != 503 || !strings.Contains(body, "403") {
		t.Errorf("/readyz: %d %s", status, body)
	}
	cancel()
	if status := <-ended; status != 0 {
		t.Errorf("serve: status %d, expected 0\n%s", status, log)
	}
	// A mistake in the settings only a restart mends.
	m.environ = append(m.environ, "PIPESTREAMER_STORE_OPTIONS_ENV_AUTH=maybe")
	var stderr bytes.Buffer
	if status := run(t.Context(), []string{"serve", "--config", m.config}, m.environ, io.Discard, &stderr); status != 2 || !strings.Contains(stderr.String(), `option "env_auth"`) {
		t.Errorf("status %d, expected 2\n%s", status, &stderr)
	}
}

// fill puts a backup of one stream into the store as the layout says.
func (m *machine) fill(t *testing.T, content string) *backup.Manifest {
	t.Helper()
	hash := sha256.Sum256([]byte(content))
	sum, size := hex.EncodeToString(hash[:]), int64(len(content))
	manifest := stored("HXE", 1700000000000)
	s := &manifest.Streams[0]
	s.Size, s.SHA256 = size, sum
	s.Objects[0].Size, s.Objects[0].SHA256, s.Objects[0].Parts = size, sum, []backup.Part{{Size: size, SHA256: sum}}
	manifest.Catalog.Files = []backup.CatalogFile{}
	text, err := manifest.Encode()
	if err != nil {
		t.Fatal(err)
	}
	m.write(t, "store/"+s.Objects[0].Key, content)
	m.write(t, "store/"+backup.ManifestKey("HXE", "HXE", manifest.BackupID), string(text))
	return manifest
}

func TestRestoreToDirectory(t *testing.T) {
	m := newMachine(t)
	content := strings.Repeat("what HANA wrote ", 1<<16)
	manifest := m.fill(t, content)
	out := filepath.Join(m.dir, "out")
	restore := func(args ...string) (int, string, string) {
		environ := []string{"PIPESTREAMER_HANA_SID=HXE", "PIPESTREAMER_STORE_TYPE=local", "PIPESTREAMER_STORE_ROOT=" + filepath.Join(m.dir, "store")}
		var stdout, stderr bytes.Buffer
		status := run(t.Context(), append([]string{"restore", "--database", "hxe", "--to-dir", out}, args...), environ, &stdout, &stderr)
		return status, stdout.String(), stderr.String()
	}
	status, stdout, stderr := restore("--backup", "latest")
	if status != 0 || !strings.Contains(stdout, out+"/P_databackup_3_1") || !strings.Contains(stdout, manifest.Streams[0].SHA256) {
		t.Fatalf("status %d\n%s\n%s", status, stdout, stderr)
	}
	got, err := os.ReadFile(filepath.Join(out, "P_databackup_3_1"))
	if err != nil || string(got) != content {
		t.Errorf("the file has %d bytes, %v; expected %d", len(got), err, len(content))
	}
	if status, _, stderr := restore("--backup", "latest"); status != 1 || !strings.Contains(stderr, "file already exists") {
		t.Errorf("again: status %d\n%s", status, stderr)
	}
	if status, _, stderr := restore("--backup", "5"); status != 1 || !strings.Contains(stderr, "not found") {
		t.Errorf("unknown backup: status %d\n%s", status, stderr)
	}
	if status, _, stderr := restore("--backup", "yesterday"); status != 2 {
		t.Errorf("no backup id: status %d\n%s", status, stderr)
	}
	// One byte of the object differs: no file may appear.
	if err := os.Remove(filepath.Join(out, "P_databackup_3_1")); err != nil {
		t.Fatal(err)
	}
	m.write(t, "store/"+manifest.Streams[0].Objects[0].Key, "W"+content[1:])
	status, _, stderr = restore("--backup", "latest", "-o", "json")
	var document struct {
		Error string `json:"error"`
	}
	lines := strings.Split(strings.TrimSpace(stderr), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &document); status != 1 || err != nil || !strings.Contains(document.Error, "checksum") {
		t.Errorf("damaged object: status %d, %v\n%s", status, err, stderr)
	}
	if left, err := os.ReadDir(out); err != nil || len(left) != 0 {
		t.Errorf("after the damaged object the directory has %v, %v", left, err)
	}
}
