package manifests

import (
	"crypto/x509"
	"encoding/pem"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// What the README says to type before "kubectl apply" is typed, and gives all that
// an overlay needs.
func TestREADME(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../k8s/README.md")
	if err != nil {
		t.Fatal(err)
	}
	directory := t.TempDir()
	if err := os.CopyFS(directory, os.DirFS("../k8s")); err != nil {
		t.Fatal(err)
	}
	for _, block := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		if !strings.Contains(block[1], "files/") {
			continue
		}
		// What is typed next starts where this did.
		command := exec.CommandContext(t.Context(), "bash", "-e", "-c", block[1]+"\ntest \"$PWD\" = "+directory)
		command.Dir = directory
		if output, err := command.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s\n%s", err, block[1], output)
		}
	}
	built, err := Build(os.DirFS(directory), "overlays/hana-express", nil)
	if err != nil {
		t.Fatal(err)
	}
	objects, err := Decode(built)
	if err != nil {
		t.Fatal(err)
	}
	s := NewSystem(objects)
	if found := Judge(s, t.TempDir()); len(found) > 0 {
		t.Errorf("%d findings:\n%s", len(found), strings.Join(found, "\n"))
	}
	secret := s.Secrets["pipestreamer-tls"].Data
	authorities := x509.NewCertPool()
	authorities.AppendCertsFromPEM(secret["ca.crt"])
	block, _ := pem.Decode(secret["tls.crt"])
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{serviceName, "localhost", "127.0.0.1"} { // of a forwarded port
		if _, err := certificate.Verify(x509.VerifyOptions{DNSName: name, Roots: authorities}); err != nil {
			t.Errorf("the certificate, as a client of %s sees it: %v", name, err)
		}
	}
	if token := s.Secrets["pipestreamer-trigger"].Data["token"]; len(token) != 64 {
		t.Errorf("token of %d bytes", len(token))
	}
}

// One word finds everything that has to be replaced, and no script has a comment
// with a semicolon, which hdbsql may take for the end of a statement.
func TestPlaceholders(t *testing.T) {
	t.Parallel()
	other := regexp.MustCompile(`(?i)replaceme\b|change-?me|0{8}|eu-central-1`)
	comment := regexp.MustCompile(`(?m)^\s*--.*;`)
	left := 0
	for _, root := range []string{"../k8s/components", "../k8s/overlays", "../k8s/restore", "../sql"} {
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || filepath.Base(filepath.Dir(path)) == "files" {
				return err
			}
			text, err := os.ReadFile(path)
			if found := other.Find(text); found != nil {
				t.Errorf("%s: %s: expected replace-me", path, found)
			}
			if found := comment.Find(text); found != nil && filepath.Ext(path) == ".sql" {
				t.Errorf("%s: a semicolon in a comment: %s", path, found)
			}
			left += strings.Count(string(text), "replace-me")
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
	if left < 15 {
		t.Errorf("%d placeholders", left)
	}
}

// Every path that the README names is there.
func TestREADMEPaths(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../k8s/README.md")
	if err != nil {
		t.Fatal(err)
	}
	paths := regexp.MustCompile("`((?:base|components|overlays|restore)/[a-z0-9./-]*)`").FindAllStringSubmatch(string(text), -1)
	if len(paths) < 8 {
		t.Errorf("%d paths", len(paths))
	}
	for _, path := range paths {
		if _, err := os.Stat(filepath.Join("..", "k8s", path[1])); err != nil {
			t.Error(err)
		}
	}
}
