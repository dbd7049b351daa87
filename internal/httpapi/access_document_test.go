package httpapi_test

import (
	"os"
	"strings"
	"testing"

	"github.com/pipestreamer/pipestreamer/internal/httpapi"
)

// docs/access.md promises a reader no more than the routes give: what only an
// operator may look at is named in both rows.
func TestAccessDocument(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/access.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]string{}
	for line := range strings.Lines(string(text)) {
		for _, role := range []string{"reader", "operator"} {
			if strings.HasPrefix(line, "| "+role+" |") {
				rows[role] = line
			}
		}
	}
	for pattern, needs := range httpapi.RouteRoles() {
		path, get := strings.CutPrefix(pattern, "GET ")
		if !get || needs != "operator" {
			continue
		}
		branch := "`/" + strings.Split(path, "/")[1] + "/`"
		for role, row := range rows {
			if !strings.Contains(row, branch) {
				t.Errorf("%s needs an operator, and the row of %s does not name %s: %s", pattern, role, branch, row)
			}
		}
	}
	if len(rows) != 2 {
		t.Errorf("rows: %v", rows)
	}
}
