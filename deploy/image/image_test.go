//go:build image

package image

import (
	"bytes"
	"crypto/x509"
	"debug/buildinfo"
	"debug/elf"
	"encoding/pem"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/CycloneDX/cyclonedx-go"
	"github.com/google/go-cmp/cmp"
)

// The image has these files and no others: no shell, nothing that is writable,
// nothing with setuid.
func TestFiles(t *testing.T) {
	a := open(t, *first)
	if len(a.manifest.Layers) != 1 {
		t.Errorf("%d layers", len(a.manifest.Layers))
	}
	directory, file, program := entry{Mode: fs.ModeDir | 0o755}, entry{Mode: 0o644}, entry{Mode: 0o755}
	want := map[string]entry{
		"/bin": directory, "/bin/pipestreamer": program,
		"/etc": directory, "/etc/group": file, "/etc/passwd": file,
		"/etc/ssl": directory, "/etc/ssl/certs": directory, "/etc/ssl/certs/ca-certificates.crt": file,
		"/usr": directory, "/usr/share": directory, "/usr/share/doc": directory, "/usr/share/doc/pipestreamer": directory,
		"/usr/share/doc/pipestreamer/LICENSE": file, "/usr/share/doc/pipestreamer/sbom.cdx.json": file,
	}
	if diff := cmp.Diff(want, a.unpack(t, t.TempDir())); diff != "" {
		t.Error(diff)
	}
}

func TestConfig(t *testing.T) {
	c := open(t, *first).config
	if c.Config.User != "65532:65532" || c.OS != "linux" {
		t.Errorf("user %q of %s: expected numbers, which runAsNonRoot can judge", c.Config.User, c.OS)
	}
	if diff := cmp.Diff([]string{"/bin/pipestreamer"}, c.Config.Entrypoint); diff != "" {
		t.Error(diff)
	}
	for _, name := range []string{"version", "revision", "source", "licenses", "title", "description"} {
		if c.Config.Labels["org.opencontainers.image."+name] == "" {
			t.Errorf("no label %s", name)
		}
	}
	if len(c.Config.Volumes) > 0 || len(c.Config.ExposedPorts) > 0 {
		t.Errorf("volumes %v, ports %v: expected none", c.Config.Volumes, c.Config.ExposedPorts)
	}
}

// Built from another directory, the image is the same.
func TestReproducible(t *testing.T) {
	if *second == "" {
		t.Fatal("-again: expected a second archive")
	}
	if a, b := open(t, *first), open(t, *second); a.digest != b.digest {
		t.Errorf("%s and %s; what is not committed is in the first one only", a.digest, b.digest)
	} else {
		t.Log(a.digest)
	}
}

func TestBinaryIsStatic(t *testing.T) {
	binary := filepath.Join(unpacked(t), "bin", "pipestreamer")
	file, err := elf.Open(binary)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	for _, program := range file.Progs {
		if program.Type == elf.PT_INTERP {
			t.Error("the binary asks for an interpreter")
		}
	}
	if libraries, err := file.ImportedLibraries(); err != nil || len(libraries) > 0 {
		t.Errorf("libraries %v, %v", libraries, err)
	}
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	if settings["-tags"] != "timetzdata" || settings["-trimpath"] != "true" || settings["CGO_ENABLED"] != "0" {
		t.Errorf("settings of the build: %v", settings)
	}
}

func TestAuthorities(t *testing.T) {
	rest, err := os.ReadFile(filepath.Join(unpacked(t), "etc", "ssl", "certs", "ca-certificates.crt"))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for {
		block, more := pem.Decode(rest)
		if block == nil {
			break
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			t.Error(err)
		}
		rest = more
		n++
	}
	if n < 100 || len(bytes.TrimSpace(rest)) > 0 {
		t.Errorf("%d authorities and %d bytes after them", n, len(rest))
	}
}

// The list has what the binary was linked from, and no more.
func TestSBOM(t *testing.T) {
	root := unpacked(t)
	file, err := os.Open(filepath.Join(root, "usr", "share", "doc", "pipestreamer", "sbom.cdx.json"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	document := new(cyclonedx.BOM)
	if err := cyclonedx.NewBOMDecoder(file, cyclonedx.BOMFileFormatJSON).Decode(document); err != nil {
		t.Fatal(err)
	}
	info, err := buildinfo.ReadFile(filepath.Join(root, "bin", "pipestreamer"))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"std": strings.TrimPrefix(info.GoVersion, "go")}
	for _, module := range info.Deps {
		want[module.Path] = module.Version
	}
	got := map[string]string{}
	for _, c := range *document.Components {
		if c.Name != "ca-certificates" {
			got[c.Name] = c.Version
		}
	}
	if diff := cmp.Diff(want, got); diff != "" || len(got) < 50 {
		t.Errorf("%d modules\n%s", len(got), diff)
	}
}

func unpacked(t *testing.T) string {
	t.Helper()
	directory := t.TempDir()
	open(t, *first).unpack(t, directory)
	return directory
}
