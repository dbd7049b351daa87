package notify

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
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
