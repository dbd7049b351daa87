package spool

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Volume is the directory of a Config, as those see it who look after the files
// of backups that have ended. It holds nothing open.
type Volume struct{ cfg Config }

// NewVolume returns the Volume of cfg.Directory.
func NewVolume(cfg Config) *Volume { return &Volume{cfg} }

// List gives the files whose names match, finished or not.
func (v *Volume) List(match func(name string) bool) ([]File, error) {
	listing, err := List(v.cfg, v.cfg.Directory, match)
	return listing.Files, err
}

// Remove removes f if it still is as it was, and says whether it was.
func (v *Volume) Remove(f File) (removed bool, err error) {
	return Remove(v.cfg.Directory, v.cfg.Directory, f)
}

// PutBack gives files their names back that an earlier process was about to
// remove.
func (v *Volume) PutBack() error {
	_, err := PutBack(v.cfg.Directory, v.cfg.Directory)
	return err
}

// Room is how many bytes may be written before less than a twentieth of the file
// system is left; it may be negative.
func (v *Volume) Room() (bytes int64, err error) {
	d, err := openDirectory(v.cfg.Directory, v.cfg.Directory, v.cfg.Owners)
	if err != nil {
		return 0, fmt.Errorf("look for room: %w", err)
	}
	room, err := d.room()
	return room, errors.Join(err, d.close())
}

// room is as Volume.Room.
func (d *directory) room() (int64, error) {
	fs, err := d.statfs()
	if err != nil {
		return 0, err
	}
	free, reserve := int64(fs.Bavail)*fs.Bsize, int64(fs.Blocks)*fs.Bsize/reservePart //nolint:gosec // sizes of file systems fit
	return free - reserve, nil
}

// Punching says whether blocks of files are to be freed while HANA writes them,
// and what stands in the way of that, as far as it shows before HANA has written
// anything.
func (v *Volume) Punching() (configured bool, obstacle error) {
	if !v.cfg.Follow || !v.cfg.Punch {
		return false, nil
	}
	d, err := openDirectory(v.cfg.Directory, v.cfg.Directory, v.cfg.Owners)
	if err != nil {
		return true, err
	}
	return true, errors.Join(d.tryPunch(), d.close())
}

// tryPunch punches a file of our own, which has no name.
func (d *directory) tryPunch() error {
	fs, err := d.statfs()
	if err != nil {
		return err
	}
	if !showsHoles(int64(fs.Type)) { //nolint:unconvert // 32 bits elsewhere
		return fmt.Errorf("the file system of %s does not show what is written", d.path)
	}
	own := uint32(os.Geteuid()) //nolint:gosec // the kernel's user ids have 32 bits
	for _, owner := range d.owners {
		if owner != own && owner != 0 && own != 0 { // HANA is never root
			return fmt.Errorf("files of user %d in %s cannot be written by user %d", owner, d.path, own)
		}
	}
	fd, err := retry(func() (int, error) {
		return unix.Openat(d.fd, ".", unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	})
	if err != nil {
		return fmt.Errorf("try to free parts of a file in %s: %w", d.path, err)
	}
	file := os.NewFile(uintptr(fd), d.path)
	const mode = unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE
	_, err = file.Write(make([]byte, 2*blockSize))
	if err == nil {
		err = unix.Fallocate(fd, mode, 0, blockSize)
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("free parts of a file in %s: %w", d.path, err)
	}
	return nil
}
