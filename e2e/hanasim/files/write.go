package files

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
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

// First makes the first Bytes of a file come in writes of Size; zero is off.
type First struct {
	Size  int
	Bytes int64
}

// Writer writes backup files.
type Writer struct {
	Profile Profile
	// WriteSize is the size of one write in bytes, but for those of First.
	WriteSize int
	First     First
	// Packets puts pipes into packet mode, as fcntl with O_DIRECT does.
	Packets bool
	// Sync calls fsync before close, which a pipe refuses.
	Sync bool
	// Pause is called at each Point; an error ends the file.
	Pause func(ctx context.Context, at Point) error
	// Faults are empty for a file that goes well.
	Faults []Fault
	// Hold is called by a stall; an error ends the file.
	Hold func(ctx context.Context) error
	// Cut is called by the fault of that name.
	Cut func()
	// Written is told the size of each write done; what a restart takes back is
	// negative.
	Written func(bytes int64)
}

// Write writes the file that header describes and leaves it at path. Missing
// directories are made (AUTOCREATE_PATH in the trace). It fails with a
// *WriteError, or with the cause of ctx; a regular file is removed then, unless
// whoever wrote it is dead.
func (w Writer) Write(ctx context.Context, path string, header Header) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return &WriteError{Code: CodeOpen, Path: path, Err: errno(err)}
	}
	if w.has(wrongHeader) {
		header.BackupID++
	}
	name := w.Profile.writeName(path)
	if err := w.beforeOpen(ctx, name); err != nil || w.has(neverOpen) {
		return err
	}
	f := &writing{Writer: w, name: name, header: header, due: w.midway(), buffer: aligned(w.WriteSize)}
	err := f.write(ctx)
	if err == nil && name != path {
		err = w.rename(name, path)
	}
	dead := w.has(die) || w.has(vanish) || errors.Is(err, ErrKilled)
	if err != nil && !dead {
		removeRegular(name)
	}
	return err
}

