package files

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// Fault makes one file go wrong.
type Fault struct {
	// What is one of [Faults].
	What string
	// At is the offset in the file at which a fault of its middle happens:
	// that many bytes are written before, exactly.
	At    int64
	Errno syscall.Errno
}

// The faults.
const (
	failOpen   = "open"   // these four fail with Errno
	failWrite  = "write"  //
	failClose  = "close"  //
	failRename = "rename" //

	wrongHeader = "header"     // the header of another backup
	neverOpen   = "skip"       // the file is not opened, and counts as written
	stallOpen   = "stall-open" // waits before the open, until Hold returns
	stall       = "stall"      // waits in the middle, until Hold returns
	truncate    = "truncate"   // the file ends, and counts as written whole
	reopen      = "reopen"     // closes the file, opens it again and goes on
	restart     = "restart"    // closes the file, opens it again and begins again
	die         = "die"        // closes the file as a killed process, and fails
	vanish      = "vanish"     // closes the file as a killed process, and nobody notices
	ignorePipe  = "ignore-epipe"

	// Somebody else's deeds, to the name that is written: before it is opened
	// when At is 0.
	unlink   = "unlink"
	swapPipe = "swap-pipe" // another pipe takes its place
	swapFile = "swap-file" // a regular file takes its place
	cut      = "cut"       // Cut is called
)

// Faults are all faults of a file.
func Faults() []string {
	return []string{
		failOpen, failWrite, failClose, failRename, wrongHeader, neverOpen, stallOpen, stall, truncate,
		reopen, restart, die, vanish, ignorePipe, unlink, swapPipe, swapFile, cut,
	}
}

// ErrKilled is wrapped by the cause of a context that ends a file as a killed
// process does: what it wrote stays where it is.
var ErrKilled = errors.New("the process was killed")

// errDied is a service that goes away alone. The words are assumed.
var errDied = errors.New("the service that wrote the backup is not reachable any more")

// byOthers tells whether it is something that happens to the file and not what
// HANA does.
func (f Fault) byOthers() bool {
	return slices.Contains([]string{unlink, swapPipe, swapFile, cut}, f.What)
}

// early tells whether the fault comes before the file is opened.
func (f Fault) early() bool { return f.What == stallOpen || (f.byOthers() && f.At == 0) }

// midway tells whether the fault comes between two writes.
func (f Fault) midway() bool {
	if f.byOthers() {
		return f.At > 0
	}
	return slices.Contains([]string{failWrite, stall, truncate, reopen, restart, die, vanish}, f.What)
}

// find gives the first fault of a kind.
func (w Writer) find(what string) (Fault, bool) {
	i := slices.IndexFunc(w.Faults, func(f Fault) bool { return f.What == what })
	if i < 0 {
		return Fault{}, false
	}
	return w.Faults[i], true
}

func (w Writer) has(what string) bool {
	_, found := w.find(what)
	return found
}

// fail gives the errno of a fault of a kind, or nil.
func (w Writer) fail(what string) error {
	if f, found := w.find(what); found {
		return f.Errno
	}
	return nil
}

// intrude does to name what somebody else might do.
func intrude(what, name string) error {
	beside := filepath.Join(filepath.Dir(name), ".intruder-"+filepath.Base(name))
	var err error
	switch what {
	case unlink:
		err = os.Remove(name)
	case swapPipe:
		err = errors.Join(unix.Mkfifo(beside, 0o660), os.Rename(beside, name))
	case swapFile:
		err = errors.Join(os.WriteFile(beside, nil, 0o600), os.Rename(beside, name))
	}
	if err != nil {
		return fmt.Errorf("simulator: %s: %w", what, err)
	}
	return nil
}
