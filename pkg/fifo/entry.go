package fifo

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// PipeID names a pipe for the journal, so that a later process can release it.
type PipeID struct {
	// Name is relative to the directory of the plan.
	Name string `json:"name"`
	Dev  uint64 `json:"dev"`
	// Ino is 0 for a name whose pipe is not made yet, or that several pipes
	// take in turn, as in a Sink: then every pipe at that name is ours, since
	// Names and Prepare refused to share it, on whatever device: a volume that
	// is mounted again may have another number.
	Ino uint64 `json:"ino"`
}

// entry is what stands at a name at one moment.
type entry struct {
	exists bool
	mode   uint32
	size   int64
	dev    uint64
	ino    uint64
}

// look does not follow a symbolic link. An absent name is not an error.
func (d *directory) look(name string) (entry, error) {
	var st unix.Stat_t
	err := unix.Fstatat(d.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) {
		return entry{}, nil
	}
	if err != nil {
		return entry{}, fmt.Errorf("examine %s/%s: %w", d.path, name, err)
	}
	return entry{exists: true, mode: st.Mode, size: st.Size, dev: st.Dev, ino: st.Ino}, nil
}

func (e entry) isPipe() bool {
	return e.exists && e.mode&unix.S_IFMT == unix.S_IFIFO
}

func (e entry) isRegular() bool {
	return e.exists && e.mode&unix.S_IFMT == unix.S_IFREG
}

// is compares device and inode. It proves identity only while a descriptor of
// the pipe is open: ext4 gives the number of a freed inode to the next file.
func (e entry) is(id PipeID) bool {
	return e.isPipe() && e.dev == id.Dev && e.ino == id.Ino
}

func (e entry) id() PipeID { return PipeID{Dev: e.dev, Ino: e.ino} }

func (e entry) isOneOf(pipes []*pipe) bool {
	return slices.ContainsFunc(pipes, func(p *pipe) bool { return e.is(p.id) })
}

// String says what the entry is, to be read after "is".
func (e entry) String() string {
	if !e.exists {
		return "gone"
	}
	switch e.mode & unix.S_IFMT {
	case unix.S_IFREG:
		return fmt.Sprintf("a regular file of %d bytes", e.size)
	case unix.S_IFLNK:
		return "a symbolic link"
	case unix.S_IFIFO:
		return "a named pipe that is not ours"
	case unix.S_IFDIR:
		return "a directory"
	default:
		return fmt.Sprintf("a file of mode %#o", e.mode)
	}
}
