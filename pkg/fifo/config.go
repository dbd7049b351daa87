package fifo

import (
	"errors"
	"io/fs"
	"time"
)

const (
	// defaultPipeSize is what an unprivileged process may ask for (fs.pipe-max-size).
	defaultPipeSize = 1 << 20
	// sourcePipes are the pipes of a stream of a Source: at the final name, at
	// the hidden one, and the spare.
	sourcePipes = 3
	// armedPipeSize is the least there is. A writer blocks after one page, so
	// a stream of more than a page cannot end before its pipe left the path.
	armedPipeSize = 4096
	// defaultMode lets HANA's user in by its group.
	defaultMode fs.FileMode = 0o660

	// linger is how long a pipe stays open after its name is gone, for an
	// opener that has resolved the name but not yet reached the pipe: it would
	// block for ever on a pipe that nobody holds open.
	linger = 20 * time.Millisecond
	// pollInterval is how often a Sink looks for a reader and for a drained pipe:
	// the kernel reports neither.
	pollInterval = 2 * time.Millisecond
	// drainInterval is the first wait for a drained pipe; each next one is twice
	// as long, up to pollInterval.
	drainInterval = 50 * time.Microsecond
	// After quickLooks a Sink looks for a reader only every idleInterval: 64
	// pipes at pollInterval cost a third of a core.
	quickLooks   = 1000
	idleInterval = 20 * time.Millisecond
	// checkEvery is how many such looks pass between two looks at the name.
	checkEvery = 250
	// serveBuffer is the size of a write to HANA.
	serveBuffer = 256 << 10
)

// Errors that callers branch on.
var (
	// ErrClosed means that the front door was closed.
	ErrClosed = errors.New("the front door is closed")
	// ErrIntrusion means that something happened to the pipes that only we
	// should do.
	ErrIntrusion = errors.New("intrusion")
)

// Config shapes a front door.
type Config struct {
	// Directory is absolute, exists, and contains the directory of every plan
	// (or is it). No element of it is a symbolic link.
	Directory string
	// PipeSize in bytes is wanted for a pipe that streams, 0 means 1 MiB. Where
	// the kernel's quota per user (pipe-user-pages-soft) does not allow it, the
	// largest possible size is taken and logged.
	PipeSize int
	// Rescue says that somebody else takes care of regular files of the plan: a
	// stream whose pipe HANA has not used and beside which it writes a file is
	// then reported as bypassed, and a file of a stream that the plan does not
	// know is left alone. Otherwise both are intrusions.
	Rescue bool
	// Mode is the permission of every pipe whatever the umask, 0 means 0660.
	Mode fs.FileMode
}

func (c Config) withDefaults() Config {
	if c.PipeSize <= 0 {
		c.PipeSize = defaultPipeSize
	}
	if c.Mode == 0 {
		c.Mode = defaultMode
	}
	return c
}
