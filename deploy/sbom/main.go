// Command sbom lists what a binary of Go and the image around it are made of, as a
// CycloneDX document. It says what the binary itself says (go version -m), so that
// the same binary has the same list.
package main

import (
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/CycloneDX/cyclonedx-go"
)

// subject is what is described.
type subject struct {
	binary, version string
	// built is the time of the commit: the list does not change with the clock.
	built time.Time
	// authorities is a file of certificates, of Debian's package of that version.
	authorities, authoritiesVersion string
}

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "sbom:", err)
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) error {
	var s subject
	flags := flag.NewFlagSet("sbom", flag.ContinueOnError)
	flags.StringVar(&s.binary, "binary", "", "binary of Go")
	flags.StringVar(&s.version, "version", "", "its version")
	flags.StringVar(&s.authorities, "authorities", "", "file with certificates")
	flags.StringVar(&s.authoritiesVersion, "authorities-version", "", "version of Debian's ca-certificates that it is of")
	seconds := flags.Int64("time", 0, "seconds since 1970 of the commit")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if s.binary == "" || s.version == "" || s.authorities == "" || s.authoritiesVersion == "" || *seconds <= 0 {
		return errors.New("expected -binary, -version, -time, -authorities and -authorities-version")
	}
	s.built = time.Unix(*seconds, 0).UTC()
	document, err := list(&s)
	if err != nil {
		return err
	}
	return cyclonedx.NewBOMEncoder(out, cyclonedx.BOMFileFormatJSON).SetPretty(true).EncodeVersion(document, cyclonedx.SpecVersion1_6)
}

// list makes the document. It has no serial number, which would be another each time.
func list(s *subject) (*cyclonedx.BOM, error) {
	info, err := buildinfo.ReadFile(s.binary)
	if err != nil {
		return nil, err
	}
	program, err := hashed(cyclonedx.Component{
		BOMRef: info.Path, Type: cyclonedx.ComponentTypeApplication, Name: info.Path, Version: s.version, PackageURL: purl(info.Path, s.version),
	}, s.binary)
	if err != nil {
		return nil, err
	}
	authorities, err := hashed(cyclonedx.Component{
		BOMRef: "ca-certificates", Type: cyclonedx.ComponentTypeData, Name: "ca-certificates", Version: s.authoritiesVersion,
		PackageURL: "pkg:deb/debian/ca-certificates@" + s.authoritiesVersion,
	}, s.authorities)
	if err != nil {
		return nil, err
	}
	components := []cyclonedx.Component{authorities, library("std", strings.TrimPrefix(info.GoVersion, "go"))}
	for _, module := range info.Deps {
		components = append(components, ofModule(module))
	}
	document := cyclonedx.NewBOM()
	document.Metadata = &cyclonedx.Metadata{Timestamp: s.built.Format(time.RFC3339), Component: &program}
	document.Components = &components
	document.Dependencies = dependencies(&program, components)
	return document, nil
}

// ofModule is what was linked: the replacement of a module, if it has one.
func ofModule(module *debug.Module) cyclonedx.Component {
	if module.Replace != nil {
		module = module.Replace
	}
	return library(module.Path, module.Version)
}

func library(path, version string) cyclonedx.Component {
	url := purl(path, version)
	return cyclonedx.Component{BOMRef: url, Type: cyclonedx.ComponentTypeLibrary, Name: path, Version: version, PackageURL: url}
}

// purl is the package URL of a module (package-url/purl-spec, golang).
func purl(path, version string) string {
	return "pkg:golang/" + path + "@" + strings.ReplaceAll(version, "+", "%2B")
}

func hashed(c cyclonedx.Component, file string) (cyclonedx.Component, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return c, err
	}
	sum := sha256.Sum256(text)
	c.Hashes = &[]cyclonedx.Hash{{Algorithm: cyclonedx.HashAlgoSHA256, Value: hex.EncodeToString(sum[:])}}
	return c, nil
}

// dependencies says that the program needs all of them. Which needs which is not in
// the binary.
func dependencies(program *cyclonedx.Component, components []cyclonedx.Component) *[]cyclonedx.Dependency {
	names := make([]string, len(components))
	for i := range components {
		names[i] = components[i].BOMRef
	}
	return &[]cyclonedx.Dependency{{Ref: program.BOMRef, Dependencies: &names}}
}