// beforeOpen waits and applies the faults of that moment, in their order.
func (w Writer) beforeOpen(ctx context.Context, name string) error {
	if err := w.Pause(ctx, BeforeOpen); err != nil {
		return err
	}
	for _, fault := range w.Faults {
		var err error
		switch {
		case !fault.early():
		case fault.What == stallOpen:
			err = w.Hold(ctx)
		case fault.What == cut:
			w.Cut()
		default:
			err = intrude(fault.What, name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// midway gives the faults of the middle by their offset.
func (w Writer) midway() []Fault {
	faults := slices.DeleteFunc(slices.Clone(w.Faults), func(f Fault) bool { return !f.midway() })
	slices.SortStableFunc(faults, func(a, b Fault) int { return int(a.At - b.At) })
	return faults
}

// writing is one file being written.
type writing struct {
	Writer

	name   string
	header Header
	file   handle
	image  *Image
	offset int64
	size   int // of the write that failed
	buffer []byte
	window []piece // of the profile Offset: to be written together
	due    []Fault // of the middle, still to come
}

func (f *writing) write(ctx context.Context) error {
	if err := f.open(ctx, unix.O_TRUNC); err != nil {
		return err
	}
	if err := f.rewind(); err != nil {
		return err
	}
	err := f.copy(ctx)
	if err == nil {
		err = f.flush(ctx)
	}
	if err == nil {
		err = f.Pause(ctx, BeforeClose)
	}
	if err == nil && f.Sync {
		err = f.file.Sync()
	}
	if err == nil {
		err = f.fail(failClose)
	}
	f.file.release()
	err = errors.Join(err, f.file.Close())
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, errDied):
		return errDied
	case err == nil:
		return nil
	}
	if opening, ok := errors.AsType[*WriteError](err); ok {
		return opening // a second open
	}
	return &WriteError{Code: CodeTransfer, Path: f.name, Direct: f.file.direct, Offset: f.offset, Size: f.size, Err: errno(err)}
}

func (f *writing) open(ctx context.Context, flags int) error {
	file, err := f.tryOpen(ctx, flags)
	switch {
	case err == nil:
		f.file = file
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return &WriteError{Code: CodeOpen, Path: f.name, Direct: f.Profile.direct(), Err: errno(err)}
}

func (f *writing) tryOpen(ctx context.Context, flags int) (handle, error) {
	if err := f.fail(failOpen); err != nil {
		return handle{}, err
	}
	if f.Profile == Replace {
		if err := os.Remove(f.name); err != nil && !errors.Is(err, os.ErrNotExist) {
			return handle{}, err
		}
	}
	file, err := openFile(ctx, f.name, unix.O_WRONLY|unix.O_CREAT|flags, f.Profile)
	if err != nil || !f.Packets {
		return file, err
	}
	if err := file.packets(); err != nil {
		file.release()
		return handle{}, errors.Join(err, file.Close())
	}
	return file, nil
}

// rewind begins at byte 0.
func (f *writing) rewind() error {
	image, err := NewImage(f.header)
	if err != nil {
		return err
	}
	f.image, f.offset = image, 0
	return nil
}

// copy writes the image and applies the faults of the middle where they are due.
func (f *writing) copy(ctx context.Context) error {
	for {
		ended, err := f.suffer(ctx)
		if err != nil || ended {
			return err
		}
		n, err := f.image.Read(f.buffer[:f.step()])
		if errors.Is(err, io.EOF) {
			return nil
		}
		if f.scatters() {
			err = f.collect(ctx, f.buffer[:n])
		} else {
			err = f.put(f.buffer[:n])
		}
		if err != nil {
			return err
		}
		if f.image.done() || f.scatters() {
			continue // to the faults that are due at the end; a window has its own pauses
		}
		if err := f.Pause(ctx, BetweenWrites); err != nil {
			return err
		}
	}
}

// step is the size of the next write.
func (f *writing) step() int {
	n := int64(len(f.buffer))
	if f.offset < f.First.Bytes {
		n = min(n, int64(f.First.Size), f.First.Bytes-f.offset)
	}
	if len(f.due) > 0 {
		n = min(n, f.due[0].At-f.offset)
	}
	return int(n)
}

func (f *writing) put(data []byte) error {
	if f.file.direct && len(data)%pageSize != 0 {
		// UNALIGNED_SIZE: the last write is not a whole number of blocks.
		if _, err := unix.FcntlInt(f.file.Fd(), unix.F_SETFL, 0); err != nil {
			return err
		}
	}
	written, err := f.file.Write(data)
	if errors.Is(err, unix.EPIPE) && f.has(ignorePipe) {
		written, err = len(data), nil
	}
	f.size = len(data)
	f.offset += int64(written)
	f.Written(int64(written))
	return err
}

// suffer applies the faults that are due at this offset. ended means that the
// file is taken for whole.
func (f *writing) suffer(ctx context.Context) (ended bool, err error) {
	err = ctx.Err()
	if err == nil && len(f.due) > 0 && f.due[0].At <= f.offset {
		err = f.flush(ctx)
	}
	for err == nil && !ended && len(f.due) > 0 && f.due[0].At <= f.offset {
		fault := f.due[0]
		f.due = f.due[1:]
		if fault.What == truncate {
			ended = true
		} else {
			err = f.strike(ctx, fault)
		}
	}
	return ended, err
}

// strike applies one fault of the middle.
func (f *writing) strike(ctx context.Context, fault Fault) error {
	switch fault.What {
	case failWrite:
		f.size = int(min(int64(len(f.buffer)), f.header.FileSize()-f.offset))
		return fault.Errno
	case stall:
		return f.Hold(ctx)
	case die:
		return errDied
	case vanish:
		return f.vanish(ctx)
	case reopen, restart:
		return f.again(ctx, fault.What == restart)
	case cut:
		f.Cut()
		return nil
	default:
		return intrude(fault.What, f.name)
	}
}

// again closes the file, opens its name once more and goes on, from byte 0 or
// from where it was.
func (f *writing) again(ctx context.Context, fromStart bool) error {
	f.file.release()
	if err := f.file.Close(); err != nil {
		return err
	}
	if err := f.Pause(ctx, BeforeOpen); err != nil {
		return err
	}
	if !fromStart && f.Profile == Offset {
		return f.open(ctx, 0)
	}
	if !fromStart {
		return f.open(ctx, unix.O_APPEND)
	}
	if err := f.open(ctx, unix.O_TRUNC); err != nil {
		return err
	}
	f.Written(-f.offset)
	return f.rewind()
}

// vanish closes the file and waits until somebody ends the backup.
func (f *writing) vanish(ctx context.Context) error {
	f.file.release()
	err := f.file.Close()
	<-ctx.Done()
	return errors.Join(context.Cause(ctx), err)
}

func (w Writer) rename(name, path string) error {
	err := w.fail(failRename)
	if err == nil {
		err = os.Rename(name, path)
	}
	if err != nil && !w.has(ignorePipe) {
		return &WriteError{Code: CodeTransfer, Path: name, Err: errno(err)}
	}
	return nil
}

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
