package job

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path"
	"strings"
	"syscall"
	"time"
)

// probeWatch notes for a probe when HANA was told and when it answered, and what
// it did with the names of its files. A nil one notes nothing.
type probeWatch struct {
	names    *nameWatch
	err      error // why names is nil or does not know everything
	sentAt   time.Time
	answerAt time.Time
}

func (w *probeWatch) sent() {
	if w != nil {
		w.sentAt = time.Now()
	}
}

func (w *probeWatch) answered() {
	if w != nil {
		w.answerAt = time.Now()
	}
}

// times gives the seconds from the statement to the first byte in a pipe, from
// the end of the last pipe to the answer, and from the statement to the answer.
func (w *probeWatch) times(streams []streamEvidence) (first, answer, total float64) {
	var opened, closed time.Time
	for i := range streams {
		r := &streams[i].report
		if r.Door != string(DoorFIFO) || r.OpenedAt.IsZero() {
			continue
		}
		if opened.IsZero() || r.OpenedAt.Before(opened) {
			opened = r.OpenedAt
		}
		if r.ClosedAt.After(closed) {
			closed = r.ClosedAt
		}
	}
	if !opened.IsZero() {
		first = opened.Sub(w.sentAt).Seconds()
	}
	if !closed.IsZero() { // the answer may be heard before the last end of file
		answer = max(w.answerAt.Sub(closed).Seconds(), 0)
	}
	return first, answer, w.answerAt.Sub(w.sentAt).Seconds()
}

// end gives what became of the files that owns knows, by final name.
func (w *probeWatch) end(owns func(string) bool) map[string]nameTrail {
	if w.names == nil {
		return nil
	}
	seen, err := w.names.end(owns)
	if err != nil {
		w.err = err
	}
	return seen
}

// nameTrail is what was seen of the two names of one file.
type nameTrail struct {
	// opened is the first of them that HANA made, or closed after writing.
	opened  string
	renamed bool
}

// nameWatch lets the kernel collect what happens to the names in a directory,
// until end reads it. That are few events: none comes while bytes are written.
type nameWatch struct{ fd int }

// nameEvents tell names apart. A pipe that is refused because of O_DIRECT shows
// as closed after writing (seen on Linux 6.18).
const nameEvents = syscall.IN_CREATE | syscall.IN_MOVED_FROM | syscall.IN_MOVED_TO | syscall.IN_CLOSE_WRITE | syscall.IN_ONLYDIR

func watchNames(directory string) (*nameWatch, error) {
	fd, err := syscall.InotifyInit1(syscall.IN_NONBLOCK | syscall.IN_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("watch directory %s (fs.inotify.max_user_instances): %w", directory, err)
	}
	if _, err := syscall.InotifyAddWatch(fd, directory, nameEvents); err != nil {
		return nil, errors.Join(fmt.Errorf("watch directory %s (fs.inotify.max_user_watches): %w", directory, err), syscall.Close(fd))
	}
	return &nameWatch{fd: fd}, nil
}

// end reads what has happened and closes the watch.
func (w *nameWatch) end(owns func(string) bool) (map[string]nameTrail, error) {
	trails := nameTrails{owns: owns, byFile: make(map[string]nameTrail)}
	var failed error
	buf := make([]byte, 64<<10)
	for failed == nil {
		n, err := syscall.Read(w.fd, buf)
		switch {
		case errors.Is(err, syscall.EINTR):
		case errors.Is(err, syscall.EAGAIN):
			return trails.byFile, errors.Join(trails.lost, syscall.Close(w.fd))
		case err != nil:
			failed = fmt.Errorf("read what happened to the files: %w", err)
		default:
			trails.take(buf[:n])
		}
	}
	return trails.byFile, errors.Join(failed, syscall.Close(w.fd))
}

// nameTrails makes trails of events.
type nameTrails struct {
	owns   func(string) bool
	byFile map[string]nameTrail
	moving string // what was renamed away, with the event that says where to next
	cookie uint32
	lost   error
}

// take reads inotify(7) events: watch, mask, cookie and length of the name as
// 32-bit numbers, then the name filled up with NUL.
func (t *nameTrails) take(buf []byte) {
	for len(buf) >= syscall.SizeofInotifyEvent {
		mask, cookie := binary.NativeEndian.Uint32(buf[4:]), binary.NativeEndian.Uint32(buf[8:])
		length := uint64(binary.NativeEndian.Uint32(buf[12:]))
		end := min(syscall.SizeofInotifyEvent+length, uint64(len(buf)))
		name, _, _ := strings.Cut(string(buf[syscall.SizeofInotifyEvent:end]), "\x00")
		buf = buf[end:]
		if mask&syscall.IN_Q_OVERFLOW != 0 {
			t.lost = errors.New("the kernel has dropped events of the backup directory")
		}
		t.note(mask, cookie, name)
	}
}

func (t *nameTrails) note(mask, cookie uint32, name string) {
	if mask&syscall.IN_MOVED_FROM != 0 {
		t.moving, t.cookie = name, cookie
		return
	}
	if !t.owns(name) {
		return
	}
	file := strings.TrimPrefix(name, ".")
	trail := t.byFile[file]
	switch {
	case mask&syscall.IN_MOVED_TO != 0:
		trail.renamed = trail.renamed || cookie == t.cookie && name == file && t.moving == "."+file
	case mask&(syscall.IN_CREATE|syscall.IN_CLOSE_WRITE) != 0 && trail.opened == "":
		trail.opened = nameOf(name, file)
	}
	t.byFile[file] = trail
}

// nameOf says which of the two names of file a path ends in.
func nameOf(at, file string) string {
	switch path.Base(at) {
	case file:
		return NameFinal
	case "." + file:
		return NameHidden
	default:
		return ""
	}
}
