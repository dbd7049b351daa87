package spool

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// File is a regular file as it was at one moment.
type File struct {
	// Name is relative to its directory.
	Name    string    `json:"name"`
	Dev     uint64    `json:"dev"`
	Ino     uint64    `json:"ino"`
	Size    int64     `json:"size"`
	ModTime time.Time `json:"mod_time"`
}

// is reports whether both are the same file with the same content, as far as
// size and time of change tell.
func (f File) is(other File) bool {
	return f.same(other) && f.Size == other.Size && f.ModTime.Equal(other.ModTime)
}

// same reports whether both are the same file, whatever it holds.
func (f File) same(other File) bool { return f.Dev == other.Dev && f.Ino == other.Ino }

// Refusal is something that is not taken for a file of HANA.
type Refusal struct {
	Name string
	// What says what it is, to be read after "is".
	What string
}

// entry is what stands at a name at one moment.
type entry struct {
	File
	exists bool
	mode   uint32
	links  uint64
	uid    uint32
}

func newEntry(name string, st *unix.Stat_t) entry {
	return entry{
		File: File{
			Name: name, Dev: st.Dev, Ino: st.Ino, Size: st.Size, ModTime: time.Unix(st.Mtim.Unix()).UTC(),
		},
		exists: true, mode: st.Mode, links: uint64(st.Nlink), uid: st.Uid, //nolint:unconvert // 32 bits on arm64
	}
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
	return newEntry(name, &st), nil
}

// refusal says why e is not taken, to be read after "is"; it is empty for a
// regular file of an owner of ours with one name.
func (d *directory) refusal(e entry) string {
	switch e.mode & unix.S_IFMT {
	case unix.S_IFREG:
	case unix.S_IFLNK:
		return "a symbolic link"
	case unix.S_IFIFO:
		return "a named pipe"
	case unix.S_IFDIR:
		return "a directory"
	default:
		return fmt.Sprintf("a file of mode %#o", e.mode)
	}
	if !slices.Contains(d.owners, e.uid) {
		return fmt.Sprintf("a file of user %d, and only those of users %v are taken", e.uid, d.owners)
	}
	if e.links > 1 {
		return fmt.Sprintf("a file with %d names (hard links)", e.links)
	}
	return ""
}

func (e entry) isPipe() bool { return e.exists && e.mode&unix.S_IFMT == unix.S_IFIFO }

// open opens the file at name, and examines what it has opened: between a look
// and an open(2) anything may take a name. O_NONBLOCK keeps a planted pipe from
// blocking us.
func (d *directory) open(name string, flags int) (*os.File, entry, error) {
	fd, err := retry(func() (int, error) {
		return unix.Openat(d.fd, name, flags|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return nil, entry{}, fmt.Errorf("open %s/%s: %w", d.path, name, err)
	}
	f := os.NewFile(uintptr(fd), d.path+"/"+name)
	e, err := inspect(f, name)
	if err == nil {
		if what := d.refusal(e); what != "" {
			err = fmt.Errorf("open %s/%s: %w: it is %s", d.path, name, ErrRefused, what)
		}
	}
	if err != nil {
		return nil, entry{}, errors.Join(err, f.Close())
	}
	return f, e, nil
}

// inspect looks at an open file.
func inspect(f *os.File, name string) (entry, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return entry{}, fmt.Errorf("examine %s: %w", f.Name(), err)
	}
	return newEntry(name, &st), nil
}
