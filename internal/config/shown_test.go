package config_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestShown: what holds and where it comes from, and no secret.
func TestShown(t *testing.T) {
	t.Parallel()
	file := secretFile(t, canary)
	text := strings.Replace(minimal, "root: bucket/hana", `root: bucket/hana, secrets: {secret_access_key: %[1]s},
  options: {endpoint: 'https://s3/path', region: 'http://s3?sig=`+canary+`', acl: 'user:`+canary+`@s3', access_key_id: `+canary+`}`, 1)
	c, err := load(t, fmt.Sprintf(text, file)+"encryption: {recipients: [age1x, age1y]}\n", "PIPESTREAMER_MEMORY_BUDGET=1GiB", "PIPESTREAMER_STORE_OPTIONS_PROVIDER=Minio")
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, s := range c.Shown(func(option string) bool { return option == "access_key_id" }) {
		if strings.Contains(s.Value+s.Source, canary) {
			t.Errorf("%s shows a secret: %s", s.Key, s.Value)
		}
		_, source, inFile := strings.Cut(s.Source, " line ")
		if inFile {
			s.Source = "line " + source
		}
		got[s.Key] = s.Value + " <- " + s.Source
	}
	for key, want := range map[string]string{
		"hana.passwordFile":               file + " <- line 2",
		"hana.host":                       "localhost <- default",
		"http.socket":                     "/var/lib/pipestreamer/pipestreamer.sock <- default",
		"memoryBudget":                    "1GiB <- environment variable PIPESTREAMER_MEMORY_BUDGET",
		"store.options.provider":          "Minio <- environment variable PIPESTREAMER_STORE_OPTIONS_PROVIDER",
		"store.options.endpoint":          "https://s3/path <- line 5",
		"store.options.region":            "[redacted] <- line 5",
		"store.options.acl":               "[redacted] <- line 5",
		"store.options.access_key_id":     "[redacted] <- line 5",
		"store.secrets.secret_access_key": file + " <- line 4",
		"store.bandwidth":                 "off <- default",
		"encryption.recipients":           "[age1x age1y] <- line 6",
	} {
		if diff := cmp.Diff(want, got[key]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", key, diff)
		}
	}
}
