package e2e

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/pipestreamer/pipestreamer/internal/config"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// TestExampleConfigurations loads the configurations that the documents show,
// with secrets in a directory of the test. Those of deploy/k8s are loaded with the
// secrets of their manifests (deploy/manifests).
func TestExampleConfigurations(t *testing.T) {
	t.Parallel()
	secrets := t.TempDir()
	for name, tt := range map[string]struct{ file, opening, closing string }{
		"README": {filepath.Join("..", "README.md"), "```yaml\n", "```\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(tt.file)
			if err != nil {
				t.Fatal(err)
			}
			_, rest, opened := strings.Cut(string(text), tt.opening)
			example, _, closed := strings.Cut(rest, tt.closing)
			if !opened || !closed {
				t.Fatalf("%s has no block of YAML", tt.file)
			}
			for _, secret := range regexp.MustCompile(`/run/secrets/\S+`).FindAllString(example, -1) {
				file := filepath.Join(secrets, name, filepath.Base(filepath.Dir(secret))+"-"+filepath.Base(secret))
				if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, []byte("a secret\n"), 0o600); err != nil {
					t.Fatal(err)
				}
				example = strings.ReplaceAll(example, secret, file)
			}
			path := filepath.Join(t.TempDir(), "pipestreamer.yaml")
			if err := os.WriteFile(path, []byte(example), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := config.Load(path, nil, config.Daemon); err != nil {
				t.Errorf("%s: %v", tt.file, err)
			}
		})
	}
}

// TestManifestIsDescribed looks for every field of a manifest in
// docs/manifest.md.
func TestManifestIsDescribed(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("..", "docs", "manifest.md"))
	if err != nil {
		t.Fatal(err)
	}
	fields := jsonFields(reflect.TypeFor[backup.Manifest]())
	if len(fields) < 20 {
		t.Fatalf("only %d fields were found: %v", len(fields), fields)
	}
	for _, field := range fields {
		if !regexp.MustCompile("`[^`]*\\b" + field + "`").Match(text) {
			t.Errorf("docs/manifest.md does not describe %s", field)
		}
	}
}

// jsonFields lists the names of all fields of a type, those of its parts
// included.
func jsonFields(of reflect.Type) []string {
	switch of.Kind() {
	case reflect.Slice, reflect.Pointer:
		return jsonFields(of.Elem())
	case reflect.Struct:
	default:
		return nil
	}
	var names []string
	for field := range of.Fields() {
		if name, _, _ := strings.Cut(field.Tag.Get("json"), ","); name != "" {
			names = append(names, name)
		}
		names = append(names, jsonFields(field.Type)...)
	}
	return names
}

// TestLinks follows every relative link of the documents.
func TestLinks(t *testing.T) {
	t.Parallel()
	link := regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`)
	documents, err := filepath.Glob(filepath.Join("..", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	more, err := filepath.Glob(filepath.Join("..", "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	if documents = append(documents, more...); len(documents) < 6 {
		t.Fatalf("only %d documents were found", len(documents))
	}
	for _, document := range documents {
		text, err := os.ReadFile(document)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range link.FindAllStringSubmatch(string(text), -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(document), match[1])); err != nil {
				t.Errorf("%s links to %s: %v", document, match[1], err)
			}
		}
	}
}
