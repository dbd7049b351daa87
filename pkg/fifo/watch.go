package fifo

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// moved are the events after which a name may mean something else.
const moved = unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO

// touched are the events of openings; they cost nothing while bytes flow.
const touched = unix.IN_OPEN | unix.IN_CLOSE_WRITE | unix.IN_CLOSE_NOWRITE

// lost are the events after which the directory itself is not what it was.
const lost = unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_UNMOUNT | unix.IN_IGNORED

// Watch implements [backup.Source]. The error wraps [ErrIntrusion]; an intrusion
// that was there before ctx ended or Close was called is still told.
func (s *Source) Watch(ctx context.Context) error {
	select {
	case <-s.intruded:
	case <-ctx.Done():
	case <-s.done:
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.intrusion
}

// subscribe returns an inotify descriptor for the directory. It works across
// the mount namespaces of a pod's containers.
func (d *directory) subscribe() (*os.File, error) {
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("watch directory %s (fs.inotify.max_user_instances): %w", d.path, err)
	}
	f := os.NewFile(uintptr(fd), "inotify")
	if _, err := unix.InotifyAddWatch(fd, descriptorPath(d.fd), moved|touched|lost|unix.IN_ONLYDIR); err != nil {
		return nil, errors.Join(fmt.Errorf("watch directory %s: %w", d.path, err), f.Close())
	}
	return f, nil
}

// lookPause is the time between looks at what no event tells.
const lookPause = time.Second

// followEvents takes in the events of the directory until Close. That a directory
// was removed is told by none as long as it is held open, so it is looked for.
func (s *Source) followEvents() {
	raw, err := s.events.SyscallConn()
	for err == nil {
		if err = s.events.SetReadDeadline(time.Now().Add(lookPause)); err != nil {
			break
		}
		err = raw.Read(func(fd uintptr) bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.closing || s.takeEvents(fd) != nil
		})
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		err = s.lookAtDirectory()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil && !s.closing {
		s.intrude(nil, fmt.Sprintf("the directory can no longer be watched: %v", err))
	}
}

// lookAtDirectory notices that the directory is gone. What it returns ends the
// watch.
func (s *Source) lookAtDirectory() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return nil
	}
	var st unix.Stat_t
	if err := unix.Fstat(s.dir.fd, &st); err != nil {
		return err
	}
	if st.Nlink == 0 {
		s.intrude(nil, "the directory was removed")
	}
	return nil
}

// catchUp takes in what has happened up to now. HANA may have told already that
// it failed because of what the events tell.
func (s *Source) catchUp() {
	if s.events == nil || s.closing {
		return
	}
	_ = control(s.events, s.takeEvents) // what fails is an intrusion
}

// takeEvents handles the events that are there. It scans when a name of ours may
// have changed its meaning.
func (s *Source) takeEvents(fd uintptr) error {
	buf := make([]byte, 64<<10)
	for {
		n, err := unix.Read(int(fd), buf)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			return nil
		case err != nil:
			s.intrude(nil, fmt.Sprintf("the directory can no longer be watched: %v", err))
			return err
		default:
			s.handle(buf[:n])
		}
	}
}

// handle reads inotify(7) events: watch, mask, cookie and length of the name as
// 32-bit numbers, then the name filled up with NUL.
func (s *Source) handle(buf []byte) {
	rescan := false
	for len(buf) >= unix.SizeofInotifyEvent {
		mask := binary.NativeEndian.Uint32(buf[4:])
		end := min(unix.SizeofInotifyEvent+int(binary.NativeEndian.Uint32(buf[12:])), len(buf))
		name := unix.ByteSliceToString(buf[unix.SizeofInotifyEvent:end])
		buf = buf[end:]
		switch {
		case mask&lost != 0:
			s.intrude(nil, "the directory was removed, moved or unmounted")
		case mask&unix.IN_Q_OVERFLOW != 0:
			s.log.Warn("events of the backup directory were lost, scanning it instead")
			rescan = true
		case mask&touched != 0:
			s.touch(name, mask)
		case s.ours(name):
			// A file that came and went leaves no other trace than its event.
			if mask&(unix.IN_CREATE|unix.IN_MOVED_TO) != 0 && !s.expected(name) && !s.cfg.Rescue {
				s.intrude(nil, "an unexpected file appeared: "+s.dir.path+"/"+name)
			}
			rescan = true
		}
	}
	if rescan {
		s.scan()
	}
}

