package spool

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

const (
	defaultRescan = 10 * time.Second
	// remoteRescan is for file systems on which changes may come without events.
	remoteRescan = time.Second
	// firstRescan is between the first two looks at a directory.
	firstRescan = quietTime
	// quietTime is how long a file has to stay as it is that no event tells to be
	// finished. Nobody knows for how long HANA may pause while it writes.
	quietTime       = 5 * time.Second
	defaultBatch    = 500
	defaultUnknown  = time.Hour
	defaultLag      = 64 << 20
	defaultHead     = 1 << 20
	defaultPoll     = 50 * time.Millisecond
	defaultPunch    = 8 << 20
	blockSize       = 4096 // of a file system; holes begin and end there
	readBuffer      = 256 << 10
	cacheStep       = 8 << 20 // bytes between two calls of posix_fadvise
	eventBuffer     = 64 << 10
	asidePrefix     = ".pipestreamer.removing."
	maxUnknownNames = 10_000
)

// Errors that callers branch on.
var (
	// ErrClosed means that the front door was closed.
	ErrClosed = errors.New("the front door is closed")
	// ErrIntrusion means that something stands in the directory, or happened to
	// a file, that HANA does not do.
	ErrIntrusion = errors.New("intrusion")
	// ErrChanged means that a file did not stay as it was when it was finished.
	ErrChanged = errors.New("the file changed")
	// ErrRefused means that what stands at a name is not a regular file of the
	// right owner with one name.
	ErrRefused = errors.New("refused")
)

// Config shapes a front door. The zero value of a field is its default.
type Config struct {
	// Directory is absolute and contains every directory that is used (or is
	// it). No element of it is a symbolic link.
	Directory string
	// Owners are the users whose files are taken. Empty means our own user and
	// the owner of the directory; on a volume that belongs to root, as those of
	// Kubernetes with an fsGroup do, HANA's user has to be named.
	Owners []uint32
	// Rescan is how often the directory is looked at without an event, by
	// default every 10 s, or every 1 s on a network file system. When no event
	// tells that a file is finished, it counts as such after two looks at which it
	// was the same, which by default are at least 5 s apart.
	Rescan time.Duration
	// BatchFiles is the most that Watcher.Next returns, by default 500.
	BatchFiles int
	// UnknownAfter is the age from which a file counts as one that a Watcher
	// will never ship, by default 1 h.
	UnknownAfter time.Duration

	// Pipes says that a front door of pipes shares the plan of a Source: whatever
	// is a pipe is its business. Otherwise a pipe is refused, as a link is.
	Pipes bool

	// Follow reads a file while HANA still writes it, on ext4, xfs, btrfs and
	// tmpfs. Others do not, or are not known to, show what is not written yet.
	Follow bool
	// FollowLag is how many bytes at the end of a growing file are not read
	// yet, because HANA's writes may complete out of order there; by default
	// 64 MiB.
	FollowLag int64
	// FollowPoll is how often a growing file is looked at when all of it that
	// may be read was read, by default 50 ms.
	FollowPoll time.Duration
	// Head is how many bytes from the start are never punched and are compared
	// at the end with what was read; by default 1 MiB, at least a header.
	Head int64
	// Punch frees the blocks that [Acknowledger] allows, in steps of
	// PunchStep bytes or more, by default 8 MiB. It needs the right to write
	// HANA's files.
	Punch     bool
	PunchStep int64
}

func (c Config) withDefaults() Config {
	if c.BatchFiles <= 0 {
		c.BatchFiles = defaultBatch
	}
	if c.UnknownAfter <= 0 {
		c.UnknownAfter = defaultUnknown
	}
	if c.FollowLag <= 0 {
		c.FollowLag = defaultLag
	}
	if c.FollowPoll <= 0 {
		c.FollowPoll = defaultPoll
	}
	if c.Head <= 0 {
		c.Head = defaultHead
	}
	c.Head = max(roundUp(c.Head), blockSize)
	if c.PunchStep <= 0 {
		c.PunchStep = defaultPunch
	}
	return c
}

func roundUp(n int64) int64 { return (n + blockSize - 1) / blockSize * blockSize }

func roundDown(n int64) int64 { return n / blockSize * blockSize }

// rescan is the interval for the file system of d.
func (c Config) rescan(d *directory) (time.Duration, error) {
	if c.Rescan > 0 {
		return c.Rescan, nil
	}
	fs, err := d.statfs()
	if err != nil {
		return 0, err
	}
	switch fs.Type {
	case unix.NFS_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC, unix.SMB_SUPER_MAGIC,
		unix.CEPH_SUPER_MAGIC, unix.FUSE_SUPER_MAGIC, unix.V9FS_MAGIC:
		return remoteRescan, nil
	default:
		return defaultRescan, nil
	}
}

// quiet is how long a file has to stay as it is, at two looks or more.
func (c Config) quiet() time.Duration {
	if c.Rescan > 0 {
		return 0
	}
	return quietTime
}

// showsHoles reports whether SEEK_HOLE (lseek(2)) tells what is written on a file
// system of this type. Elsewhere it may call the whole file written.
func showsHoles(fsType int64) bool {
	switch fsType {
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.TMPFS_MAGIC:
		return true
	default:
		return false
	}
}
