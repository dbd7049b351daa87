package statuspage_test

import (
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pipestreamer/pipestreamer/internal/statuspage"
)

func get(t *testing.T, path string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	recorder := httptest.NewRecorder()
	statuspage.Handler().ServeHTTP(recorder, request)
	return recorder
}

func TestFiles(t *testing.T) {
	t.Parallel()
	tests := []struct {
		path   string
		status int
		kind   string
	}{
		{"/", 200, "text/html; charset=utf-8"},
		{"/page/app.mjs", 200, "text/javascript; charset=utf-8"},
		{"/page/style.css", 200, "text/css; charset=utf-8"},
		{"/page/icon.svg", 200, "image/svg+xml"},
		{"/page/", 404, "text/plain; charset=utf-8"},
		{"/page/nope.mjs", 404, "text/plain; charset=utf-8"},
		{"/page/../statuspage.go", 404, "text/plain; charset=utf-8"},
		{"/page/assets/app.mjs", 404, "text/plain; charset=utf-8"},
	}
	for _, test := range tests {
		got := get(t, test.path)
		if got.Code != test.status || got.Header().Get("Content-Type") != test.kind {
			t.Errorf("%s: %d %q, expected %d %q", test.path, got.Code, got.Header().Get("Content-Type"), test.status, test.kind)
		}
		want := map[string]string{
			"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; " +
				"frame-ancestors 'none'; base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
			"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
			"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin",
		}
		if test.status == http.StatusOK {
			want["Cache-Control"] = "no-cache" // http.Error removes it, there is nothing to keep
		}
		seen := make(map[string]string)
		for name := range want {
			seen[name] = got.Header().Get(name)
		}
		if diff := cmp.Diff(want, seen); diff != "" {
			t.Errorf("%s: headers (-want +got):\n%s", test.path, diff)
		}
	}
}

func TestWhatIsKnownIsNotSentAgain(t *testing.T) {
	t.Parallel()
	first := get(t, "/page/app.mjs")
	tag := first.Header().Get("ETag")
	if tag == "" || tag == get(t, "/page/style.css").Header().Get("ETag") {
		t.Fatalf("tag %q, expected one of its own for each file", tag)
	}
	if again := get(t, "/page/app.mjs", "If-None-Match", tag); again.Code != http.StatusNotModified {
		t.Errorf("with the tag: %d, expected 304", again.Code)
	}
	if other := get(t, "/page/app.mjs", "If-None-Match", `"other"`); other.Code != http.StatusOK {
		t.Errorf("with the tag of another version: %d, expected 200", other.Code)
	}
}

// references are what a file of the page loads.
var references = regexp.MustCompile(`(?:from|import|src=|href=)\s*"(?:\./|page/)([^"]+)"`)

// TestEverythingIsEmbedded follows what the files load, from the first one on:
// each is there, and none is left over.
func TestEverythingIsEmbedded(t *testing.T) {
	t.Parallel()
	waiting, loaded := []string{"index.html"}, map[string]bool{"index.html": true}
	for len(waiting) > 0 {
		name := waiting[0]
		waiting = waiting[1:]
		text, err := os.ReadFile(path.Join("assets", name))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(strings.ReplaceAll(string(text), "http://www.w3.org/", ""), "://") {
			t.Errorf("%s names another host", name)
		}
		for _, found := range references.FindAllStringSubmatch(string(text), -1) {
			if loaded[found[1]] {
				continue
			}
			loaded[found[1]] = true
			waiting = append(waiting, found[1])
			if got := get(t, "/page/"+found[1]); got.Code != http.StatusOK {
				t.Errorf("%s loads %s: %d", name, found[1], got.Code)
			}
		}
	}
	err := fs.WalkDir(os.DirFS("assets"), ".", func(name string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && !loaded[name] {
			t.Errorf("nothing loads %s", name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
