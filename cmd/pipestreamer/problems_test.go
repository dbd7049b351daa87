package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/pipestreamer/pipestreamer/internal/access/accesstest"
	"github.com/pipestreamer/pipestreamer/internal/config"
)

// broken is a machine none of whose files can be used; they are named in
// configuration of all kinds.
func broken(t *testing.T) (m *machine, keys []string) {
	t.Helper()
	m = newMachine(t)
	m.write(t, "c.yaml", fmt.Sprintf(`
hana: {sid: HXE, host: 127.0.0.1, port: 1, user: U, passwordFile: %[1]s/none/hana, tls: {enabled: true, caFile: %[1]s/none/hana-ca}}
backupDirectory: %[1]s/backup
stateDirectory: %[1]s/state
http:
  listen: '127.0.0.1:0'
  tokenFile: %[1]s/short
  tokens: {nightly: %[1]s/none/nightly}
  triggers: ['token:nightly']
  tls: {certFile: %[1]s/none/tls.crt, keyFile: %[1]s/none/tls.key, clientCAFile: %[1]s/none/ca.crt}
  tokenReview: {audience: a, url: 'https://127.0.0.1:1', caFile: %[1]s/none/review-ca, tokenFile: %[1]s/none/review}
metrics: {listen: '127.0.0.1:0'}
store: {type: local, root: %[1]s/store, crypt: {passwordFile: %[1]s/empty}}
encryption: {recipientsFile: %[1]s/none/recipients}
memoryBudget: 1GiB
notify: {urlFile: %[1]s/url, secretFile: %[1]s/signature, template: %[1]s/template, caFile: %[1]s/none/hook-ca}
shutdownGrace: 1s
`, m.dir))
	for name, text := range map[string]string{"short": "short-canary", "empty": "\n", "url": "url-canary", "signature": "signature-canary", "template": "{{.Type"} {
		m.write(t, name, text)
	}
	return m, []string{
		"encryption.recipientsFile", "hana.passwordFile", "hana.tls.caFile", "http.tls.certFile", "http.tls.clientCAFile", "http.tokenFile", "http.tokenReview.caFile",
		"http.tokenReview.tokenFile", "http.tokens.nightly", "notify.caFile", "notify.secretFile", "notify.template", "notify.urlFile", "store.crypt.passwordFile",
	}
}

// TestStartsWithoutItsFiles: HANA waits for the daemon, and not for any of its
// files. They are mended while it runs.
func TestStartsWithoutItsFiles(t *testing.T) {
	m, keys := broken(t)
	log := new(lockedBuffer)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan int, 1)
	go func() { ended <- run(ctx, []string{"serve", "--config", m.config}, nil, io.Discard, log) }()
	ops := "http://" + m.await(t, log, "metrics and probes").Address
	m.await(t, log, "there are no jobs yet: store or HANA cannot be used; trying again")
	if status, body := get(t, ops+"/startupz"); status != 200 {
		t.Errorf("/startupz: %d %s, so HANA does not start", status, body)
	}
	if status, body := get(t, ops+"/readyz"); status != 503 || !strings.Contains(body, "store.crypt.passwordFile") {
		t.Errorf("/readyz: %d %s, expected the setting", status, body)
	}
	_, body := get(t, ops+"/metrics")
	for _, key := range keys {
		if !strings.Contains(body, fmt.Sprintf("pipestreamer_config_problem{key=%q} 1", key)) {
			t.Errorf("no metric tells of %s", key)
		}
		if !strings.Contains(log.String(), fmt.Sprintf(`"setting":%q`, key)) {
			t.Errorf("the log does not tell of %s", key)
		}
	}
	if status, _, stderr := execute(t.Context(), "list", "--socket", m.socket); status != 1 || !strings.Contains(stderr, "store.crypt.passwordFile") {
		t.Errorf("list: status %d\n%s", status, stderr)
	}
	if strings.Contains(log.String(), "-canary") {
		t.Errorf("the log shows a secret:\n%s", log)
	}
	if left, err := os.ReadDir(filepath.Join(m.dir, "store")); err != nil || len(left) > 0 {
		t.Errorf("without its password of crypt something was stored: %v, %v", left, err)
	}
	cancel()
	if status := <-ended; status != 0 {
		t.Errorf("serve: status %d, expected 0\n%s", status, log)
	}
}

// TestStoreRefusesItsSecret: a key that was rotated to something that is none.
func TestStoreRefusesItsSecret(t *testing.T) {
	m := newMachine(t)
	m.write(t, "key", "key-canary: no base64")
	m.environ = []string{
		"PIPESTREAMER_STORE_TYPE=azureblob", "PIPESTREAMER_STORE_ROOT=container", "PIPESTREAMER_STORE_OPTIONS_ACCOUNT=account",
		"PIPESTREAMER_STORE_SECRETS_KEY=" + filepath.Join(m.dir, "key"),
	}
	log := new(lockedBuffer)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan int, 1)
	go func() { ended <- run(ctx, []string{"serve", "--config", m.config}, m.environ, io.Discard, log) }()
	ops := "http://" + m.await(t, log, "metrics and probes").Address
	m.await(t, log, "there are no jobs yet: store or HANA cannot be used; trying again")
	if status, body := get(t, ops+"/readyz"); status != 503 || !strings.Contains(body, "store: open store azureblob") {
		t.Errorf("/readyz: %d %s", status, body)
	}
	cancel()
	if status := <-ended; status != 0 || strings.Contains(log.String(), "key-canary") {
		t.Errorf("serve: status %d, expected 0\n%s", status, log)
	}
}

