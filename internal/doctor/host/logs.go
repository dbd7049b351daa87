package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// LogDirectory is one in which HANA leaves the log backups of a database.
type LogDirectory struct {
	Path string
	// Error is why files in it cannot be listed, or removed.
	Error error
	// Sticky says that only the owner of a file in it may remove it, or UID, the
	// owner of the directory.
	Sticky bool
	UID    uint32
}

// LookAtLogs examines the directories of databases below path: SYSTEMDB, and
// DB_<tenant>. It tries nothing: what appears there is taken for HANA's.
func LookAtLogs(path string) ([]LogDirectory, error) {
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	var found []LogDirectory
	for _, e := range entries {
		if name := e.Name(); name == "SYSTEMDB" || strings.HasPrefix(name, "DB_") {
			found = append(found, lookAtLog(filepath.Join(path, name)))
		}
	}
	return found, nil
}

func lookAtLog(path string) LogDirectory {
	d := LogDirectory{Path: path}
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		d.Error = fmt.Errorf("examine %s: %w", path, err)
		return d
	}
	d.Sticky, d.UID = st.Mode&unix.S_ISVTX != 0, st.Uid
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
	case unix.S_IFLNK:
		d.Error = fmt.Errorf("%s is a symbolic link, which is never followed", path)
		return d
	default:
		d.Error = fmt.Errorf("%s is not a directory", path)
		return d
	}
	for _, right := range []struct {
		name string
		mode uint32
	}{{"read", unix.R_OK | unix.X_OK}, {"write", unix.W_OK}} {
		if err := unix.Faccessat(unix.AT_FDCWD, path, right.mode, unix.AT_EACCESS); err != nil {
			d.Error = errors.Join(d.Error, &fs.PathError{Op: right.name, Path: path, Err: err})
		}
	}
	return d
}
