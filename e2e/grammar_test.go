package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim"
	"github.com/pipestreamer/pipestreamer/internal/httpapi"
)

// hostileTexts are what no field means.
func hostileTexts() map[string]string {
	return map[string]string{
		"traversal":            "../../../etc/passwd",
		"traversal in a name":  "HXE/../../state",
		"absolute path":        "/etc/passwd",
		"NUL":                  "HXE\x00",
		"newline":              "HXE\n",
		"carriage return":      "HXE\r\nX-Header: y",
		"tab":                  "HX\tE",
		"escape sequence":      "\x1b[2J",
		"single quote":         "HXE'",
		"double quote":         `HXE"`,
		"backquote":            "HXE`id`",
		"substitution":         "$(id)",
		"variable":             "${HOME}",
		"option":               "-rf",
		"double dash":          "--help",
		"percent":              "HXE%2f..%2f",
		"percent NUL":          "HXE%00",
		"backslash":            `HXE\..\state`,
		"long":                 strings.Repeat("A", 10<<10),
		"Cyrillic letters":     "НХЕ",
		"full width":           "ＨＸＥ",
		"long s":               "ſYSTEMDB",
		"dotless i":            "ıNDEX",
		"right to left":        "HXE\u202eTAB",
		"zero width":           "HX\u200bE",
		"combining":            "HXE\u0301",
		"SQL":                  "HXE'); DROP USER SYSTEM; --",
		"SQL in a quoted name": `HXE" USING FILE ('/tmp/x') --`,
		"SQL comment":          "HXE/*",
		"semicolon":            "HXE;",
		"wildcard":             "%",
		"space":                " ",
		"spaces around":        " HXE ",
		"glob":                 "*",
		"hidden":               ".hidden",
		"format":               "%s%n%x",
		"template":             "{{.Password}}",
		"number":               "-1e400",
		"JSON":                 `{"database":"HXE"}`,
	}
}

// requestField is one field of a request, and a body that is right but for it.
type requestField struct {
	method, path, field string
	right               map[string]any
}

// requestFields are all fields of all requests that the interface describes.
func requestFields(t *testing.T) []requestField {
	t.Helper()
	document, err := openapi3.NewLoader().LoadFromFile("../docs/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	right := map[string]map[string]any{
		"/v1/backups":       {"database": "HXE"},
		"/v1/restores":      {"database": "HXE", "backup": "latest"},
		"/v1/verifications": {"database": "HXE", "backup": "latest"},
		"/v1/probes":        {"database": "HXE"},
		"/v1/bandwidth":     {"limit": "off"},
	}
	var fields []requestField
	for _, path := range slices.Sorted(maps.Keys(document.Paths.Map())) {
		for method, operation := range document.Paths.Value(path).Operations() {
			if operation.RequestBody == nil {
				continue
			}
			body, known := right[path]
			if !known {
				t.Errorf("%s %s: this test does not know a right request", method, path)
			}
			schema := operation.RequestBody.Value.Content.Get("application/json").Schema.Value
			for _, field := range slices.Sorted(maps.Keys(schema.Properties)) {
				right := maps.Clone(body)
				if field == "until" {
					delete(right, "backup")
				}
				fields = append(fields, requestField{method, path, field, right})
			}
		}
	}
	return fields
}

// TestHostileFields puts hostile texts into every field of every request: each is
// refused by its name, and HANA hears nothing of it.
func TestHostileFields(t *testing.T) {
	t.Parallel()
	w := newWorld(t, hanasim.Config{Databases: []hanasim.Database{systemDB(), {Name: "HXE", Volumes: volumes(mebibyte)}}}, openLocal(t), nil)
	w.backUp("HXE") // so that the rest of each request is right
	fields := requestFields(t)
	if len(fields) < 13 {
		t.Fatalf("only %d fields: %+v", len(fields), fields)
	}
	before, jobs := w.hana.heard(), len(w.jobs())
	for _, f := range fields {
		for name, text := range hostileTexts() {
			body := maps.Clone(f.right)
			body[f.field] = text
			status, p := w.request(f.method, f.path, body)
			if status != http.StatusBadRequest || p.Field != f.field || p.Detail == "" {
				t.Errorf("%s %s with %s in %s: %d %+v, expected 400 for that field", f.method, f.path, name, f.field, status, p)
			}
		}
	}
	for _, path := range []string{"/v1/backups", "/v1/backups/latest", "/v1/recovery"} {
		for name, text := range hostileTexts() {
			status, p := w.request(http.MethodGet, path+"?"+url.Values{"database": {text}}.Encode(), nil)
			if status != http.StatusBadRequest || p.Field != "database" {
				t.Errorf("GET %s with %s: %d %+v, expected 400 for the database", path, name, status, p)
			}
		}
	}
	for name, text := range hostileTexts() {
		for _, path := range []string{"/v1/backups/" + url.PathEscape(text) + "?database=HXE", "/v1/jobs/" + url.PathEscape(text)} {
			if status, p := w.request(http.MethodGet, path, nil); status != http.StatusBadRequest && status != http.StatusNotFound || p.Type == "" {
				t.Errorf("GET %.80s with %s: %d %+v, expected 400 or 404", path, name, status, p)
			}
		}
	}
	if after := w.hana.heard(); after != before {
		t.Errorf("HANA heard %d statements:\n%s", after-before, w.hana.log)
	}
	if after := len(w.jobs()); after != jobs {
		t.Errorf("%d jobs were started", after-jobs)
	}
	if status, p := w.request(http.MethodPost, "/v1/backups", map[string]any{"database": "HXE", "kind": "complete", "prefix": "RIGHT"}); status != http.StatusAccepted {
		t.Errorf("a right request: %d %+v", status, p)
	}
	eventually(t, "HANA hears of a right request", func() bool { return w.hana.heard() > before })
	w.stopDaemon()
}

// heard counts the statements that reached HANA, without its queries.
func (h *hana) heard() int { return strings.Count(h.log.String(), "\tstatement\t") }

func (w *world) jobs() []string {
	w.t.Helper()
	records, err := w.client().Jobs(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	var ids []string
	for i := range records {
		ids = append(ids, records[i].ID)
	}
	return ids
}

// unixTransport connects to a socket, whatever the address.
func unixTransport(socket string) *http.Transport {
	return &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
}

// request speaks to the daemon's socket as any program could.
func (w *world) request(method, path string, body map[string]any) (status int, p httpapi.Problem) {
	w.t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		w.t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(w.t.Context(), method, "http://pipestreamer"+path, bytes.NewReader(text))
	if err != nil {
		w.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := (&http.Client{Transport: unixTransport(w.socket)}).Do(request)
	if err != nil {
		w.t.Fatal(err)
	}
	answer, err := io.ReadAll(response.Body)
	if err := errors.Join(err, response.Body.Close()); err != nil {
		w.t.Fatal(err)
	}
	if response.StatusCode >= http.StatusMultipleChoices {
		p = decode[httpapi.Problem](w.t, string(answer))
	}
	return response.StatusCode, p
}
