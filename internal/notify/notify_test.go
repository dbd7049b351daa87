package notify

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	// The path of the address, which lets anybody write to the webhook.
	pathCanary = "/hooks/path-canary-T000/B000"
	patience   = 20 * time.Second
)

// request is what the webhook got.
type request struct {
	ID, Timestamp, Signature, Path string
	Body                           []byte
}

// webhook answers as it is told.
type webhook struct {
	*httptest.Server

	mu       sync.Mutex
	requests []request
	answers  []int // the statuses of the first answers; 200 after them
	header   http.Header
}

func startWebhook(t *testing.T, answers ...int) *webhook {
	t.Helper()
	w := &webhook{answers: answers, header: make(http.Header)}
	w.Server = httptest.NewServer(w)
	t.Cleanup(w.Close)
	return w
}

func (w *webhook) ServeHTTP(to http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.requests = append(w.requests, request{r.Header.Get("Webhook-Id"), r.Header.Get("Webhook-Timestamp"), r.Header.Get("Webhook-Signature"), r.URL.Path, body})
	for name := range w.header {
		to.Header().Set(name, w.header.Get(name))
	}
	status := http.StatusOK
	if len(w.answers) > 0 {
		status, w.answers = w.answers[0], w.answers[1:]
	}
	to.WriteHeader(status)
}

func (w *webhook) got() []request {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]request(nil), w.requests...)
}

// set is a notifier with what a test looks at.
type set struct {
	*Notifier

	config Config
	log    *strings.Builder
	mu     *sync.Mutex
}

// lockedWriter is a log that can be read while it is written.
type lockedWriter struct{ set }

func (w lockedWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.Write(p)
}

func (s set) logged() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.String()
}

func fixed(text string) func() (string, error) { return func() (string, error) { return text, nil } }

func newSet(t *testing.T, url string, change func(*Config)) set {
	t.Helper()
	s := set{log: new(strings.Builder), mu: new(sync.Mutex)}
	s.config = Config{
		SID: "HXE", Directory: filepath.Join(t.TempDir(), "notifications"), ReadURL: fixed(url + pathCanary), ReadSecret: fixed(""),
		On: Types(), Pause: time.Millisecond, Grace: 100 * time.Millisecond,
	}
	if change != nil {
		change(&s.config)
	}
	s.Notifier = s.open(t)
	return s
}

func (s set) open(t *testing.T) *Notifier {
	t.Helper()
	encoder := zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig())
	n, err := New(s.config, zap.New(zapcore.NewCore(encoder, zapcore.AddSync(lockedWriter{s}), zap.DebugLevel)), NewMetrics(prometheus.NewRegistry()))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// run runs the notifier; the function that it returns ends it.
func run(t *testing.T, n *Notifier) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		n.Run(ctx)
	}()
	stop = func() { cancel(); <-ended }
	t.Cleanup(stop)
	return stop
}

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

func failedJob() Event {
	return Event{Type: JobFailed, Timestamp: time.Date(2026, 11, 30, 2, 3, 4, 0, time.UTC), Data: Data{Database: "HXE", State: "failed", Message: `say "no"`}}
}

// TestSigned computes the signature as a receiver would.
func TestSigned(t *testing.T) {
	hook := startWebhook(t)
	key := []byte("0123456789abcdef0123456789abcdef")
	s := newSet(t, hook.URL, func(c *Config) { c.ReadSecret = fixed("whsec_" + base64.StdEncoding.EncodeToString(key)) })
	before := time.Now().Unix()
	run(t, s.Notifier)
	s.Tell(failedJob())
	eventually(t, "a request", func() bool { return len(hook.got()) == 1 })
	got := hook.got()[0]
	mac := hmac.New(sha256.New, key)
	if _, err := fmt.Fprintf(mac, "%s.%s.%s", got.ID, got.Timestamp, got.Body); err != nil {
		t.Fatal(err)
	}
	if want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)); got.Signature != want {
		t.Errorf("signature %q, expected %q", got.Signature, want)
	}
	if at, err := strconv.ParseInt(got.Timestamp, 10, 64); err != nil || at < before || at > time.Now().Unix() {
		t.Errorf("timestamp %q", got.Timestamp)
	}
	if !strings.HasPrefix(got.ID, "msg_") || got.Path != pathCanary {
		t.Errorf("id %q, path %q", got.ID, got.Path)
	}
	var event Event
	if err := json.Unmarshal(got.Body, &event); err != nil {
		t.Fatal(err)
	}
	want := failedJob()
	want.Data.SID = "HXE"
	if diff := cmp.Diff(want, event); diff != "" {
		t.Errorf("body (-want +got):\n%s", diff)
	}
}

