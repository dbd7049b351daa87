//go:build image

package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"os"
	"path"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

var (
	first  = flag.String("image", "../../bin/image/image.tar", "OCI archive of the image")
	second = flag.String("again", "", "the same, built a second time and elsewhere")
)

// archive is an image as it was written.
type archive struct {
	digest   digest.Digest
	manifest v1.Manifest
	config   v1.Image
	blobs    map[string][]byte
}

// open reads an OCI archive and checks the digests of what it takes from it.
func open(t *testing.T, name string) *archive {
	t.Helper()
	file, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	a := &archive{blobs: map[string][]byte{}}
	for reader := tar.NewReader(file); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if a.blobs[path.Clean(header.Name)], err = io.ReadAll(reader); err != nil {
			t.Fatal(err)
		}
	}
	var index v1.Index
	parse(t, a.blobs[v1.ImageIndexFile], &index)
	if len(index.Manifests) != 1 {
		t.Fatalf("%d manifests", len(index.Manifests))
	}
	a.digest = index.Manifests[0].Digest
	parse(t, a.blob(t, a.digest), &a.manifest)
	parse(t, a.blob(t, a.manifest.Config.Digest), &a.config)
	return a
}

func (a *archive) blob(t *testing.T, d digest.Digest) []byte {
	t.Helper()
	text := a.blobs[path.Join(v1.ImageBlobsDir, d.Algorithm().String(), d.Encoded())]
	if got := digest.FromBytes(text); got != d {
		t.Fatalf("blob %s has digest %s", d, got)
	}
	return text
}

func parse(t *testing.T, text []byte, to any) {
	t.Helper()
	if err := json.Unmarshal(text, to); err != nil {
		t.Fatal(err)
	}
}

// entry is what a layer says of a file.
type entry struct {
	Mode     os.FileMode
	UID, GID int
}

// unpack writes the layers to directory, and returns what they say of each file.
func (a *archive) unpack(t *testing.T, directory string) map[string]entry {
	t.Helper()
	entries := map[string]entry{}
	for _, layer := range a.manifest.Layers {
		blob := a.blobs[path.Join(v1.ImageBlobsDir, layer.Digest.Algorithm().String(), layer.Digest.Encoded())]
		unzipped, err := gzip.NewReader(bytes.NewReader(blob))
		if err != nil {
			t.Fatal(err)
		}
		for reader := tar.NewReader(unzipped); ; {
			header, err := reader.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			entries["/"+path.Clean(header.Name)] = entry{header.FileInfo().Mode(), header.Uid, header.Gid}
			write(t, filepath.Join(directory, header.Name), header, reader)
		}
	}
	return entries
}

func write(t *testing.T, name string, header *tar.Header, content io.Reader) {
	t.Helper()
	if header.Typeflag == tar.TypeDir {
		if err := os.MkdirAll(name, header.FileInfo().Mode().Perm()); err != nil {
			t.Fatal(err)
		}
		return
	}
	text, err := io.ReadAll(content)
	if err := errors.Join(err, os.WriteFile(name, text, header.FileInfo().Mode().Perm())); err != nil {
		t.Fatal(err)
	}
}
