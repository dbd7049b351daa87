// Package statuspage is the shop window: a page for the browser that shows what
// the job interface tells, and changes nothing. Everything it needs is in the
// binary. It reads the interface from where it was loaded, so whoever may read
// the one may read the other.
package statuspage

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"
)

//go:embed assets
var assets embed.FS

// policy lets a browser load what comes from here and nothing else. Names and
// errors on the page come from outside: with trusted types it refuses to make
// markup of text (CSP level 3, Trusted Types).
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; " +
	"frame-ancestors 'none'; base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// asset is one file of the page.
type asset struct {
	content []byte
	tag     string
	kind    string
}

// kinds are the media types by the end of a name. mime.TypeByExtension would ask
// the files of the machine.
func kinds() map[string]string {
	return map[string]string{
		".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".mjs": "text/javascript; charset=utf-8", ".svg": "image/svg+xml",
	}
}

// Handler serves the page at / and its files below /page/.
func Handler() http.Handler {
	files := load()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := "index.html"
		if r.URL.Path != "/" {
			name = strings.TrimPrefix(r.URL.Path, "/page/")
		}
		file, known := files[name]
		secure(w.Header())
		if !known {
			http.Error(w, "no such file of the status page", http.StatusNotFound)
			return
		}
		w.Header().Set("Content-Type", file.kind)
		w.Header().Set("ETag", file.tag)
		// ServeContent compares the tag (RFC 9110, If-None-Match).
		http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(file.content))
	})
}

// load reads what is embedded: it is there, or the program would not have been
// compiled.
func load() map[string]asset {
	files := make(map[string]asset)
	_ = fs.WalkDir(assets, "assets", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := assets.ReadFile(name)
		sum := sha256.Sum256(content)
		files[strings.TrimPrefix(name, "assets/")] = asset{content, `"` + hex.EncodeToString(sum[:12]) + `"`, kinds()[path.Ext(name)]}
		return err
	})
	return files
}

func secure(h http.Header) {
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
	// A new version of the daemon has a new page; the tag spares the bytes.
	h.Set("Cache-Control", "no-cache")
}
