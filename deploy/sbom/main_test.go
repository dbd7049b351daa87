package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A binary has the same list each time: neither clock nor chance is in it.
func TestSameListTwice(t *testing.T) {
	t.Parallel()
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	authorities := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(authorities, []byte("a certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"-binary", binary, "-version", "v1.2.3", "-time", "1796000000", "-authorities", authorities, "-authorities-version", "20230311"}
	var first, second bytes.Buffer
	for _, out := range []*bytes.Buffer{&first, &second} {
		if err := run(args, out); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(first.String(), second.String()); diff != "" {
		t.Error(diff)
	}
	for _, want := range []string{"2026-11-30T", "pkg:golang/std@", "pkg:deb/debian/ca-certificates@20230311", "v1.2.3"} {
		if !strings.Contains(first.String(), want) {
			t.Errorf("no %s in\n%s", want, first.String())
		}
	}
}

func TestRefuses(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{
		"nothing":      nil,
		"no such flag": {"-x"},
		"no time":      {"-binary", os.Args[0], "-version", "v1", "-authorities", os.Args[0], "-authorities-version", "1"},
		"no binary of Go": {
			"-binary", "main.go", "-version", "v1", "-time", "1", "-authorities", "main.go", "-authorities-version", "1",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			if err := run(args, &out); err == nil || out.Len() > 0 {
				t.Errorf("%v, %s", err, out.String())
			}
		})
	}
}
