package host

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Directory is the directory that is shared with HANA, as it is seen here.
type Directory struct {
	Path string
	// Error is why nothing else is known.
	Error    error
	Mode     fs.FileMode
	UID, GID uint32
	// OwnUID and OwnGroups are ours.
	OwnUID    int
	OwnGroups []int
	// FileSystem is its name, such as ext4, or the number of its kind in hex.
	FileSystem string
	// Free and Total are bytes, Free for users without privileges.
	Free, Total        int64
	FreeInodes, Inodes uint64
	// PipeError is why a trial with a pipe failed.
	PipeError error
	// WatchError is why the directory cannot be watched; Events says that the
	// trial was seen.
	WatchError error
	Events     bool
}

// trialPrefix begins the names of trials. No file of a backup begins so.
const trialPrefix = ".pipestreamer-doctor-"

// LookAt examines a directory, and tries a pipe in it under a temporary name.
func LookAt(path string) Directory {
	d := Directory{Path: path, OwnUID: os.Geteuid()}
	var st unix.Stat_t
	var statfs unix.Statfs_t
	info, err := os.Stat(path)
	switch {
	case err != nil:
		d.Error = err
		return d
	case !info.IsDir():
		d.Error = fmt.Errorf("%s is not a directory", path)
		return d
	}
	groups, err := os.Getgroups()
	if err = errors.Join(err, unix.Stat(path, &st), unix.Statfs(path, &statfs)); err != nil {
		d.Error = fmt.Errorf("examine %s: %w", path, err)
		return d
	}
	d.Mode, d.UID, d.GID, d.OwnGroups = info.Mode(), st.Uid, st.Gid, append([]int{os.Getegid()}, groups...)
	d.FileSystem = fileSystem(statfs.Type)
	d.Free, d.Total = bytes(statfs.Bavail, statfs.Bsize), bytes(statfs.Blocks, statfs.Bsize)
	d.FreeInodes, d.Inodes = statfs.Ffree, statfs.Files
	events, err := watch(path)
	if d.WatchError = err; err != nil {
		d.PipeError = try(path)
		return d
	}
	d.PipeError = try(path)
	d.Events, d.WatchError = seen(events)
	return d
}

// bytes multiplies what the kernel keeps apart.
func bytes(blocks uint64, size int64) int64 { return int64(blocks) * size } //nolint:gosec // a volume has less than 8 EiB

// try makes a pipe, sends a byte through it, renames it as HANA does, and removes
// it.
func try(directory string) (err error) {
	name := filepath.Join(directory, trialPrefix+rand.Text()[:12])
	renamed := name + "-renamed"
	if err := unix.Mkfifo(name, 0o660); err != nil {
		return fmt.Errorf("make a pipe: %w", err)
	}
	defer func() {
		for _, at := range []string{name, renamed} {
			if left := os.Remove(at); left != nil && !errors.Is(left, fs.ErrNotExist) {
				err = errors.Join(err, fmt.Errorf("remove the trial: %w", left))
			}
		}
	}()
	// A reader that is there first lets the writer open without blocking.
	reader, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("open the pipe for reading: %w", err)
	}
	defer func() { err = errors.Join(err, reader.Close()) }()
	writer, err := os.OpenFile(name, os.O_WRONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("open the pipe for writing: %w", err)
	}
	defer func() { err = errors.Join(err, writer.Close()) }()
	if _, err := writer.WriteString("x"); err != nil {
		return fmt.Errorf("write to the pipe: %w", err)
	}
	if _, err := reader.Read(make([]byte, 1)); err != nil {
		return fmt.Errorf("read from the pipe: %w", err)
	}
	if err := os.Rename(name, renamed); err != nil {
		return fmt.Errorf("rename the pipe: %w", err)
	}
	return nil
}

// watch collects the events of a directory. The caller closes it.
func watch(directory string) (fd int, err error) {
	if fd, err = unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC); err != nil {
		return 0, fmt.Errorf("inotify: %w", err)
	}
	if _, err := unix.InotifyAddWatch(fd, directory, unix.IN_CREATE|unix.IN_MOVED_TO|unix.IN_ONLYDIR); err != nil {
		return 0, errors.Join(fmt.Errorf("inotify: %w", err), unix.Close(fd))
	}
	return fd, nil
}

// seen says whether events have come, and closes the watch.
func seen(fd int) (bool, error) {
	n, err := unix.Read(fd, make([]byte, 4096))
	if errors.Is(err, unix.EAGAIN) {
		n, err = 0, nil
	}
	return n > 0, errors.Join(err, unix.Close(fd))
}

// fileSystem names a kind of statfs(2).
func fileSystem(kind int64) string {
	names := map[int64]string{
		unix.EXT4_SUPER_MAGIC: "ext4", unix.XFS_SUPER_MAGIC: "xfs", unix.BTRFS_SUPER_MAGIC: "btrfs", unix.TMPFS_MAGIC: "tmpfs",
		unix.OVERLAYFS_SUPER_MAGIC: "overlay", unix.NFS_SUPER_MAGIC: "nfs", unix.CIFS_SUPER_MAGIC: "cifs", unix.SMB_SUPER_MAGIC: "smb",
		unix.SMB2_SUPER_MAGIC: "smb2", unix.CEPH_SUPER_MAGIC: "ceph", unix.FUSE_SUPER_MAGIC: "fuse", unix.V9FS_MAGIC: "9p",
	}
	if name, known := names[kind]; known {
		return name
	}
	return fmt.Sprintf("a file system of kind %#x", kind)
}
