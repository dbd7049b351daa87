package spool

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
	"github.com/pipestreamer/pipestreamer/pkg/nofollow"
)

// directory is a directory of HANA, opened once: whatever happens to its path
// afterwards, everything is done relative to this descriptor.
type directory struct {
	fd     int
	path   string
	owners []uint32
}

// openDirectory opens name, which is root or lies below it. No symbolic link is
// followed. An empty list of owners is replaced by our own user and the owner of the
// directory.
func openDirectory(root, name string, owners []uint32) (*directory, error) {
	root, name = path.Clean(root), path.Clean(name)
	if err := errors.Join(backup.CheckDirectory(root), backup.CheckDirectory(name)); err != nil {
		return nil, err
	}
	if !strings.HasPrefix(name+"/", root+"/") {
		return nil, fmt.Errorf("directory %s is not %s and not below it", name, root)
	}
	fd, err := nofollow.Open(name)
	if err != nil {
		return nil, err
	}
	d := &directory{fd: fd, path: name, owners: slices.Clone(owners)}
	if len(owners) == 0 {
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			return nil, errors.Join(fmt.Errorf("examine directory %s: %w", name, err), d.close())
		}
		d.owners = []uint32{uint32(os.Geteuid()), st.Uid} //nolint:gosec // the kernel's user ids have 32 bits
	}
	return d, nil
}

// enter opens a directory in d that is not a link, whatever leads to d by now.
func (d *directory) enter(name string) (*directory, error) {
	const flags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err := retry(func() (int, error) { return unix.Openat(d.fd, name, flags, 0) })
	if err != nil {
		return nil, fmt.Errorf("open directory %s/%s: %w", d.path, name, err)
	}
	return &directory{fd: fd, path: d.path + "/" + name, owners: d.owners}, nil
}

// clone is a directory with a life of its own.
func (d *directory) clone() (*directory, error) {
	fd, err := retry(func() (int, error) { return unix.FcntlInt(uintptr(d.fd), unix.F_DUPFD_CLOEXEC, 0) })
	if err != nil {
		return nil, fmt.Errorf("keep directory %s open: %w", d.path, err)
	}
	return &directory{fd: fd, path: d.path, owners: d.owners}, nil
}

func (d *directory) close() error {
	if err := unix.Close(d.fd); err != nil {
		return fmt.Errorf("close directory %s: %w", d.path, err)
	}
	return nil
}

// list gives the names in the directory that match, sorted. A directory that was
// removed is an error, since no event tells that of one that is held open.
func (d *directory) list(match func(string) bool) ([]string, error) {
	if self, err := d.look("."); err != nil || self.links == 0 {
		return nil, errors.Join(fmt.Errorf("list directory %s: it was removed: %w", d.path, unix.ENOENT), err)
	}
	fd, err := retry(func() (int, error) {
		return unix.Openat(d.fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return nil, fmt.Errorf("list directory %s: %w", d.path, err)
	}
	f := os.NewFile(uintptr(fd), d.path)
	names, err := f.Readdirnames(-1)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("list directory %s: %w", d.path, err)
	}
	names = slices.DeleteFunc(names, func(name string) bool { return !match(name) })
	slices.Sort(names)
	return names, nil
}

func (d *directory) statfs() (unix.Statfs_t, error) {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(d.fd, &fs); err != nil {
		return fs, fmt.Errorf("examine the file system of %s: %w", d.path, err)
	}
	return fs, nil
}

// retry repeats a call that a signal interrupted.
func retry[T any](call func() (T, error)) (T, error) {
	for {
		v, err := call()
		if !errors.Is(err, unix.EINTR) {
			return v, err
		}
	}
}
