package e2e

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// browser is a headless Chromium, which node/browser.mjs drives.
type browser struct {
	t       *testing.T
	in      io.WriteCloser
	answers *bufio.Scanner
}

// startBrowser skips where there is none; in CI it fails.
func startBrowser(t *testing.T) *browser {
	t.Helper()
	requireProgram(t, "node")
	requireProgram(t, "chromium")
	if _, err := os.Stat(filepath.Join("node", "node_modules", "playwright-core")); err != nil {
		missing(t, "what drives the browser is not installed (make node)")
	}
	program, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("node", filepath.Join("node", "browser.mjs"))
	cmd.Env = append(plainEnvironment(), "E2E_CHROMIUM="+program)
	var log tail
	log.showOnFailure(t, "the browser")
	cmd.Stderr = &log
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	b := &browser{t: t, in: in, answers: bufio.NewScanner(out)}
	b.answers.Buffer(nil, 8<<20)
	t.Cleanup(func() {
		if err := in.Close(); err != nil {
			t.Error(err)
		}
		killer := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
		defer killer.Stop()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the browser: %v", err)
		}
	})
	return b
}

// do asks the browser for something.
func (b *browser) do(request map[string]any) (json.RawMessage, error) {
	text, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	if _, err := b.in.Write(append(text, '\n')); err != nil {
		return nil, err
	}
	if !b.answers.Scan() {
		return nil, errors.Join(errors.New("the browser has ended"), b.answers.Err())
	}
	var answer struct {
		Value json.RawMessage `json:"value"`
		Error string          `json:"error"`
	}
	if err := json.Unmarshal(b.answers.Bytes(), &answer); err != nil {
		return nil, err
	}
	if answer.Error != "" {
		return nil, errors.New(answer.Error)
	}
	return answer.Value, nil
}

func (b *browser) must(request map[string]any) json.RawMessage {
	b.t.Helper()
	value, err := b.do(request)
	if err != nil {
		b.t.Fatalf("%v: %v", request, err)
	}
	return value
}

// open loads a page, logged in with pageToken; settings are width, height, scheme, and
// user and password of somebody else.
func (b *browser) open(url string, settings map[string]any) {
	b.t.Helper()
	b.must(overlay(map[string]any{"op": "open", "url": url, "user": "anybody", "password": pageToken}, settings))
}

func (b *browser) click(selector string) {
	b.t.Helper()
	b.must(map[string]any{"op": "click", "selector": selector})
}

func (b *browser) press(key string) { b.t.Helper(); b.must(map[string]any{"op": "press", "key": key}) }

// stand has something between browser and daemon answer for it, until status is 0.
func (b *browser) stand(status int, body string) {
	b.t.Helper()
	b.must(map[string]any{"op": "stand", "pattern": "**/v1/**", "status": status, "body": body})
}

// number evaluates an expression.
func (b *browser) number(script string) float64 { b.t.Helper(); return evaluate[float64](b, script) }

// text is that of the first element, empty when there is none.
func (b *browser) text(selector string) string {
	b.t.Helper()
	return evaluate[string](b, "document.querySelector("+quote(selector)+")?.innerText ?? ''")
}

// count is how many elements there are.
func (b *browser) count(selector string) int {
	b.t.Helper()
	return int(b.number("document.querySelectorAll(" + quote(selector) + ").length"))
}

// awaitText waits until the element says so.
func (b *browser) awaitText(selector string, words ...string) {
	b.t.Helper()
	var last string
	deadline := time.Now().Add(patience)
	for {
		last = b.text(selector)
		missing := false
		for _, word := range words {
			missing = missing || !strings.Contains(last, word)
		}
		if !missing {
			return
		}
		if time.Now().After(deadline) {
			b.t.Fatalf("%s does not say %q; it says:\n%s\nthe page:\n%s", selector, words, last, b.text("body"))
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// fine expects that nothing went wrong since the last call: no message on the
// console, no error, nothing that the policy refused, no other host.
func (b *browser) fine(host string) {
	b.t.Helper()
	type report struct {
		Console    []string `json:"console"`
		Errors     []string `json:"errors"`
		Violations []string `json:"violations"`
		Hosts      []string `json:"hosts"`
	}
	var got report
	if err := json.Unmarshal(b.must(map[string]any{"op": "report"}), &got); err != nil {
		b.t.Fatal(err)
	}
	want := report{Console: []string{}, Errors: []string{}, Violations: []string{}, Hosts: []string{host}}
	if diff := cmp.Diff(want, got); diff != "" {
		b.t.Errorf("what the browser has noticed (-want +got):\n%s", diff)
	}
}

// accessible expects that axe-core finds nothing.
func (b *browser) accessible(what string) {
	b.t.Helper()
	var violations []string
	if err := json.Unmarshal(b.must(map[string]any{"op": "axe"}), &violations); err != nil {
		b.t.Fatal(err)
	}
	for _, violation := range violations {
		b.t.Errorf("%s: %s", what, violation)
	}
}

// fits expects that nothing is wider than the window.
func (b *browser) fits(what string) {
	b.t.Helper()
	if excess := b.number("document.documentElement.scrollWidth - innerWidth"); excess > 0 {
		b.t.Errorf("%s is %v pixels wider than the window", what, excess)
	}
}

// shoot takes a picture for the documents, where somebody asked for it.
func (b *browser) shoot(name string) {
	b.t.Helper()
	b.shootPart(name, "")
}

// shootPart takes one of the first element of a selector.
func (b *browser) shootPart(name, selector string) {
	b.t.Helper()
	if directory := os.Getenv("E2E_SCREENSHOTS"); directory != "" {
		b.must(map[string]any{"op": "shot", "path": filepath.Join(directory, name), "selector": selector})
	}
}

func evaluate[T any](b *browser, script string) T {
	b.t.Helper()
	var value T
	if text := b.must(map[string]any{"op": "eval", "script": script}); json.Unmarshal(text, &value) != nil {
		b.t.Fatalf("%s: got %s", script, text)
	}
	return value
}

// quote writes a string of JavaScript.
func quote(text string) string {
	quoted, err := json.Marshal(text)
	if err != nil {
		panic(err)
	}
	return string(quoted)
}
