package files

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// Profile is a way of opening and naming a file while it is written. Which one
// a given HANA follows is not known; README.md gives the evidence for each.
type Profile string

// The profiles.
const (
	// Plain opens the final name, as the documentation lets one think.
	Plain Profile = "plain"
	// Dotname writes ".X" and renames it to X, as a HANA 2.0 trace of 2020 shows.
	Dotname Profile = "dotname"
	// Replace is Dotname that unlinks ".X" before it opens it; whether HANA does
	// is an open question. A regular file comes into being beside any pipe.
	Replace Profile = "replace"
	// Direct is Dotname with O_DIRECT, as the same trace shows (flags= DIRECT);
	// a pipe refuses that (EINVAL) and the backup fails.
	Direct Profile = "direct"
	// DirectFallback is Direct that opens again without O_DIRECT on EINVAL.
	DirectFallback Profile = "direct-fallback"
	// Offset is Dotname that writes at offsets, out of order within a window of
	// eight writes, as asynchronous I/O with up to 64 requests under way may
	// (trace: io_getevents, offset=, max_parallel_io_requests=64). To a pipe it
	// writes in order, as the kernel does with what is submitted in order.
	Offset Profile = "offset"
)

// Profiles are all profiles.
func Profiles() []Profile {
	return []Profile{Plain, Dotname, Replace, Direct, DirectFallback, Offset}
}

// ParseProfile reads a profile's name.
func ParseProfile(name string) (Profile, error) {
	if !slices.Contains(Profiles(), Profile(name)) {
		return "", fmt.Errorf("profile %q: expected one of %v", name, Profiles())
	}
	return Profile(name), nil
}

func (p Profile) direct() bool { return strings.HasPrefix(string(p), string(Direct)) }

// writeName is the name that is opened for the file that will be at path.
func (p Profile) writeName(path string) string {
	if p == Plain {
		return path
	}
	return filepath.Join(filepath.Dir(path), "."+filepath.Base(path))
}
