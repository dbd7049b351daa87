package notify

import (
	"os"
	"path/filepath"
	"testing"
)

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
