package spool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

const (
	// shelfPrefix begins the names of the directories that a Shelf makes.
	shelfPrefix = "restore-"
	// reservePart is left free in the file system, a twentieth of it: HANA
	// writes there, too.
	reservePart = 20
)

// ErrSpace means that a file system has no room for what was asked for.
var ErrSpace = errors.New("not enough space")

// Shelf is a directory of our own below the backup directory in which a restore
// lays out the files that HANA looks for by itself: log backups, a backup of the
// catalog, and data backups where HANA does not read from pipes. It sees which of
// them HANA opens.
type Shelf struct {
	dir    *directory
	parent *directory
	name   string

	stop context.CancelFunc // of Watch

	mu      sync.Mutex
	events  *queue // once Watch was called
	opened  map[string]bool
	closing bool
	wg      sync.WaitGroup
}

// shelfName is the name of the shelf of one job.
func shelfName(jobID string) (string, error) {
	if err := backup.CheckPrefix(jobID); err != nil {
		return "", fmt.Errorf("shelf: job id: %w", err)
	}
	return shelfPrefix + jobID, nil
}

// NewShelf makes the directory of a job in directory, with the group and the
// rights of that: whoever may read there may read here. It fails with ErrSpace,
// and makes nothing, when bytes would leave less than a twentieth of the file
// system free. Close it.
func NewShelf(directory, jobID string, bytes int64) (*Shelf, error) {
	name, err := shelfName(jobID)
	if err != nil {
		return nil, err
	}
	parent, err := openDirectory(directory, directory, nil)
	if err != nil {
		return nil, err
	}
	s := &Shelf{parent: parent, name: name, opened: make(map[string]bool)}
	if err := s.make(bytes); err != nil {
		return nil, errors.Join(fmt.Errorf("make %s/%s: %w", parent.path, name, err), parent.close())
	}
	return s, nil
}

func (s *Shelf) make(bytes int64) error {
	room, err := s.parent.room()
	if err != nil {
		return err
	}
	if bytes > room {
		return fmt.Errorf("%w: %d bytes have to be laid out, there is room for %d", ErrSpace, bytes, max(room, 0))
	}
	var st unix.Stat_t
	if err := unix.Fstat(s.parent.fd, &st); err != nil {
		return err
	}
	if err := unix.Mkdirat(s.parent.fd, s.name, 0o700); err != nil {
		return err
	}
	if s.dir, err = s.parent.enter(s.name); err == nil {
		err = s.own()
	}
	if err == nil && st.Gid != uint32(os.Getegid()) { //nolint:gosec // the kernel's group ids have 32 bits
		err = unix.Fchown(s.dir.fd, -1, int(st.Gid))
	}
	if err == nil { // mkdir(2) obeys the umask; the files get the directory's group
		err = unix.Fchmod(s.dir.fd, st.Mode&0o770|unix.S_ISGID|0o750)
	}
	if err != nil {
		if s.dir != nil {
			err = errors.Join(err, s.dir.close())
		}
		return errors.Join(err, unix.Unlinkat(s.parent.fd, s.name, unix.AT_REMOVEDIR))
	}
	return nil
}

// own makes sure that the directory is the one that was just made: HANA may have
// put one of its own in its place.
func (s *Shelf) own() error {
	e, err := s.dir.look(".")
	if own := uint32(os.Geteuid()); err == nil && e.uid != own { //nolint:gosec // the kernel's user ids have 32 bits
		err = fmt.Errorf("%w: it was replaced by a directory of user %d", ErrRefused, e.uid)
	}
	return err
}

// Path is the directory, for HANA.
func (s *Shelf) Path() string { return s.dir.path }

