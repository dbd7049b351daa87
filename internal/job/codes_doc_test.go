package job

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pipestreamer/pipestreamer/pkg/hdbtrigger"
)

var update = flag.Bool("update", false, "rewrite docs/errors.md")

// TestErrorsDocument keeps docs/errors.md in step with the codes. Rewrite it
// with: go test ./internal/job -run TestErrorsDocument -update.
func TestErrorsDocument(t *testing.T) {
	t.Parallel()
	const path = "../../docs/errors.md"
	var want strings.Builder
	want.WriteString("# Error codes\n\n" +
		"Every job that does not succeed names one cause: `error.code` in its record (`pipestreamer show JOB -o json`).\n" +
		"Codes are stable. HANA's own codes stand beside them as `hana_code` (447, 448, 449, 10, 258 …) and `hana_inner`.\n\n" +
		"This page is written from the code by `go test ./internal/job -run TestErrorsDocument -update`.\n\n" +
		"| code | meaning | likely reason | what to do |\n|---|---|---|---|\n")
	for _, info := range Codes() {
		fmt.Fprintf(&want, "| `%s` | %s | %s | %s |\n", info.Code, info.Meaning, info.Reason, info.Action)
	}
	want.WriteString("\n## HANA's codes\n\n" +
		"HANA nests codes: `[447] backup could not be completed: [2000008] Error during asynchronous file transfer …`. The outer one is\n" +
		"`hana_code`, the inner ones are `hana_inner`. What is known of them (*seen*: in output of a real HANA; *remembered*: without a\n" +
		"public source):\n\n" +
		"| code | | HANA says | what to do | basis |\n|---|---|---|---|---|\n")
	for _, known := range hdbtrigger.KnownCodes() {
		place := "outer"
		if known.Inner {
			place = "inner"
		}
		fmt.Fprintf(&want, "| %d | %s | `%s` | %s | %s |\n", known.Code, place, known.Text, known.Hint, known.Basis)
	}
	if *update {
		if err := os.WriteFile(path, []byte(want.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want.String(), string(got)); diff != "" {
		t.Errorf("docs/errors.md (-want +got):\n%s", diff)
	}
}