// TestDoctorTellsOfFiles: what the daemon starts without is an error for doctor.
func TestDoctorTellsOfFiles(t *testing.T) {
	m, keys := broken(t)
	status, stdout, stderr := execute(t.Context(), "doctor", "--config", m.config)
	if status != statusFindings || strings.Contains(stdout, "every setting was read") || strings.Contains(stdout+stderr, "-canary") {
		t.Errorf("status %d\n%s\n%s", status, stdout, stderr)
	}
	for _, key := range keys {
		if !strings.Contains(stdout, key+" (") {
			t.Errorf("doctor does not tell of %s:\n%s", key, stdout)
		}
	}
}

// TestListenerIsMended: a pair that comes later is used without a restart, and
// until then nobody is served in the clear.
func TestListenerIsMended(t *testing.T) {
	m := newMachine(t)
	authority := accesstest.NewAuthority(t)
	issued := authority.Issue(t, "hana", nil)
	m.write(t, "nightly", nightlyCanary)
	m.guard(t, 1, fmt.Sprintf(`tokens: {nightly: %[1]s/later}, triggers: ['token:nightly'], tls: {certFile: %[1]s/tls.crt, keyFile: %[1]s/tls.key, clientCAFile: %[1]s/ca.crt}`, m.dir))
	log, stop := m.serve(t)
	list := []string{"list", "--jobs", "--ca-file", authority.File, "--token-file", filepath.Join(m.dir, "nightly"), "--url", "https://" + m.listen}
	if status, stdout, _ := execute(t.Context(), list...); status == 0 {
		t.Errorf("without a certificate: status 0\n%s", stdout)
	}
	if status, stdout, _ := execute(t.Context(), "list", "--jobs", "--url", "http://"+m.listen, "--token-file", filepath.Join(m.dir, "nightly")); status == 0 {
		t.Errorf("in the clear: status 0\n%s", stdout)
	}
	copyFile(t, issued.CertFile, filepath.Join(m.dir, "tls.crt"))
	copyFile(t, issued.KeyFile, filepath.Join(m.dir, "tls.key"))
	certificate := slices.Concat(list[:4], []string{"--cert-file", issued.CertFile, "--key-file", issued.KeyFile}, list[6:])
	for name, args := range map[string][]string{"before there is a token": list, "a certificate before there are authorities": certificate} {
		if status, stdout, _ := execute(t.Context(), args...); status == 0 {
			t.Errorf("%s: status 0\n%s", name, stdout)
		}
	}
	m.write(t, "later", nightlyCanary)
	if status, _, stderr := execute(t.Context(), list...); status != 0 {
		t.Errorf("everything is mended: status %d\n%s", status, stderr)
	}
	if status := stop(); status != 0 {
		t.Errorf("serve: status %d\n%s", status, log)
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	text, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestProblemsAreTold goes by the clock of the test.
func TestProblemsAreTold(t *testing.T) {
	m := newMachine(t)
	cfg, err := config.Load(m.config, nil, config.Daemon)
	if err != nil {
		t.Fatal(err)
	}
	core, logs := observer.New(zap.InfoLevel)
	p := newProblems(cfg, zap.New(core), prometheus.NewRegistry())
	now := time.Date(2026, 11, 30, 2, 0, 0, 0, time.UTC)
	var told []int
	step := func(token string, later time.Duration) {
		m.write(t, "token", token)
		now = now.Add(later)
		p.look(now)
		told = append(told, logs.Len())
	}
	step(tokenCanary, 0)
	step("", time.Minute)
	step("", 59*time.Minute)
	step("", time.Minute)
	step("short", time.Minute)
	if got := testutil.ToFloat64(p.gauge.WithLabelValues("http.tokenFile")); got != 1 {
		t.Errorf("metric %v, expected 1", got)
	}
	step(tokenCanary, time.Minute)
	step(tokenCanary, time.Minute)
	if diff := cmp.Diff([]int{0, 1, 1, 2, 3, 4, 4}, told); diff != "" {
		t.Errorf("lines of the log after each look (-want +got):\n%s", diff)
	}
	const want = `# HELP pipestreamer_config_problem 1 for a setting whose file cannot be used, 0 for the others that name one; the log says why.
# TYPE pipestreamer_config_problem gauge
pipestreamer_config_problem{key="hana.passwordFile"} 0
pipestreamer_config_problem{key="http.tokenFile"} 0
`
	if err := testutil.CollectAndCompare(p.gauge, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
}
