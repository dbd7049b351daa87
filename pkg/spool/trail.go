package spool

import (
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// trail is what was seen so far of one file at its hidden and its final name,
// for the question whether HANA has finished it.
type trail struct {
	// closed says that a writer closed it and nobody has opened it since. Events
	// tell that; they do not tell a reader's opening from a writer's.
	closed bool
	// last is the file at its final name at the last scan, since when it was first
	// seen so; quiet says that it was so at the scan before, and for long enough.
	// They need no events.
	last  File
	since time.Time
	quiet bool
}

// finalName is the name under which HANA leaves the file that now has this one:
// HANA was seen to write under a hidden name and to rename the file.
func finalName(name string) string { return strings.TrimPrefix(name, ".") }

// note takes in an event of one of the two names. A new file is opened, too.
func (t *trail) note(mask uint32) {
	switch {
	case mask&unix.IN_OPEN != 0:
		t.closed = false
	case mask&unix.IN_CLOSE_WRITE != 0:
		t.closed = true
	}
}

// scanned takes in what a scan found at the final name. The file has to stay so
// for a time before it is quiet.
func (t *trail) scanned(f File, quiet time.Duration) {
	now := time.Now()
	same := f.is(t.last)
	if !same {
		t.last, t.since = f, now
	}
	t.quiet = same && now.Sub(t.since) >= quiet
}

// finished reports whether the file, now at its final name, is as HANA leaves
// it, as far as can be told. A file without a byte is not: HANA's have a header.
func (t *trail) finished(f File) bool {
	return f.Size > 0 && (t.closed || t.quiet && f.is(t.last))
}
