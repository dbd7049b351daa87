package host

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/pipestreamer/pipestreamer/pkg/nofollow"
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

// LookAt examines a directory, and tries a pipe in it under a temporary name. HANA's
// container may change the directory at any moment: neither it nor anything in it is
// followed to where a link leads, and nothing is touched but the pipe of the trial.
func LookAt(path string) Directory {
	d := Directory{Path: path, OwnUID: os.Geteuid()}
	fd, err := nofollow.Open(path)
	if d.Error = err; err != nil {
		return d
	}
	at := os.NewFile(uintptr(fd), path)
	d.examine(at)
	if d.Error == nil {
		d.probe(at)
	}
	d.Error = errors.Join(d.Error, at.Close())
	return d
}

func (d *Directory) examine(at *os.File) {
	fd := int(at.Fd())
	var st unix.Stat_t
	var statfs unix.Statfs_t
	info, err := at.Stat()
	groups, errGroups := os.Getgroups()
	if err = errors.Join(err, errGroups, unix.Fstat(fd, &st), unix.Fstatfs(fd, &statfs)); err != nil {
		d.Error = fmt.Errorf("examine %s: %w", d.Path, err)
		return
	}
	d.Mode, d.UID, d.GID, d.OwnGroups = info.Mode(), st.Uid, st.Gid, append([]int{os.Getegid()}, groups...)
	d.FileSystem = fileSystem(statfs.Type)
	d.Free, d.Total = bytes(statfs.Bavail, statfs.Bsize), bytes(statfs.Blocks, statfs.Bsize)
	d.FreeInodes, d.Inodes = statfs.Ffree, statfs.Files
}

// probe tries a pipe while it watches the directory.
func (d *Directory) probe(at *os.File) {
	events, err := watch(fmt.Sprintf("/proc/self/fd/%d", at.Fd()))
	d.PipeError = try(int(at.Fd()))
	if d.WatchError = err; err == nil {
		d.Events, d.WatchError = seen(events)
	}
}

// bytes multiplies what the kernel keeps apart.
func bytes(blocks uint64, size int64) int64 { return int64(blocks) * size } //nolint:gosec // a volume has less than 8 EiB

// try makes a pipe, sends a byte through it, renames it as HANA does, and removes
// it.
func try(directory int) (err error) {
	name := trialPrefix + rand.Text()[:12]
	renamed := name + "-renamed"
	if err := unix.Mkfifoat(directory, name, 0o660); err != nil {
		return fmt.Errorf("make a pipe: %w", err)
	}
	defer func() {
		for _, at := range []string{name, renamed} {
			if left := unix.Unlinkat(directory, at, 0); left != nil && !errors.Is(left, unix.ENOENT) {
				err = errors.Join(err, fmt.Errorf("remove the trial: %w", left))
			}
		}
	}()
	// A reader that is there first lets the writer open without blocking.
	reader, err := openPipe(directory, name, unix.O_RDONLY)
	if err != nil {
		return fmt.Errorf("open the pipe for reading: %w", err)
	}
	defer func() { err = errors.Join(err, reader.Close()) }()
	writer, err := openPipe(directory, name, unix.O_WRONLY)
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
	if err := unix.Renameat(directory, name, directory, renamed); err != nil {
		return fmt.Errorf("rename the pipe: %w", err)
	}
	return nil
}

// openPipe opens one end of a pipe, and makes sure that it has: what stands at the
// name may have been replaced.
func openPipe(directory int, name string, flags int) (*os.File, error) {
	fd, err := unix.Openat(directory, name, flags|unix.O_NONBLOCK|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), name)
	var st unix.Stat_t
	err = unix.Fstat(fd, &st)
	if err == nil && st.Mode&unix.S_IFMT != unix.S_IFIFO {
		err = errors.New("it was replaced by something that is not a pipe")
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
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
