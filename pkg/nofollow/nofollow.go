// Package nofollow opens directories on volumes that HANA's container can change
// while we use them.
package nofollow

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// Open opens the directory at an absolute path for reading; closing the descriptor
// is the caller's. No symbolic link is followed on the way, not even above a mount:
// that may lie deep in a volume whose upper directories HANA can replace. It does
// what openat2(2) does with RESOLVE_NO_SYMLINKS, and works where a seccomp profile
// does not know that call.
func Open(name string) (fd int, err error) {
	// Ancestors have to be searched only, which O_PATH is enough for (open(2)).
	const flags = unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	if fd, err = retry(func() (int, error) { return unix.Open("/", flags|unix.O_PATH, 0) }); err != nil {
		return -1, fmt.Errorf("open directory /: %w", err)
	}
	pieces := strings.Split(strings.TrimPrefix(path.Clean(name), "/"), "/")
	for i, piece := range pieces {
		mode := unix.O_PATH
		if i == len(pieces)-1 {
			mode = unix.O_RDONLY
		}
		next, err := retry(func() (int, error) { return unix.Openat(fd, piece, flags|mode, 0) })
		if errors.Is(err, unix.ENOTDIR) {
			err = notDirectory(fd, piece, err)
		}
		if err = errors.Join(err, unix.Close(fd)); err != nil {
			return -1, fmt.Errorf("open directory %s: element %s: %w", name, piece, err)
		}
		fd = next
	}
	return fd, nil
}

func notDirectory(at int, name string, err error) error {
	var st unix.Stat_t
	if look := unix.Fstatat(at, name, &st, unix.AT_SYMLINK_NOFOLLOW); look == nil && st.Mode&unix.S_IFMT == unix.S_IFLNK {
		return fmt.Errorf("it is a symbolic link, which is never followed: %w", err)
	}
	return fmt.Errorf("it is not a directory: %w", err)
}

// retry repeats a call that a signal interrupted.
func retry(call func() (int, error)) (int, error) {
	for {
		fd, err := call()
		if !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}
