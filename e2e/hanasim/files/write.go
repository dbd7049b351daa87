package files

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Point is a place where a writer may be made to wait.
type Point int

// The places.
const (
	BeforeOpen Point = iota
	BetweenWrites
	BeforeClose
)

// Fault makes one file go wrong.
type Fault struct {
	// What is open, write, close or rename (fail with Errno), stall (stop
	// writing until cancelled), truncate (end the file silently) or header
	// (write the header of another backup).
	What string
	// At is the offset in the file from which on write, stall and truncate hold.
	At    int64
	Errno syscall.Errno
}

// Writer writes backup files.
type Writer struct {
	Profile Profile
	// WriteSize is the size of one write in bytes.
	WriteSize int
	// Sync calls fsync before close, which a pipe refuses.
	Sync bool
	// Pause is called at each Point; an error ends the file.
	Pause func(ctx context.Context, at Point) error
	// Fault is nil for a file that goes well.
	Fault *Fault
	// Written is told the size of each write done.
	Written func(bytes int64)
}

// Write writes the file that header describes and leaves it at path. Missing
// directories are made (AUTOCREATE_PATH in the trace). It fails with a
// *WriteError, or with the cause of ctx; a regular file is removed then.
func (w Writer) Write(ctx context.Context, path string, header Header) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return &WriteError{Code: CodeOpen, Path: path, Err: errno(err)}
	}
	if w.faulty("header") {
		header.BackupID++
	}
	image, err := NewImage(header)
	if err != nil {
		return err
	}
	if err := w.Pause(ctx, BeforeOpen); err != nil {
		return err
	}
	name := w.Profile.writeName(path)
	err = w.write(ctx, name, image)
	if err == nil && name != path {
		err = w.rename(name, path)
	}
	if err != nil {
		removeRegular(name)
	}
	return err
}

func (w Writer) write(ctx context.Context, name string, image *Image) error {
	file, err := w.open(ctx, name)
	if err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return &WriteError{Code: CodeOpen, Path: name, Direct: w.Profile.direct(), Err: errno(err)}
	}
	offset, size, err := w.copy(ctx, file, image)
	if err == nil {
		err = w.Pause(ctx, BeforeClose)
	}
	if err == nil && w.Sync {
		err = file.Sync()
	}
	if err == nil && w.faulty("close") {
		err = w.Fault.Errno
	}
	file.release()
	closed := file.Close()
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Join(err, closed) != nil:
		return &WriteError{Code: CodeTransfer, Path: name, Direct: file.direct, Offset: offset, Size: size, Err: errno(errors.Join(err, closed))}
	}
	return nil
}

func (w Writer) open(ctx context.Context, name string) (handle, error) {
	if w.faulty("open") {
		return handle{}, w.Fault.Errno
	}
	if w.Profile == Replace {
		if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
			return handle{}, err
		}
	}
	return openFile(ctx, name, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC, w.Profile)
}

// copy writes image and returns where it stopped and the size of that write.
func (w Writer) copy(ctx context.Context, file handle, image *Image) (offset int64, size int, err error) {
	buffer := aligned(w.WriteSize)
	for {
		n, err := image.Read(buffer)
		if errors.Is(err, io.EOF) {
			return offset, 0, nil
		}
		n, err = w.hold(ctx, offset, n)
		if err == nil && file.direct && n%pageSize != 0 {
			// UNALIGNED_SIZE: the last write is not a whole number of blocks.
			_, err = unix.FcntlInt(file.Fd(), unix.F_SETFL, 0)
		}
		if err != nil {
			return offset, n, err
		}
		written, err := file.Write(buffer[:n])
		offset += int64(written)
		w.Written(int64(written))
		if err != nil || n < len(buffer) {
			return offset, n, err
		}
		if err := w.Pause(ctx, BetweenWrites); err != nil {
			return offset, n, err
		}
	}
}

// hold applies the faults of the middle of a file to the next write of n bytes
// and returns how many are to be written.
func (w Writer) hold(ctx context.Context, offset int64, n int) (int, error) {
	if err := ctx.Err(); err != nil {
		return n, err
	}
	if w.Fault == nil || offset+int64(n) <= w.Fault.At {
		return n, nil
	}
	switch w.Fault.What {
	case "write":
		return n, w.Fault.Errno
	case "stall":
		<-ctx.Done()
		return n, ctx.Err()
	case "truncate":
		return int(w.Fault.At - offset), nil
	}
	return n, nil
}

func (w Writer) rename(name, path string) error {
	var err error
	if w.faulty("rename") {
		err = w.Fault.Errno
	} else {
		err = os.Rename(name, path)
	}
	if err != nil {
		return &WriteError{Code: CodeTransfer, Path: name, Err: errno(err)}
	}
	return nil
}

func (w Writer) faulty(what string) bool { return w.Fault != nil && w.Fault.What == what }

// removeRegular removes what a failed file left behind (assumed of HANA), but
// never a pipe that somebody else made.
func removeRegular(name string) {
	if info, err := os.Lstat(name); err == nil && info.Mode().IsRegular() {
		_ = os.Remove(name) // the failure that led here is what counts
	}
}

// aligned gives a buffer that O_DIRECT accepts.
func aligned(size int) []byte {
	raw := make([]byte, size+pageSize)
	shift := pageSize - int(uintptr(unsafe.Pointer(&raw[0]))%pageSize)
	return raw[shift : shift+size]
}