// TestSignatureOfTheSpecification checks against the test vector that the libraries
// of Standard Webhooks share.
func TestSignatureOfTheSpecification(t *testing.T) {
	c := Config{ReadSecret: fixed("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")}
	key, err := c.key()
	if err != nil {
		t.Fatal(err)
	}
	got := sign(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", []byte(`{"test": 2432232314}`))
	if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want {
		t.Errorf("got %s, expected %s", got, want)
	}
}

func TestTriesAgain(t *testing.T) {
	hook := startWebhook(t, 500, 502, 404, 302, 200)
	s := newSet(t, hook.URL, nil)
	run(t, s.Notifier)
	s.Tell(failedJob())
	s.Tell(Event{Type: JobSucceeded})
	eventually(t, "all of it", func() bool { return len(hook.got()) == 6 })
	requests := hook.got()
	for _, r := range requests[1:5] {
		if r.ID != requests[0].ID || !bytes.Equal(r.Body, requests[0].Body) {
			t.Errorf("an attempt is not the same notification: %+v", r)
		}
	}
	if requests[5].ID == requests[0].ID {
		t.Error("two notifications have one id")
	}
	eventually(t, "nothing waits", func() bool { return testutil.ToFloat64(s.metrics.queued) == 0 })
	if sent, failed := testutil.ToFloat64(s.metrics.sent), testutil.ToFloat64(s.metrics.failed); sent != 2 || failed != 4 {
		t.Errorf("%v sent, %v attempts failed", sent, failed)
	}
	if left, err := os.ReadDir(s.config.Directory); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	if n := strings.Count(s.logged(), "does not take notifications"); n != 1 {
		t.Errorf("the outage is told %d times, expected once", n)
	}
}

func TestRetryAfter(t *testing.T) {
	hook := startWebhook(t, http.StatusTooManyRequests)
	hook.header.Set("Retry-After", "1")
	s := newSet(t, hook.URL, nil)
	run(t, s.Notifier)
	began := time.Now()
	s.Tell(failedJob())
	eventually(t, "the second attempt", func() bool { return len(hook.got()) == 2 })
	if took := time.Since(began); took < time.Second {
		t.Errorf("tried again after %s, expected not before 1 s", took)
	}
}

func TestGivenUp(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*Config)
		answer int
		reason string
	}{
		{"the webhook refuses the body", nil, http.StatusUnprocessableEntity, droppedRefused},
		{"it is gone", nil, http.StatusGone, droppedRefused},
		{"it is away for too long", func(c *Config) { c.Patience = 50 * time.Millisecond }, http.StatusServiceUnavailable, droppedExpired},
	} {
		t.Run(test.name, func(t *testing.T) {
			answers := make([]int, 10_000)
			for i := range answers {
				answers[i] = test.answer
			}
			hook := startWebhook(t, answers...)
			s := newSet(t, hook.URL, test.change)
			stop := run(t, s.Notifier)
			s.Tell(failedJob())
			eventually(t, "it is dropped", func() bool { return testutil.ToFloat64(s.metrics.dropped.WithLabelValues(test.reason)) == 1 })
			stop()
			if left, err := os.ReadDir(s.config.Directory); err != nil || len(left) != 0 {
				t.Errorf("left: %v, %v", left, err)
			}
			if !strings.Contains(s.logged(), "a notification is dropped") {
				t.Errorf("nothing is told:\n%s", s.logged())
			}
		})
	}
}

