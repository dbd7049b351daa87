package files

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
)

// Inner codes of HANA, as seen in real messages.
const (
	CodeOpen     = 2000004
	CodeTransfer = 2000008
)

// WriteError is a file that could not be opened or written. Its words are those
// of a HANA 2.0 backup.log of 2020-03-21 (CodeTransfer) and of a log backup
// trace (CodeOpen).
type WriteError struct {
	Code   int
	Path   string // the name that was opened
	Direct bool
	Offset int64
	Size   int
	Err    syscall.Errno
}

// Error gives HANA's text with its inner code in front.
func (e *WriteError) Error() string {
	dir, name := filepath.Split(e.Path)
	flags := "TRUNCATE|MULTI_WRITERS|UNALIGNED_SIZE"
	if e.Direct {
		flags = "DIRECT|" + flags
	}
	file := fmt.Sprintf(`"<root>/%s" ((open, mode= W, access= rw-r-----, flags= %s), factory= (root= %q (access= rw-r-----, flags= AUTOCREATE_PATH|DISKFULL_ERROR, usage= DATA_BACKUP, fs= ext3, config= (async_write_submit_active=on,async_write_submit_blocks=all,async_read_submit=on,num_submit_queues=1,num_completion_queues=1,size_kernel_io_queue=512,max_parallel_io_requests=64,min_submit_batch_size=16,max_submit_batch_size=64))) {shortRetries= 0, fullRetries= 0 (0/10)}`,
		name, flags, dir)
	if e.Code == CodeOpen {
		return fmt.Sprintf("[%d] Cannot open file %s, rc=%d: %s", e.Code, file, int(e.Err), reason(e.Err))
	}
	return fmt.Sprintf("[%d] Error during asynchronous file transfer (io_getevents), rc=%d: %s; $fileCallback$=[W], buffer= 0x00007f9f46e14000, offset= %d, size= 0/%d, file= %s",
		e.Code, int(e.Err), reason(e.Err), e.Offset, e.Size, file)
}

// Unwrap gives the errno.
func (e *WriteError) Unwrap() error { return e.Err }

// reason is strerror(3), which differs from Go's by a capital letter.
func reason(err syscall.Errno) string {
	text := err.Error()
	return strings.ToUpper(text[:1]) + text[1:]
}

// errno finds the errno in err; EIO stands for an error that has none.
func errno(err error) syscall.Errno {
	if number, ok := errors.AsType[syscall.Errno](err); ok {
		return number
	}
	return syscall.EIO
}

// ReadError is a backup file that cannot be used for a recovery. Its inner code
// was seen from hdbbackupcheck on a corrupt file; the words are assumed.
type ReadError struct {
	Path   string
	Offset int64
	Reason string
}

// Error gives the text with the inner code in front.
func (e *ReadError) Error() string {
	return fmt.Sprintf("[110088] Error reading backup file %q at offset %d: %s", e.Path, e.Offset, e.Reason)
}