func (s *Source) expected(name string) bool {
	return slices.ContainsFunc(s.streams, func(st *sourceStream) bool { return name == st.final || name == st.hidden })
}

// scan compares the directory with what should be there. It needs no events, so
// it is right after any number of lost ones.
func (s *Source) scan() {
	found, err := s.dir.list(s.ours)
	if err != nil {
		s.intrude(nil, err.Error())
		return
	}
	for _, name := range found {
		if s.expected(name) {
			continue
		}
		if e, err := s.dir.look(name); err == nil && s.cfg.Rescue && (!e.exists || e.isRegular()) {
			continue
		}
		s.intrude(nil, "an unexpected file appeared: "+s.dir.path+"/"+name)
	}
	for _, st := range s.streams {
		if what, err := s.examine(st); err != nil {
			s.intrude(st, err.Error())
		} else if what != "" {
			s.intrude(st, what)
		}
	}
}

// examine says what is wrong with the names of one stream. HANA may rename its
// hidden file to the final name at any moment, so the hidden name is looked at
// first: what is gone from there by then is at the final name already.
func (s *Source) examine(st *sourceStream) (string, error) {
	hidden, err := s.dir.look(st.hidden)
	if err != nil {
		return "", err
	}
	final, err := s.dir.look(st.final)
	if err != nil {
		return "", err
	}
	for name, e := range map[string]entry{st.hidden: hidden, st.final: final} {
		if s.mayBypass(st) && e.isRegular() {
			s.bypass(st, name)
			return "", nil
		}
		if e.exists && !e.isOneOf(st.live) {
			return fmt.Sprintf("where a pipe stood, %s/%s is %s", s.dir.path, name, e), nil
		}
	}
	if st.refusing {
		return "", s.rearm(st)
	}
	return s.removed(st, hidden, final), nil
}

// mayBypass says whether a file of HANA at a name of st is somebody else's to
// take.
func (s *Source) mayBypass(st *sourceStream) bool {
	return s.cfg.Rescue && st.current == nil && !st.refusing
}

// removed says which of its pipes HANA cannot find any more.
func (s *Source) removed(st *sourceStream, hidden, final entry) string {
	switch {
	case st.current != nil, s.cfg.Rescue: // HANA may rename the spare, or is about to make a file
		return ""
	case !final.exists:
		return fmt.Sprintf("%s/%s was removed before HANA used it", s.dir.path, st.final)
	case !hidden.exists && !final.is(st.atHidden.id):
		return fmt.Sprintf("%s/%s was removed before HANA used it", s.dir.path, st.hidden)
	}
	return ""
}

// bypass records that HANA writes a file instead of the pipe of st.
func (s *Source) bypass(st *sourceStream, name string) {
	if st.report.Bypass != "" {
		return
	}
	st.report.Bypass = "HANA writes a regular file, " + s.dir.path + "/" + name + ", instead of the pipe that stood there"
	s.metrics.bypasses.Inc()
	s.log.Warn("HANA wrote past a pipe", zap.Stringer("stream", st.report.StreamID), zap.String("file", s.dir.path+"/"+name))
	close(st.begun)
}

// intrude records what happened, the first for its stream and the first of all.
// A nil stream is the directory.
func (s *Source) intrude(st *sourceStream, what string) {
	if st != nil {
		if st.report.Intrusion != "" {
			return
		}
		st.report.Intrusion = what
		what = "stream " + st.report.String() + ": " + what
	}
	if st == nil && s.intrusion != nil {
		return
	}
	s.metrics.intrusions.WithLabelValues(directionBackup).Inc()
	s.log.Error("something happened to the pipes", zap.String("intrusion", what))
	if s.intrusion == nil {
		s.intrusion = fmt.Errorf("%w: %s", ErrIntrusion, what)
		close(s.intruded)
	}
}
