// Package monitoring tests the alerts and the dashboard against what the daemon
// serves, with promtool.
package monitoring

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

var update = flag.Bool("update", false, "write rules.yaml from prometheusrule.yaml")

const document = "../../docs/monitoring.md"

// ruleGroups is the content of rules.yaml.
type ruleGroups struct {
	Groups []struct {
		Name  string `yaml:"name"`
		Rules []rule `yaml:"rules"`
	} `yaml:"groups"`
}

type rule struct {
	Alert       string            `yaml:"alert"`
	Expr        string            `yaml:"expr"`
	For         string            `yaml:"for"`
	Labels      map[string]string `yaml:"labels"`
	Annotations map[string]string `yaml:"annotations"`
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func alerts(t *testing.T) []rule {
	t.Helper()
	var file ruleGroups
	if err := yaml.Unmarshal([]byte(read(t, "rules.yaml")), &file); err != nil {
		t.Fatal(err)
	}
	var all []rule
	for _, group := range file.Groups {
		all = append(all, group.Rules...)
	}
	if len(all) < 20 {
		t.Fatalf("%d alerts, expected all of them", len(all))
	}
	return all
}

// promtool runs Debian's promtool (package prometheus).
func promtool(t *testing.T, args ...string) {
	t.Helper()
	program, err := exec.LookPath("promtool")
	if err != nil {
		const missing = "promtool is not installed; it is in the package prometheus of Debian and Ubuntu, and in the archives of prometheus.io"
		if os.Getenv("CI") == "true" {
			t.Fatal(missing)
		}
		t.Skip(missing)
	}
	out, err := exec.CommandContext(t.Context(), program, args...).CombinedOutput()
	if err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// TestPlainRules keeps rules.yaml the same as the spec of prometheusrule.yaml.
func TestPlainRules(t *testing.T) {
	_, spec, found := strings.Cut(read(t, "prometheusrule.yaml"), "\nspec:\n")
	if !found {
		t.Fatal("prometheusrule.yaml has no spec")
	}
	var want strings.Builder
	want.WriteString("# The rules of prometheusrule.yaml for a Prometheus without the operator. Written from it: go test ./deploy/monitoring -update\n")
	for line := range strings.Lines(spec) {
		want.WriteString(strings.TrimPrefix(line, "  "))
	}
	if *update {
		if err := os.WriteFile("rules.yaml", []byte(want.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(want.String(), read(t, "rules.yaml")); diff != "" {
		t.Errorf("rules.yaml (-want +got):\n%s", diff)
	}
}

// TestRules plays rules_test.yaml.
func TestRules(t *testing.T) {
	promtool(t, "check", "rules", "rules.yaml")
	promtool(t, "test", "rules", "rules_test.yaml")
}

// TestAlertsAreTold checks what people get of an alert, and that its test expects
// it.
func TestAlertsAreTold(t *testing.T) {
	headings := regexp.MustCompile(`(?m)^#+ (\w+)$`).FindAllStringSubmatch(read(t, document), -1)
	expected := read(t, "rules_test.yaml")
	seen := make(map[string]bool)
	for _, alert := range alerts(t) {
		if seen[alert.Alert] {
			t.Errorf("%s: there are two", alert.Alert)
		}
		seen[alert.Alert] = true
		if severity := alert.Labels["severity"]; !slices.Contains([]string{"critical", "warning", "info"}, severity) {
			t.Errorf("%s: severity %q: expected critical, warning or info", alert.Alert, severity)
		}
		for _, name := range []string{"summary", "description"} {
			if alert.Annotations[name] == "" {
				t.Errorf("%s: it has no %s", alert.Alert, name)
			}
		}
		_, anchor, _ := strings.Cut(alert.Annotations["runbook_url"], "/docs/monitoring.md#")
		heading := slices.ContainsFunc(headings, func(h []string) bool { return h[1] == alert.Alert })
		if want := strings.ToLower(alert.Alert); !heading || anchor != want {
			t.Errorf("%s: its runbook_url %q is no heading of docs/monitoring.md", alert.Alert, alert.Annotations["runbook_url"])
		}
		if !strings.Contains(expected, fmt.Sprintf("alertname=%q", alert.Alert)) {
			t.Errorf("%s: no test of rules_test.yaml expects it", alert.Alert)
		}
	}
}

var metricName = regexp.MustCompile(`\b(?:pipestreamer|process|go)_[a-z0-9_]+`)

// foreign are the metrics of client_golang that are used.
var foreign = []string{
	"process_start_time_seconds", "process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds",
	"go_memstats_heap_inuse_bytes", "go_goroutines",
}

// checkNames compares the metrics of an expression with those that are described.
func checkNames(t *testing.T, where, expr string, described map[string]string) {
	t.Helper()
	names := metricName.FindAllString(expr, -1)
	if len(names) == 0 {
		t.Errorf("%s: %s: it uses no metric", where, expr)
	}
	for _, name := range names {
		kind := described[name]
		if kind == "" {
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				base, has := strings.CutSuffix(name, suffix)
				if of := described[base]; has && (of == "histogram" || of == "summary" && suffix != "_bucket") {
					kind = of
				}
			}
		}
		if kind == "" && !slices.Contains(foreign, name) {
			t.Errorf("%s: %s: the daemon has no metric %s", where, expr, name)
		}
	}
}

// describedMetrics is the table of docs/monitoring.md, which a test of cmd holds
// to the daemon.
func describedMetrics(t *testing.T) map[string]string {
	t.Helper()
	described := make(map[string]string)
	for _, row := range regexp.MustCompile("(?m)^\\| `(pipestreamer_[a-z_]+)` \\| (\\w+) \\|").FindAllStringSubmatch(read(t, document), -1) {
		described[row[1]] = row[2]
	}
	if len(described) < 50 {
		t.Fatalf("docs/monitoring.md describes %d metrics, expected all of them", len(described))
	}
	return described
}

func TestMetricsExist(t *testing.T) {
	described := describedMetrics(t)
	for _, alert := range alerts(t) {
		checkNames(t, alert.Alert, alert.Expr, described)
	}
	for _, panel := range dashboard(t).Panels {
		for _, target := range panel.Targets {
			checkNames(t, panel.Title, target.Expr, described)
		}
	}
}

type dashboardFile struct {
	Panels []struct {
		ID         int                      `json:"id"`
		Type       string                   `json:"type"`
		Title      string                   `json:"title"`
		Datasource struct{ UID string }     `json:"datasource"`
		GridPos    struct{ X, Y, W, H int } `json:"gridPos"`
		Targets    []struct {
			Expr       string               `json:"expr"`
			Legend     string               `json:"legendFormat"`
			Datasource struct{ UID string } `json:"datasource"`
		} `json:"targets"`
	} `json:"panels"`
	Templating struct {
		List []struct {
			Name string `json:"name"`
		} `json:"list"`
	} `json:"templating"`
}

func dashboard(t *testing.T) dashboardFile {
	t.Helper()
	var file dashboardFile
	if err := json.Unmarshal([]byte(read(t, "dashboard.json")), &file); err != nil {
		t.Fatal(err)
	}
	return file
}

var variable = regexp.MustCompile(`\$\{?(\w+)\}?`)

// TestDashboard parses every expression with promtool, and looks at what Grafana
// does not complain about: panels over each other, variables that do not exist,
// another data source than the one that is chosen.
func TestDashboard(t *testing.T) {
	file := dashboard(t)
	variables := []string{"__rate_interval"}
	for _, v := range file.Templating.List {
		variables = append(variables, v.Name)
	}
	var rules []map[string]string // recording rules, which promtool can parse
	taken := make(map[[2]int]string)
	ids := make(map[int]bool)
	for _, panel := range file.Panels {
		if ids[panel.ID] || panel.Title == "" {
			t.Errorf("panel %d %q: expected an id of its own and a title", panel.ID, panel.Title)
		}
		ids[panel.ID] = true
		at := panel.GridPos
		for x := at.X; x < at.X+at.W; x++ {
			for y := at.Y; y < at.Y+at.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" || x >= 24 {
					t.Fatalf("%q lies over %q or beyond the edge", panel.Title, other)
				}
				taken[[2]int{x, y}] = panel.Title
			}
		}
		if (panel.Type == "row") == (len(panel.Targets) > 0) {
			t.Errorf("%q is a %s with %d expressions", panel.Title, panel.Type, len(panel.Targets))
		}
		for _, target := range panel.Targets {
			if target.Datasource.UID != "${datasource}" || panel.Datasource.UID != "${datasource}" {
				t.Errorf("%q uses data source %q", panel.Title, target.Datasource.UID)
			}
			if target.Legend == "" {
				t.Errorf("%q: %s: it has no legend", panel.Title, target.Expr)
			}
			for _, name := range variable.FindAllStringSubmatch(target.Expr, -1) {
				if !slices.Contains(variables, name[1]) {
					t.Errorf("%q: %s: there is no variable %s", panel.Title, target.Expr, name[1])
				}
			}
			expr := variable.ReplaceAllString(strings.ReplaceAll(target.Expr, "$__rate_interval", "1m"), ".*")
			rules = append(rules, map[string]string{"record": fmt.Sprintf("parsed:%d", len(rules)), "expr": expr})
		}
	}
	text, err := yaml.Marshal(map[string]any{"groups": []map[string]any{{"name": "dashboard", "rules": rules}}})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "dashboard.yaml")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, "check", "rules", path)
}
