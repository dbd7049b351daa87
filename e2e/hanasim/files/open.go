package files

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// handle is an open file; direct tells whether O_DIRECT holds.
type handle struct {
	*os.File
	direct bool
	pipe   bool
	stop   func() bool
}

// release ends the watch on the context that openFile started.
func (h handle) release() { h.stop() }

// packets puts a pipe into packet mode: a write of up to 4 KiB then is one read
// of the other end, and what that read leaves over is lost. Unlike open, fcntl
// takes O_DIRECT of a pipe (fcntl(2), pipe(2)).
func (h handle) packets() error {
	if !h.pipe {
		return nil
	}
	raw, err := h.SyscallConn()
	if err != nil {
		return err
	}
	var errSet error
	err = raw.Control(func(fd uintptr) {
		_, errSet = unix.FcntlInt(fd, unix.F_SETFL, unix.O_DIRECT|unix.O_NONBLOCK)
	})
	return errors.Join(err, errSet)
}

// openFile opens name as the kernel does it for HANA: the open of a pipe
// without a partner blocks. When ctx ends, the open is released from the
// other end, and reads and writes of a pipe fail; the caller then reports the
// cause of ctx.
func openFile(ctx context.Context, name string, flags int, profile Profile) (handle, error) {
	direct := profile.direct()
	if direct {
		flags |= unix.O_DIRECT
	}
	fd, err := blockingOpen(ctx, name, flags)
	if profile == DirectFallback && errors.Is(err, unix.EINVAL) {
		direct = false
		fd, err = blockingOpen(ctx, name, flags&^unix.O_DIRECT)
	}
	if err != nil {
		return handle{}, err
	}
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return handle{}, errors.Join(err, unix.Close(fd))
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFIFO {
		return handle{File: os.NewFile(uintptr(fd), name), direct: direct, stop: func() bool { return true }}, nil
	}
	// Only a non-blocking descriptor gets deadlines from the Go runtime, and
	// only they end a write that nobody reads.
	if err := unix.SetNonblock(fd, true); err != nil {
		return handle{}, errors.Join(err, unix.Close(fd))
	}
	file := os.NewFile(uintptr(fd), name)
	stop := context.AfterFunc(ctx, func() {
		// A closed file has nothing left to interrupt.
		_ = file.SetDeadline(time.Unix(1, 0))
	})
	return handle{File: file, pipe: true, stop: stop}, nil
}

type opened struct {
	fd  int
	err error
}

func blockingOpen(ctx context.Context, name string, flags int) (int, error) {
	// The inode is kept so that its blocked open can be released even when the
	// name is gone by then. O_PATH is no open that the other end could notice.
	inode, err := unix.Open(name, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err == nil {
		defer unix.Close(inode) //nolint:errcheck // nothing was written through a path descriptor
	}
	result := make(chan opened, 1)
	go func() {
		fd, err := unix.Open(name, flags|unix.O_CLOEXEC, 0o640)
		for errors.Is(err, unix.EINTR) {
			fd, err = unix.Open(name, flags|unix.O_CLOEXEC, 0o640)
		}
		result <- opened{fd, err}
	}()
	select {
	case o := <-result:
		return o.fd, o.err
	case <-ctx.Done():
	}
	return releaseOpen(ctx, name, inode, flags, result)
}

// releaseOpen ends an open that still blocks, by opening the other end for a
// moment, and returns the cause of ctx.
func releaseOpen(ctx context.Context, name string, inode, flags int, result <-chan opened) (int, error) {
	other := unix.O_RDONLY
	if flags&unix.O_ACCMODE == unix.O_RDONLY {
		other = unix.O_WRONLY
	}
	names := []string{name, fmt.Sprintf("/proc/self/fd/%d", inode)}
	for {
		var ends []int
		for _, name := range names {
			if fd, err := unix.Open(name, other|unix.O_NONBLOCK|unix.O_CLOEXEC, 0); err == nil {
				ends = append(ends, fd)
			}
		}
		var closed error
		select {
		case o := <-result:
			if o.err == nil {
				closed = unix.Close(o.fd)
			}
			return 0, errors.Join(context.Cause(ctx), closed, closeAll(ends))
		case <-time.After(10 * time.Millisecond):
			closed = closeAll(ends)
		}
		if closed != nil {
			return 0, errors.Join(context.Cause(ctx), closed)
		}
	}
}

func closeAll(fds []int) error {
	var errs []error
	for _, fd := range fds {
		errs = append(errs, unix.Close(fd))
	}
	return errors.Join(errs...)
}