// TestSurvivesARestart ends a notifier whose webhook is away, and starts the next
// one on its directory.
func TestSurvivesARestart(t *testing.T) {
	dead := startWebhook(t)
	dead.Close()
	s := newSet(t, dead.URL, nil)
	stop := run(t, s.Notifier)
	for n := range 3 {
		s.Tell(Event{Type: JobFailed, Data: Data{JobID: strconv.Itoa(n)}})
	}
	eventually(t, "it is tried", func() bool { return testutil.ToFloat64(s.metrics.failed) > 0 })
	stop()
	if err := os.WriteFile(filepath.Join(s.config.Directory, ".new-1"), []byte(`{"id"`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.config.Directory, "broken.json"), []byte(`{"id"`), 0o600); err != nil {
		t.Fatal(err)
	}
	hook := startWebhook(t)
	s.config.ReadURL = fixed(hook.URL)
	run(t, s.open(t))
	eventually(t, "all three", func() bool { return len(hook.got()) == 3 })
	for n, r := range hook.got() {
		if !strings.Contains(string(r.Body), fmt.Sprintf(`"job_id":"%d"`, n)) {
			t.Errorf("notification %d is %s", n, r.Body)
		}
	}
	if !strings.Contains(s.logged(), "broken.json") {
		t.Errorf("a file that cannot be read is not told:\n%s", s.logged())
	}
	if _, err := os.Stat(filepath.Join(s.config.Directory, "broken.json")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it stays, to be told at each start: %v", err)
	}
}

// TestDirectoryThatCannotBeUsed: the notifications of jobs are no reason to keep
// the daemon, and HANA with it, from starting.
func TestDirectoryThatCannotBeUsed(t *testing.T) {
	hook := startWebhook(t)
	inTheWay := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(inTheWay, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := newSet(t, hook.URL, func(c *Config) { c.Directory = filepath.Join(inTheWay, "notifications") })
	run(t, s.Notifier)
	s.Tell(failedJob())
	eventually(t, "it arrives all the same", func() bool { return len(hook.got()) == 1 })
	if got := s.logged(); !strings.Contains(got, "cannot be read") || !strings.Contains(got, inTheWay) {
		t.Errorf("the directory is not told of:\n%s", got)
	}
}

// TestEndIsTold says that what is told last still goes out.
func TestEndIsTold(t *testing.T) {
	hook := startWebhook(t)
	s := newSet(t, hook.URL, func(c *Config) { c.Grace = patience })
	s.Tell(failedJob()) // before Run
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s.Run(ctx)
	if n := len(hook.got()); n != 1 {
		t.Errorf("%d requests, expected one", n)
	}
}

// TestHangingWebhook never answers: neither telling nor the end waits for it.
func TestHangingWebhook(t *testing.T) {
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer server.Close()
	defer close(release)
	s := newSet(t, server.URL, nil)
	stop := run(t, s.Notifier)
	began := time.Now()
	for range 2 * (mostQueued + mostIncoming) {
		s.Tell(failedJob())
	}
	if took := time.Since(began); took > patience/2 {
		t.Errorf("telling took %s", took)
	}
	eventually(t, "too many are dropped", func() bool { return testutil.ToFloat64(s.metrics.dropped.WithLabelValues(droppedOverflow)) > 0 })
	began = time.Now()
	stop()
	if took := time.Since(began); took > patience/2 {
		t.Errorf("the end took %s", took)
	}
	if queued := testutil.ToFloat64(s.metrics.queued); queued > mostQueued {
		t.Errorf("%v are queued", queued)
	}
}

// TestAddressIsSecret lets everything fail that has the address in its hands.
func TestAddressIsSecret(t *testing.T) {
	closed := startWebhook(t)
	closed.Close()
	elsewhere := startWebhook(t)
	moved := startWebhook(t, 307, 307)
	moved.header.Set("Location", elsewhere.URL+"/other-canary")
	for name, url := range map[string]string{
		"nobody listens": closed.URL, "no such host": "https://hook-canary.invalid", "no TLS there": strings.Replace(startWebhook(t).URL, "http:", "https:", 1),
		"redirect": moved.URL, "with a password": strings.Replace(closed.URL, "http://", "http://user:password-canary@", 1),
	} {
		t.Run(name, func(t *testing.T) {
			s := newSet(t, url, nil)
			stop := run(t, s.Notifier)
			s.Tell(failedJob())
			eventually(t, "it is tried", func() bool { return testutil.ToFloat64(s.metrics.failed) > 0 })
			stop()
			if text := s.logged(); strings.Contains(text, "canary") || strings.Contains(text, "127.0.0.1") {
				t.Errorf("the log shows the address:\n%s", text)
			}
		})
	}
	if got := elsewhere.got(); len(got) > 0 {
		t.Errorf("a redirect was followed: %+v", got)
	}
}

func TestRefusedSettings(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, test := range []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"an event that does not exist", func(c *Config) { c.On = []string{"job.lost", "failed"} }, `notify.on: "failed": expected some of job.succeeded`},
		{"no URL", func(c *Config) { c.ReadURL = fixed("hook-canary") }, "notify.urlFile: expected the URL"},
		{"half a URL", func(c *Config) { c.ReadURL = fixed("https://hook-canary%zz/") }, "notify.urlFile: expected the URL"},
		{"another protocol", func(c *Config) { c.ReadURL = fixed("ftp://hook-canary/") }, "notify.urlFile: expected the URL"},
		{"no file", func(c *Config) { c.ReadURL = func() (string, error) { return "", os.ErrNotExist } }, "notify.urlFile: file does not exist"},
		{"a secret without its prefix", func(c *Config) { c.ReadSecret = fixed("c2VjcmV0LWNhbmFyeS1zZWNyZXQtY2FuYXJ5") }, "notify.secretFile: expected whsec_"},
		{"a short secret", func(c *Config) { c.ReadSecret = fixed("whsec_Y2FuYXJ5") }, "notify.secretFile: expected whsec_"},
		{"a template that does not parse", func(c *Config) { c.TemplateFile = file("a", "{{.Data.Database") }, "notify.template: "},
		{"a template of what there is not", func(c *Config) { c.TemplateFile = file("b", `{"text": "{{.Data.Tenant}}"}`) }, "notify.template: "},
		{"a template that does not quote", func(c *Config) { c.TemplateFile = file("c", `{"text": "{{.Data.Message}}"}`) }, "expected JSON from the template"},
		{"no certificate", func(c *Config) { c.CAFile = file("d", "none") }, "notify.caFile: "},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := Config{Directory: t.TempDir(), ReadURL: fixed("https://example.com/x"), ReadSecret: fixed("")}
			test.change(&c)
			_, err := New(c, zap.NewNop(), NewMetrics(prometheus.NewRegistry()))
			if problems := c.Problems(); err == nil && len(problems) == 1 { // of a file, which does not keep the daemon from starting
				err = fmt.Errorf("%s: %w", problems[0].Key, problems[0].Err)
			}
			if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "canary") {
				t.Errorf("got %v, expected %q", err, test.want)
			}
		})
	}
}

