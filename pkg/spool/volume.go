package spool

import (
	"errors"
	"fmt"
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

// Punches says whether blocks of files are freed while HANA writes them.
func (v *Volume) Punches() bool { return v.cfg.Follow && v.cfg.Punch }
