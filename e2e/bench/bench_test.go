package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestSpread(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		values []float64
		want   spread
	}{
		{"one", []float64{3}, spread{3, 3, 3}},
		{"odd", []float64{9, 1, 4}, spread{4, 1, 9}},
		{"even", []float64{4, 8, 1, 2}, spread{3, 1, 8}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := spreadOf(test.values); got != test.want {
				t.Errorf("got %v, expected %v", got, test.want)
			}
		})
	}
}

// measured are two clients in a round that was slow for both and one that was not.
func measured() *result {
	const bytes = 1 << 30
	rows := summarize([]string{"rclone rcat", "pipestreamer <b>"}, map[string][]measurement{
		"rclone rcat":      {{8 * time.Second, 4 * time.Second, 100 << 20}, {4 * time.Second, 4 * time.Second, 110 << 20}, {4 * time.Second, 2 * time.Second, 90 << 20}},
		"pipestreamer <b>": {{2 * time.Second, 2 * time.Second, 50 << 20}, {time.Second, time.Second, 60 << 20}, {2 * time.Second, time.Second, 40 << 20}},
	}, "rclone rcat", bytes)
	return &result{scenario: scenario{direction: up, store: null, streams: 1, payload: "random"}, bytes: bytes, load: "0.10", rows: rows}
}