func TestTemplate(t *testing.T) {
	hook := startWebhook(t)
	path := filepath.Join(t.TempDir(), "slack.tmpl")
	if err := os.WriteFile(path, []byte(`{"text": {{printf "%s of %s: %s" .Data.Action .Data.Database .Data.Message | json}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	s := newSet(t, hook.URL, func(c *Config) { c.TemplateFile = path })
	run(t, s.Notifier)
	e := failedJob()
	e.Data.Action = "backup"
	s.Tell(e)
	eventually(t, "a request", func() bool { return len(hook.got()) == 1 })
	if want := `{"text": "backup of HXE: say \"no\""}`; string(hook.got()[0].Body) != want {
		t.Errorf("got %s, expected %s", hook.got()[0].Body, want)
	}
}

func TestOnlyWhatIsAskedFor(t *testing.T) {
	hook := startWebhook(t)
	s := newSet(t, hook.URL, func(c *Config) { c.On, c.Grace = []string{JobFailed, JobSucceeded}, patience })
	for _, name := range Types() {
		s.Tell(Event{Type: name})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s.Run(ctx)
	var got []string
	for _, r := range hook.got() {
		var e Event
		if err := json.Unmarshal(r.Body, &e); err != nil {
			t.Fatal(err)
		}
		got = append(got, e.Type)
	}
	// A recovery is a success where it is not asked for by its name.
	if diff := cmp.Diff([]string{JobSucceeded, JobSucceeded, JobFailed}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
