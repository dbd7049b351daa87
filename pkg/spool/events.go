package spool

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// watched are the events after which a name may mean something else, or a file
// has one writer more or less. They are few: none comes while bytes are written.
const watched = unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO |
	unix.IN_OPEN | unix.IN_CLOSE_WRITE

// lost are the events after which the directory itself is not what it was.
const lost = unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_UNMOUNT | unix.IN_IGNORED

// event is one change in a directory.
type event struct {
	mask uint32
	name string
}

// queue is where the kernel puts the events of one directory. It works across
// the mount namespaces of a pod's containers.
type queue struct {
	file *os.File
	buf  []byte
}

// subscribe begins to collect the events of d.
func (d *directory) subscribe() (*queue, error) {
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("watch directory %s (fs.inotify.max_user_instances): %w", d.path, err)
	}
	f := os.NewFile(uintptr(fd), "inotify")
	target := fmt.Sprintf("/proc/self/fd/%d", d.fd)
	if _, err := unix.InotifyAddWatch(fd, target, watched|lost|unix.IN_ONLYDIR); err != nil {
		return nil, errors.Join(fmt.Errorf("watch directory %s (fs.inotify.max_user_watches): %w", d.path, err), f.Close())
	}
	return &queue{file: f, buf: make([]byte, eventBuffer)}, nil
}

// wait returns when there is an event, at the given time, or when ctx ends. It
// reads nothing: whoever reads holds a lock, so that nobody decides anything
// while events are on their way to somebody else.
func (q *queue) wait(ctx context.Context, until time.Time) error {
	raw, err := q.file.SyscallConn()
	if err != nil {
		return fmt.Errorf("wait for events: %w", err)
	}
	if err := q.file.SetReadDeadline(until); err != nil {
		return fmt.Errorf("wait for events: %w", err)
	}
	var interrupted error
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(done)
		interrupted = q.file.SetReadDeadline(time.Unix(1, 0))
	})
	var polled error
	err = raw.Read(func(fd uintptr) bool {
		some := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}} //nolint:gosec // descriptors are small
		n, err := retry(func() (int, error) { return unix.Poll(some, 0) })
		polled = err
		return n > 0 || err != nil
	})
	if !stop() {
		<-done
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = nil
	}
	if err = errors.Join(err, polled, interrupted); err != nil {
		return fmt.Errorf("wait for events: %w", err)
	}
	return nil
}

// read returns some of the events that are there; none means that nothing
// happened up to now that it has not told.
func (q *queue) read() ([]event, error) {
	raw, err := q.file.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("read events: %w", err)
	}
	var n int
	var failed error
	err = raw.Control(func(fd uintptr) {
		n, failed = retry(func() (int, error) { return unix.Read(int(fd), q.buf) })
	})
	if errors.Is(failed, unix.EAGAIN) {
		return nil, nil
	}
	if err = errors.Join(err, failed); err != nil {
		return nil, fmt.Errorf("read events: %w", err)
	}
	return parseEvents(q.buf[:n]), nil
}

func (q *queue) close() error { return q.file.Close() }

// parseEvents reads inotify(7) events: watch, mask, cookie and length of the
// name as 32-bit numbers, then the name filled up with NUL.
func parseEvents(buf []byte) []event {
	var events []event
	for len(buf) >= unix.SizeofInotifyEvent {
		mask := binary.NativeEndian.Uint32(buf[4:])
		length := uint64(binary.NativeEndian.Uint32(buf[12:]))
		end := int(min(unix.SizeofInotifyEvent+length, uint64(len(buf)))) //nolint:gosec // at most the length of buf
		events = append(events, event{mask, unix.ByteSliceToString(buf[unix.SizeofInotifyEvent:end])})
		buf = buf[end:]
	}
	return events
}