func TestText(t *testing.T) {
	t.Parallel()
	want := `
**up/null/http/1/random**, 1 GiB, load 0.10 before:

| client | MiB/s (min–max) | × rclone rcat | CPU s/GiB (min–max) | × rclone rcat | peak MiB |
|---|---|---|---|---|---|
| pipestreamer <b> | 512 (512–1024) | 4.00 | 1.00 (1.00–2.00) | 0.50 | 50 |
| rclone rcat | 256 (128–256) | 1.00 | 4.00 (2.00–4.00) | 1.00 | 100 |
`
	if diff := cmp.Diff(want, measured().text(false)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	m := measured()
	m.scenario.memory, m.rows = true, m.rows[:1]
	want = "| pipestreamer <b> | 1 | 1 | 50 | 184 | 0.27 |\n"
	if diff := cmp.Diff(want, m.text(true)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if text := m.text(false); !strings.HasPrefix(text, "\n**memory") || !strings.HasSuffix(text, want) {
		t.Errorf("the first row has no heading:\n%s", text)
	}
}

// Where the baseline was left out there is no ratio.
func TestTextWithoutBaseline(t *testing.T) {
	t.Parallel()
	r := measured()
	r.rows = summarize([]string{"a"}, map[string][]measurement{"a": {{time.Second, time.Second, 1 << 20}}}, "rclone rcat", 1<<30)
	if text := r.text(false); !strings.Contains(text, "| a | 1024 (1024–1024) |  | 1.00 (1.00–1.00) |  | 1 |\n") {
		t.Errorf("got\n%s", text)
	}
}

func TestBetween(t *testing.T) {
	t.Parallel()
	const marked = "before\n" + beginMark + "\nold\n" + endMark + "\nafter\n"
	got, err := between([]byte(marked), "new\n")
	if want := "before\n" + beginMark + "\nnew\n" + endMark + "\nafter\n"; err != nil || string(got) != want {
		t.Errorf("got %q, %v", got, err)
	}
	for _, text := range []string{"", "before\n" + beginMark + "\n", endMark + "\n" + beginMark + "\n"} {
		if got, err := between([]byte(text), "new\n"); err == nil {
			t.Errorf("%q has no place for results, got %q", text, got)
		}
	}
}

func TestDraw(t *testing.T) {
	t.Parallel()
	withMemory := measured()
	withMemory.scenario.memory = true
	plot, err := draw([]*result{measured(), withMemory, measured()})
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	bars := 0
	for decoder := xml.NewDecoder(bytes.NewReader(plot)); ; {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("the plot is no XML: %v\n%s", err, plot)
		}
		switch token := token.(type) {
		case xml.CharData:
			texts = append(texts, strings.TrimSpace(string(token)))
		case xml.StartElement:
			if token.Name.Local == "line" {
				bars++
			}
		}
	}
	if bars != 8 {
		t.Errorf("%d bars, expected 2 of each of 2 clients in 2 scenarios", bars)
	}
	all := strings.Join(texts, "\n")
	for _, want := range []string{"up/null/http/1/random", "pipestreamer <b>", "512", "4.00"} {
		if !strings.Contains(all, want) {
			t.Errorf("the plot does not say %q:\n%s", want, all)
		}
	}
}

func TestChoose(t *testing.T) {
	t.Parallel()
	seen := make(map[string]bool)
	for _, s := range everything() {
		if seen[s.name()] {
			t.Errorf("two scenarios are called %s", s.name())
		}
		seen[s.name()] = true
	}
	for _, test := range []struct {
		only string
		want int
	}{
		{".*", len(seen)}, {usual, 18}, {"up/null/http/1", 3}, {"up/null/http/1/random", 1}, {"up/null-wan", 18}, {"memory/null-slow/http/16", 1},
	} {
		chosen, err := choose(test.only)
		if err != nil || len(chosen) != test.want {
			t.Errorf("%q selects %d scenarios, expected %d (%v)", test.only, len(chosen), test.want, err)
		}
	}
	for _, only := range []string{"up/nul", "("} {
		if chosen, err := choose(only); err == nil {
			t.Errorf("%q selects %v", only, chosen)
		}
	}
}

// A client that fails ends the trial with its own words, and HANA's side, which
// waits for a pipe to be opened, with it.
func TestClientFails(t *testing.T) {
	t.Parallel()
	b := &bench{work: t.TempDir(), programs: t.TempDir()}
	build := exec.CommandContext(t.Context(), "go", "build", "-o", b.programs, "./pump")
	build.Env = append(os.Environ(), "CGO_ENABLED=0") // compiled so already
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	for _, direction := range []string{up, down} {
		for _, armed := range []bool{false, true} {
			failed, err := b.newTrial(scenario{direction: direction, streams: 2, payload: "random"}, &store{seed: new(trial)}, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			t.Run(fmt.Sprintf("%s, armed: %t", direction, armed), func(t *testing.T) {
				t.Parallel()
				failing := client{armed: armed, commands: func(*trial) []command {
					return []command{{program: "sh", args: []string{"-c", "echo it cannot be done >&2; exit 3"}}}
				}}
				began := time.Now()
				if _, err := b.run(t.Context(), failing, failed); err == nil || !strings.Contains(err.Error(), "it cannot be done") {
					t.Errorf("got %v", err)
				}
				if took := time.Since(began); took > patience/2 {
					t.Errorf("it took %s", took)
				}
			})
		}
	}
}

// TestSmoke carries a few MiB through every kind of scenario and writes a
// document. It measures nothing.
func TestSmoke(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"rclone", "versitygw"} {
		if _, err := os.Stat(filepath.Join("..", "..", "bin", name)); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatal(err)
			}
			t.Skipf("%v (make tools)", err)
		}
	}
	document := filepath.Join(t.TempDir(), "document.md")
	if err := os.WriteFile(document, []byte(beginMark+"\n"+endMark+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	b := &bench{
		out: &out, bin: filepath.Join("..", "..", "bin"), only: regexp.MustCompile(""), runs: 1, gibibytes: 6.0 / 1024, document: document,
		profiles: t.TempDir(),
	}
	if err := b.addVariant(`more={"Concurrency": 8}`); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"{}", "={}", "old=no/such/program"} {
		if err := b.addVariant(text); err == nil {
			t.Errorf("%q was taken for a variant", text)
		}
	}
	scenarios := []scenario{
		{direction: up, store: null, streams: 1, payload: "mixed"},
		{direction: down, store: null, wan: true, tls: true, streams: 4, payload: "table"},
		{direction: up, store: vgw, wan: true, streams: 1, payload: "random"},
		{direction: down, store: vgw, tls: true, streams: 4, payload: "mixed"},
		{direction: up, store: null, streams: 4, payload: "random", memory: true, gibibytes: 6.0 / 1024},
	}
	if err := b.measure(t.Context(), scenarios); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"**up/null/http/1/mixed**", "| rclone cat tuned |", "| pipestreamer tuned |", "| plain GET |", "| pipestreamer more | 4 |", "(document.svg)",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the document has no %q:\n%s", want, text)
		}
	}
	if _, err := os.Stat(strings.TrimSuffix(document, ".md") + ".svg"); err != nil {
		t.Error(err)
	}
	if profiles, err := filepath.Glob(filepath.Join(b.profiles, "BENCH*.pprof")); err != nil || len(profiles) == 0 {
		t.Errorf("the data path left no profile: %v", err)
	}
	if _, err := os.Stat(b.work); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is left: %v", b.work, err)
	}
}
