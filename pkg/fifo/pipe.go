package fifo

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// pipe is a named pipe that we made. Its descriptor keeps its inode number from
// being given to another file.
type pipe struct {
	id   PipeID
	file *os.File
}

// create makes a pipe at name, which is temporary, and opens its read end
// without blocking.
func (d *directory) create(name string, mode fs.FileMode) (*pipe, error) {
	if err := unix.Mkfifoat(d.fd, name, 0o600); err != nil {
		return nil, fmt.Errorf("create pipe %s/%s: %w", d.path, name, err)
	}
	p, err := d.openRead(name, mode)
	if err != nil {
		return nil, errors.Join(err, unix.Unlinkat(d.fd, name, 0))
	}
	return p, nil
}

func (d *directory) openRead(name string, mode fs.FileMode) (*pipe, error) {
	fd, err := retryFD(func() (int, error) {
		return unix.Openat(d.fd, name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return nil, fmt.Errorf("open pipe %s/%s: %w", d.path, name, err)
	}
	// A non-blocking descriptor is waited for by the runtime's poller: no
	// thread is held by a pipe that waits.
	file := os.NewFile(uintptr(fd), d.path+"/"+name)
	var st unix.Stat_t
	err = unix.Fstat(fd, &st)
	if err == nil && st.Mode&unix.S_IFMT != unix.S_IFIFO {
		err = errors.New("it was replaced by something that is not a pipe")
	}
	if err == nil {
		err = unix.Fchmod(fd, uint32(mode.Perm())) // mkfifo(2) obeys the umask
	}
	if err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_SETPIPE_SZ, armedPipeSize)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open pipe %s/%s: %w", d.path, name, err), file.Close())
	}
	return &pipe{id: PipeID{Name: name, Dev: st.Dev, Ino: st.Ino}, file: file}, nil
}

// reopen opens the same inode once more, wherever its name is by now.
func (p *pipe) reopen(flags int) (*os.File, error) {
	raw, err := p.file.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("reopen pipe %s: %w", p.id.Name, err)
	}
	var fd int
	var openErr error
	err = raw.Control(func(self uintptr) {
		fd, openErr = retryFD(func() (int, error) {
			return unix.Open(descriptorPath(int(self)), flags|unix.O_CLOEXEC, 0)
		})
	})
	if err = errors.Join(err, openErr); err != nil {
		return nil, fmt.Errorf("reopen pipe %s: %w", p.id.Name, err)
	}
	return os.NewFile(uintptr(fd), p.file.Name()), nil
}

// awaitBytes returns nil when there is something to read, and an error when the
// file is closed. It calls empty for a writer that came and went without a
// byte; two that follow at once may be seen as one.
//
// A plain read cannot be used to wait: before the first writer it returns 0, as
// at the end. poll(2) shows POLLIN with data, and POLLHUP alone after a writer
// that left nothing.
func (p *pipe) awaitBytes(empty func()) error {
	raw, err := p.file.SyscallConn()
	if err != nil {
		return fmt.Errorf("wait for pipe %s: %w", p.id.Name, err)
	}
	var pollErr error
	hungUp := false
	err = raw.Read(func(fd uintptr) bool {
		var events int16
		if events, pollErr = pollNow(fd, unix.POLLIN); pollErr != nil {
			return true
		}
		if events&unix.POLLIN != 0 {
			return true
		}
		if was := hungUp; !was && events&unix.POLLHUP != 0 {
			empty()
		}
		hungUp = events&unix.POLLHUP != 0
		return false
	})
	if err = errors.Join(err, pollErr); err != nil {
		return fmt.Errorf("wait for pipe %s: %w", p.id.Name, err)
	}
	return nil
}

// control runs f on the descriptor of file, which stays open meanwhile.
func control(file *os.File, f func(fd uintptr) error) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	err = raw.Control(func(fd uintptr) { inner = f(fd) })
	return errors.Join(err, inner)
}

// events asks poll(2) once, without waiting.
func events(file *os.File, want int16) (got int16, err error) {
	err = control(file, func(fd uintptr) error {
		var inner error
		got, inner = pollNow(fd, want)
		return inner
	})
	return got, err
}

// unread is the number of bytes in the pipe (FIONREAD, pipe(7)).
func unread(file *os.File) (n int, err error) {
	err = control(file, func(fd uintptr) error {
		var inner error
		n, inner = unix.IoctlGetInt(int(fd), unix.TIOCINQ)
		return inner
	})
	return n, err
}

// grow sets the size of the pipe to want or, where the quota per user does not
// allow that (EPERM, pipe(7)), to the largest half, quarter … that it does.
func grow(file *os.File, want int) (size int, err error) {
	err = control(file, func(fd uintptr) error {
		var inner error
		for try := want; try > armedPipeSize; try /= 2 {
			if size, inner = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, try); inner == nil {
				return nil
			}
			if !errors.Is(inner, unix.EPERM) {
				return inner
			}
		}
		size, inner = unix.FcntlInt(fd, unix.F_GETPIPE_SZ, 0)
		return inner
	})
	return size, err
}

func pollNow(fd uintptr, want int16) (int16, error) {
	fds := []unix.PollFd{{Fd: int32(fd), Events: want}}
	for {
		_, err := unix.Poll(fds, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		return fds[0].Revents, err
	}
}

func descriptorPath(fd int) string {
	return "/proc/self/fd/" + strconv.Itoa(fd)
}
