package main

import (
	"context"
	"io"
	"path/filepath"
	"strings"
	"testing"
)

// TestServeRefusesNotifications: what cannot be sent is no reason to find out after
// the first backup that has failed.
func TestServeRefusesNotifications(t *testing.T) {
	for _, test := range []struct{ name, setting, text, want string }{
		{"a template that does not parse", "template", "{{.Type", "configuration, notify.template: "},
		{"a secret that is none", "secretFile", "secret-canary", "configuration, notify.secretFile: expected whsec_"},
		{"an address that is none", "urlFile", "url-canary", "configuration, notify.urlFile: expected the URL"},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := newMachine(t)
			m.write(t, "url", "https://hooks.example.com/path-canary")
			m.write(t, test.setting, test.text)
			m.environ = append(m.environ, "PIPESTREAMER_NOTIFY_URL_FILE="+filepath.Join(m.dir, "url"))
			variable := map[string]string{"template": "TEMPLATE", "secretFile": "SECRET_FILE", "urlFile": "URL_FILE"}[test.setting]
			m.environ = append(m.environ, "PIPESTREAMER_NOTIFY_"+variable+"="+filepath.Join(m.dir, test.setting))
			log := new(lockedBuffer)
			if status := run(context.Background(), []string{"serve", "--config", m.config}, m.environ, io.Discard, log); status != statusUsage {
				t.Errorf("status %d, expected %d", status, statusUsage)
			}
			if text := log.String(); !strings.Contains(text, test.want) || strings.Contains(text, "canary") {
				t.Errorf("said:\n%s", text)
			}
		})
	}
}
