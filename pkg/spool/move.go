package spool

import (
	"errors"

	"golang.org/x/sys/unix"
)

// moveCalls are the calls of the kernel that a file system may not know.
type moveCalls struct {
	renameat2 func(oldFD int, from string, newFD int, to string, flags uint) error
	linkat    func(oldFD int, from string, newFD int, to string, flags int) error
}

// move gives the file at from, which is ours, another name, and replaces nothing
// there: the error wraps unix.EEXIST then.
func (d *directory) move(from, to string) error {
	return d.moveBy(moveCalls{renameat2: unix.Renameat2, linkat: unix.Linkat}, from, to)
}

func (d *directory) moveBy(calls moveCalls, from, to string) error {
	err := calls.renameat2(d.fd, from, d.fd, to, unix.RENAME_NOREPLACE)
	if !errors.Is(err, unix.EINVAL) {
		return err
	}
	// not known to this file system, for example NFS (rename(2))
	err = calls.linkat(d.fd, from, d.fd, to, 0)
	switch {
	case err == nil:
		return unix.Unlinkat(d.fd, from, 0)
	case !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.ENOSYS):
		return err
	}
	// It has no hard links, either (link(2)): between this look and the rename
	// somebody else could take the name.
	e, err := d.look(to)
	switch {
	case err != nil:
		return err
	case e.exists:
		return unix.EEXIST
	}
	return unix.Renameat(d.fd, from, d.fd, to)
}
