package notify

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// TestWaitsForItsFiles: what is told while no file can be used arrives when they are
// mended, by the next process as well.
func TestWaitsForItsFiles(t *testing.T) {
	hook := startWebhook(t)
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	read := func(name string) func() (string, error) {
		return func() (string, error) { text, err := os.ReadFile(filepath.Join(dir, name)); return string(text), err }
	}
	s := newSet(t, hook.URL, func(c *Config) {
		c.ReadURL, c.ReadSecret, c.TemplateFile, c.CAFile = read("url"), read("secret"), write("template", "{{"), write("ca", "none")
	})
	stop := run(t, s.Notifier)
	s.Tell(failedJob())
	eventually(t, "it is tried", func() bool { return testutil.ToFloat64(s.metrics.failed) > 0 })
	stop()
	run(t, s.open(t))
	for name, text := range map[string]string{
		"template": `{"text": {{json .Data.SID}}}`, "url": hook.URL, "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "ca": certificateText(t),
	} {
		if got := len(hook.got()); got > 0 {
			t.Fatalf("%d requests before everything is mended", got)
		}
		write(name, text)
	}
	eventually(t, "it arrives", func() bool { return len(hook.got()) == 1 })
	if got := string(hook.got()[0].Body); got != `{"text": "HXE"}` {
		t.Errorf("body %s", got)
	}
}

// certificateText is an authority in PEM.
func certificateText(t *testing.T) string {
	t.Helper()
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
}

// TestStatusIsBounded: what a webhook answers goes to the log.
func TestStatusIsBounded(t *testing.T) {
	err := judge(&http.Response{StatusCode: http.StatusTeapot, Status: "418 " + strings.Repeat("x", 1<<16)})
	if err == nil || len(err.Error()) > 200 {
		t.Errorf("an error of %d bytes", len(err.Error()))
	}
}
