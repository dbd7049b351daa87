package notify

import (
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"
)

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
