package main

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/internal/httpapi"
	"github.com/pipestreamer/pipestreamer/internal/httpapi/apitest"
)

// TestListTellsThatNoLogsAreFound: without it, a list without log backups would
// look like that of a daemon that ships none.
func TestListTellsThatNoLogsAreFound(t *testing.T) {
	const trouble = "open /hana/log: permission denied"
	for name, told := range map[string]string{"nothing": "", "a directory that cannot be read": trouble} {
		t.Run(name, func(t *testing.T) {
			options := httpapi.Options{LogsTrouble: func() string { return told }}
			server := httptest.NewServer(httpapi.New(new(apitest.Jobs), options, zap.NewNop(), httpapi.NewMetrics(prometheus.NewRegistry())).Handler(apitest.Operator))
			defer server.Close()
			status, stdout, stderr := execute(t.Context(), "list", "--url", server.URL)
			if status != 0 || strings.Contains(stdout, "Log backups cannot be found: "+trouble) != (told != "") {
				t.Errorf("status %d, output %q, %q", status, stdout, stderr)
			}
		})
	}
}