// Write lays out one file of size bytes, whole and on disk, or nothing.
func (s *Shelf) Write(ctx context.Context, name string, size int64, content io.Reader) (err error) {
	if !ofHANA(name) {
		return fmt.Errorf("lay out %q: not a name of a backup file", name)
	}
	partial := "." + name
	const flags = unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err := retry(func() (int, error) { return unix.Openat(s.dir.fd, partial, flags, 0o640) })
	if err != nil {
		return fmt.Errorf("lay out %s/%s: %w", s.dir.path, name, err)
	}
	file := os.NewFile(uintptr(fd), partial)
	n, err := io.Copy(file, io.LimitReader(content, size+1))
	switch {
	case err == nil && n != size:
		err = fmt.Errorf("%d bytes or more came, expected %d", n, size)
	case err == nil:
		err = errors.Join(unix.Fchmod(fd, 0o640), file.Sync(), context.Cause(ctx))
	}
	err = errors.Join(err, file.Close())
	if err == nil {
		err = s.dir.move(partial, name)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("lay out %s/%s: %w", s.dir.path, name, err), unix.Unlinkat(s.dir.fd, partial, 0))
	}
	return nil
}

// Watch notes from now on, until Close, which files are opened, also when ctx has
// ended. It is called once, after the last Write, whose own openings would count.
func (s *Shelf) Watch(ctx context.Context) error {
	events, err := s.dir.subscribe()
	if err != nil {
		return err
	}
	following, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.events, s.stop = events, stop
	s.wg.Go(func() { s.follow(following) })
	return nil
}

// follow keeps the kernel's queue short. What it cannot read counts as not
// opened, which nobody takes for success.
func (s *Shelf) follow(ctx context.Context) {
	for ctx.Err() == nil {
		if err := s.events.wait(ctx, time.Time{}); err != nil {
			return
		}
		s.mu.Lock()
		err := s.take()
		s.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// take notes what has happened up to now.
func (s *Shelf) take() error {
	for {
		events, err := s.events.read()
		if err != nil || len(events) == 0 {
			return err
		}
		for _, e := range events {
			if e.mask&unix.IN_OPEN != 0 && e.name != "" {
				s.opened[e.name] = true
			}
		}
	}
}

// Opened gives the names of the files that somebody has opened since Watch.
func (s *Shelf) Opened() map[string]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.events != nil && !s.closing {
		_ = s.take() // as in follow
	}
	names := make(map[string]bool, len(s.opened))
	for name := range s.opened {
		names[name] = true
	}
	return names
}

// Close removes the directory with all that is in it. It may be called again, and
// does nothing after Leave.
func (s *Shelf) Close() error { return s.end(func() error { return s.parent.removeShelf(s.name) }) }

// Leave ends the Shelf instead of Close and leaves all files where they are, for
// somebody who may still read them.
func (s *Shelf) Leave() error { return s.end(func() error { return nil }) }

func (s *Shelf) end(remove func() error) error {
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		return nil
	}
	s.closing = true
	s.mu.Unlock()
	var errs []error
	if s.events != nil {
		s.stop()
		s.wg.Wait()
		errs = append(errs, s.events.close())
	}
	errs = append(errs, s.dir.close(), remove(), s.parent.close())
	return errors.Join(errs...)
}

// ShelfPath is where the Shelf of a job lies.
func ShelfPath(directory, jobID string) string { return path.Join(directory, shelfPrefix+jobID) }

// RemoveShelf removes what a Shelf of an earlier process has left in directory.
// Nothing there is not an error.
func RemoveShelf(directory, jobID string) error {
	name, err := shelfName(jobID)
	if err != nil {
		return err
	}
	parent, err := openDirectory(directory, directory, nil)
	if err != nil {
		return err
	}
	return errors.Join(parent.removeShelf(name), parent.close())
}

// ofHANA says whether name is one of a data, log or catalog backup.
func ofHANA(name string) bool {
	_, notLog := backup.ParseLogName(name)
	_, notData := backup.ParseFileName(name)
	return notLog == nil || notData == nil
}

// removeShelf removes plain files with names of backups and the directory that
// is empty then. Anything else there is not ours, and an error.
func (d *directory) removeShelf(name string) error {
	shelf, err := d.enter(name)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	names, err := shelf.list(func(string) bool { return true })
	for _, file := range names {
		if ofHANA(strings.TrimPrefix(file, ".")) {
			err = errors.Join(err, unix.Unlinkat(shelf.fd, file, 0))
		}
	}
	if err := errors.Join(err, shelf.close(), unix.Unlinkat(d.fd, name, unix.AT_REMOVEDIR)); err != nil {
		return fmt.Errorf("remove %s/%s: %w", d.path, name, err)
	}
	return nil
}
