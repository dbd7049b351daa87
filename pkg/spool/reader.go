package spool

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// readerHooks are what a reader tells and asks whoever opened it.
type readerHooks struct {
	// stopped says why nothing is to be read any more.
	stopped func() error
	// passed is called with the number of bytes of each read.
	passed func(n int)
	// ended is called once, with the error of the last read, io.EOF included,
	// and returns what the caller of Read is told.
	ended func(err error) error
}

// reader reads a finished file. Close may be called while Read runs.
type reader struct {
	dir   *directory
	file  *os.File
	want  File
	hooks readerHooks

	// mu keeps the descriptors open while a Read uses them.
	mu     sync.Mutex
	bytes  *bufio.Reader
	offset int64
	cached int64 // what is before it was given back to the kernel
	closed bool
	err    error // sticky
}

// newReader opens the finished file at name as it is at this moment.
func newReader(d *directory, name string, hooks readerHooks) (*reader, error) {
	own, err := d.clone()
	if err != nil {
		return nil, err
	}
	file, e, err := own.open(name, unix.O_RDONLY)
	if err != nil {
		return nil, errors.Join(err, own.close())
	}
	r := &reader{
		dir: own, file: file, want: e.File, hooks: hooks,
		bytes: bufio.NewReaderSize(file, int(min(max(e.Size, 1), readBuffer))),
	}
	if err := unix.Fadvise(int(file.Fd()), 0, 0, unix.FADV_SEQUENTIAL); err != nil {
		return nil, errors.Join(fmt.Errorf("read %s: %w", file.Name(), err), r.Close())
	}
	return r, nil
}

// Read returns io.EOF when all bytes were read that the file had when it was
// opened, and the file is still the same under the same name. Otherwise the
// error wraps [ErrChanged].
func (r *reader) Read(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.closed:
		return 0, ErrClosed
	case r.err != nil:
		return 0, r.err
	}
	n, err := r.read(b)
	r.offset += int64(n)
	if n > 0 {
		r.hooks.passed(n)
	}
	if err == nil && r.offset-r.cached >= cacheStep {
		err = r.forget()
	}
	if err != nil {
		r.err = r.hooks.ended(err)
	}
	return n, r.err
}

func (r *reader) read(b []byte) (int, error) {
	if err := r.hooks.stopped(); err != nil {
		return 0, err
	}
	rest := r.want.Size - r.offset
	if rest == 0 {
		if err := checkUnchanged(r.dir, r.file, r.want); err != nil {
			return 0, err
		}
		return 0, io.EOF
	}
	n, err := r.bytes.Read(b[:min(int64(len(b)), rest)])
	switch {
	case errors.Is(err, io.EOF):
		return n, fmt.Errorf("read %s: %w: it ends after %d bytes of %d", r.file.Name(), ErrChanged, r.offset+int64(n), r.want.Size)
	case err != nil:
		return n, fmt.Errorf("read %s: %w", r.file.Name(), err)
	}
	return n, nil
}

// checkUnchanged makes sure that want is what is open and what stands at its name.
func checkUnchanged(d *directory, open *os.File, want File) error {
	now, err := inspect(open, want.Name)
	if err != nil {
		return err
	}
	named, err := d.look(want.Name)
	switch {
	case err != nil:
		return err
	case now.Size != want.Size:
		return fmt.Errorf("read %s: %w: it had %d bytes and has %d", open.Name(), ErrChanged, want.Size, now.Size)
	case !now.is(want):
		return fmt.Errorf("read %s: %w: it was written again", open.Name(), ErrChanged)
	case !named.exists:
		return fmt.Errorf("read %s: %w: its name is gone", open.Name(), ErrChanged)
	case !named.is(want):
		return fmt.Errorf("read %s: %w: another file has its name", open.Name(), ErrChanged)
	}
	return nil
}

// forget gives back the page cache behind us: HANA needs it more than we do.
func (r *reader) forget() error {
	if err := unix.Fadvise(int(r.file.Fd()), r.cached, r.offset-r.cached, unix.FADV_DONTNEED); err != nil {
		return fmt.Errorf("read %s: %w", r.file.Name(), err)
	}
	r.cached = r.offset
	return nil
}

// Close closes the file and leaves it where it is.
func (r *reader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil
	}
	r.closed = true
	return errors.Join(r.file.Close(), r.dir.close())
}
