package uploader_test

import (
	"testing"

	"github.com/pipestreamer/pipestreamer/pkg/uploader"
)

func TestSensitive(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		kind, option string
		want         bool
	}{
		{"s3", "endpoint", false},
		{"s3", "provider", false},
		{"s3", "secret_access_key", true},
		{"s3", "access_key_id", true},
		{"sftp", "pass", true},
		{"sftp", "key_file_pass", true},
		{"sftp", "port", false},
		{"s3", "no_such_option", true},
		{"no_such_store", "endpoint", true},
	} {
		if got := uploader.Sensitive(test.kind, test.option); got != test.want {
			t.Errorf("%s %s: %v, expected %v", test.kind, test.option, got, test.want)
		}
	}
}
