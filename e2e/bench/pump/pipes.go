package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/pipestreamer/pipestreamer/e2e/bench/payload"
)

// writeSize is that of a write to a pipe and of a read from it.
const writeSize = 1 << 20

// carry moves one stream through the pipe at path; number counts from 1.
type carry func(number int, path string) error

// each carries all streams at once. With waits it first waits for the word.
func (s *settings) each(paths []string, waits bool, f carry) error {
	if len(paths) == 0 || s.size <= 0 || s.partSize <= 0 || s.parallel <= 0 {
		return errors.New("expected a size and pipes")
	}
	if err := ready(""); err != nil {
		return err
	}
	if waits {
		if err := awaitGo(); err != nil {
			return err
		}
	}
	var group errgroup.Group
	for i, path := range paths {
		group.Go(func() error {
			if err := f(i+1, path); err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			return nil
		})
	}
	return group.Wait()
}

// writer writes the payload.
func (s *settings) writer() carry {
	p, err := payload.New(s.payload)
	return func(_ int, path string) error {
		if err != nil {
			return err
		}
		pipe, err := s.open(path, os.O_WRONLY)
		if err != nil {
			return err
		}
		for offset := int64(0); offset < s.size && err == nil; {
			var n int
			n, err = pipe.Write(p.At(offset, int(min(writeSize, s.size-offset))))
			offset += int64(n)
		}
		return errors.Join(err, pipe.Close())
	}
}

// read takes a stream to nowhere.
func (s *settings) read(_ int, path string) error {
	pipe, err := s.open(path, os.O_RDONLY)
	if err != nil {
		return err
	}
	var sum int64
	for buffer := make([]byte, writeSize); err == nil; {
		var n int
		n, err = pipe.Read(buffer)
		sum += int64(n)
	}
	if !errors.Is(err, io.EOF) {
		return errors.Join(err, pipe.Close())
	}
	if sum != s.size {
		err = fmt.Errorf("%d bytes came, expected %d", sum, s.size)
	} else {
		err = nil
	}
	return errors.Join(err, pipe.Close())
}

// open waits for the other side, as open(2) of a pipe does. Reads and writes
// block a thread: like HANA's.
func (s *settings) open(path string, flags int) (*os.File, error) {
	fd, err := retryInterrupted(func() (int, error) { return unix.Open(path, flags|unix.O_CLOEXEC, 0) })
	if err != nil {
		return nil, fmt.Errorf("open: %w", err)
	}
	if s.pipeSize > 0 {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETPIPE_SZ, s.pipeSize); err != nil {
			return nil, errors.Join(fmt.Errorf("set the size of the pipe: %w", err), unix.Close(fd))
		}
	}
	return os.NewFile(uintptr(fd), path), nil
}

func retryInterrupted(f func() (int, error)) (int, error) {
	for {
		n, err := f()
		if !errors.Is(err, syscall.EINTR) {
			return n, err
		}
	}
}
