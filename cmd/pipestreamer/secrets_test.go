package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pipestreamer/pipestreamer/internal/config"
)

func TestReadSecrets(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	files := map[string]string{"access_key_id": write("id", "one\n"), "secret_access_key": write("key", "canary-1\n")}
	// As the store of a daemon does it.
	refresh := storeConfig(&config.Config{Store: config.Store{Secrets: files}}).Refresh
	read := func(want map[string]string) {
		t.Helper()
		got, err := refresh()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	read(map[string]string{"access_key_id": "one", "secret_access_key": "canary-1"})
	write("key", "canary-2")
	read(map[string]string{"access_key_id": "one", "secret_access_key": "canary-2"})

	refused := func(want ...string) {
		t.Helper()
		got, err := refresh()
		if err == nil || got != nil {
			t.Fatalf("%v, %v; want an error and no values", got, err)
		}
		for _, text := range want {
			if !strings.Contains(err.Error(), text) {
				t.Errorf("error %q does not name %q", err, text)
			}
		}
		if strings.Contains(err.Error(), "canary") {
			t.Errorf("a secret in the error %q", err)
		}
	}
	write("id", "\n")
	refused("store.secrets.access_key_id", filepath.Join(dir, "id"), "empty")
	if err := os.Remove(filepath.Join(dir, "id")); err != nil {
		t.Fatal(err)
	}
	refused("store.secrets.access_key_id", "no such file")
	write("key", strings.Repeat("canary-", 10_000))
	refused("store.secrets.access_key_id", "store.secrets.secret_access_key")
}
