package fifo

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
	"github.com/pipestreamer/pipestreamer/pkg/nofollow"
)

// directory is the backup directory, opened once: whatever happens to the path
// afterwards, everything is done relative to this descriptor.
type directory struct {
	fd    int
	path  string
	token string
	count atomic.Int64
}

// openDirectory opens name, which is root or lies below it. No symbolic link is
// followed.
func openDirectory(root, name string) (*directory, error) {
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
	return &directory{fd: fd, path: name, token: rand.Text()[:tokenLength]}, nil
}

func (d *directory) close() error {
	if err := unix.Close(d.fd); err != nil {
		return fmt.Errorf("close directory %s: %w", d.path, err)
	}
	return nil
}

// check refuses a directory in which HANA could not open our pipes. The hint is
// not an error.
func (d *directory) check() (hint string, err error) {
	var st unix.Stat_t
	if err := unix.Fstat(d.fd, &st); err != nil {
		return "", fmt.Errorf("examine directory %s: %w", d.path, err)
	}
	if st.Mode&unix.S_ISVTX != 0 && st.Mode&(unix.S_IWGRP|unix.S_IWOTH) != 0 {
		return "", fmt.Errorf("directory %s has mode %#o: with the sticky bit on a directory that others may write, "+
			"the kernel refuses HANA's O_CREAT open of our pipes (fs.protected_fifos, proc(5)); use 2770",
			d.path, st.Mode&0o7777)
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(d.fd, &fs); err != nil {
		return "", fmt.Errorf("examine directory %s: %w", d.path, err)
	}
	if fs.Type == unix.OVERLAYFS_SUPER_MAGIC {
		return "the backup directory is on overlayfs: if it belongs to the container's image, " +
			"pipes in it do not reach HANA's container; mount a volume", nil
	}
	return "", nil
}

// tokenLength is that of what tells the names of one process from those of others.
const tokenLength = 12

// temporary is a name that nobody else uses, for the moment in which remove
// examines what it took.
func (d *directory) temporary() string {
	return asidePrefix + d.token + "-" + strconv.FormatInt(d.count.Add(1), 10)
}

const asidePrefix = ".pipestreamer-"

// isAside recognises what temporary returns, of any process.
func isAside(name string) bool {
	token, count, found := strings.Cut(strings.TrimPrefix(name, asidePrefix), "-")
	_, err := strconv.ParseUint(count, 10, 63)
	return found && err == nil && strings.HasPrefix(name, asidePrefix) && len(token) == tokenLength && token == strings.ToUpper(token)
}

// list gives the names in the directory that match.
func (d *directory) list(match func(string) bool) ([]string, error) {
	fd, err := retryFD(func() (int, error) {
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
	var found []string
	for _, name := range names {
		if match(name) {
			found = append(found, name)
		}
	}
	return found, nil
}

// place moves the pipe at name to its final place and replaces nothing there.
func (d *directory) place(name, to string) error {
	err := unix.Renameat2(d.fd, name, d.fd, to, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) { // not known to this file system, for example NFS
		if err = unix.Linkat(d.fd, name, d.fd, to, 0); err == nil {
			err = unix.Unlinkat(d.fd, name, 0)
		}
	}
	if err != nil {
		return fmt.Errorf("place pipe %s/%s: %w", d.path, to, err)
	}
	return nil
}

// swap puts the pipe at fresh where old stands, in one step, and removes old.
// It reports false, and changes nothing, when old does not stand at name. The
// exchange makes sure that nothing but old is ever removed.
func (d *directory) swap(fresh, name string, old PipeID) (bool, error) {
	e, err := d.look(name)
	if err != nil || !e.is(old) {
		return false, err
	}
	err = unix.Renameat2(d.fd, fresh, d.fd, name, unix.RENAME_EXCHANGE)
	switch {
	case errors.Is(err, unix.ENOENT): // HANA renamed it meanwhile
		return false, nil
	case errors.Is(err, unix.EINVAL): // not known to this file system
		if err := unix.Renameat(d.fd, fresh, d.fd, name); err != nil {
			return false, fmt.Errorf("replace pipe %s/%s: %w", d.path, name, err)
		}
		return true, nil
	case err != nil:
		return false, fmt.Errorf("replace pipe %s/%s: %w", d.path, name, err)
	}
	if e, err = d.look(fresh); err == nil && e.is(old) {
		if err := unix.Unlinkat(d.fd, fresh, 0); err != nil {
			return true, fmt.Errorf("remove pipe %s/%s: %w", d.path, fresh, err)
		}
		return true, nil
	}
	if back := unix.Renameat2(d.fd, fresh, d.fd, name, unix.RENAME_EXCHANGE); back != nil {
		err = errors.Join(err, fmt.Errorf("put back %s/%s, which is now %s: %w", d.path, name, fresh, back))
	}
	return false, err
}

// remove unlinks name when ours says that what stands there is ours. Between a
// look and an unlink HANA may rename a file onto the name, so the name is
// first moved aside, examined there, and put back when it is not ours.
func (d *directory) remove(name string, ours func(entry) bool) (removed bool, err error) {
	if e, err := d.look(name); err != nil || !ours(e) {
		return false, err
	}
	aside := d.temporary()
	err = unix.Renameat2(d.fd, name, d.fd, aside, unix.RENAME_NOREPLACE)
	switch {
	case errors.Is(err, unix.ENOENT):
		return false, nil
	case errors.Is(err, unix.EINVAL): // not known to this file system
		aside = name
	case err != nil:
		return false, fmt.Errorf("remove pipe %s/%s: %w", d.path, name, err)
	}
	e, err := d.look(aside)
	if err == nil && ours(e) {
		if err := unix.Unlinkat(d.fd, aside, 0); err != nil {
			return false, fmt.Errorf("remove pipe %s/%s: %w", d.path, aside, err)
		}
		return true, nil
	}
	if back := unix.Renameat2(d.fd, aside, d.fd, name, unix.RENAME_NOREPLACE); back != nil {
		err = errors.Join(err, fmt.Errorf("put back %s/%s, which is now %s: %w", d.path, name, aside, back))
	}
	return false, err
}

// retryFD repeats a call that a signal interrupted.
func retryFD(call func() (int, error)) (int, error) {
	for {
		fd, err := call()
		if !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}
