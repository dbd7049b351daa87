package host

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Kernel has limits of this kernel; -1 is what is not known.
type Kernel struct {
	PipeMaxSize, PipeUserPagesSoft int64
	// ProtectedFIFOs is fs.protected_fifos (proc(5)).
	ProtectedFIFOs int64
}

// Limits reads the limits below root, which is "/" but in tests.
func Limits(root string) Kernel {
	read := func(name string) int64 {
		n, err := number(filepath.Join(root, "proc", "sys", "fs", name))
		if err != nil {
			return -1
		}
		return n
	}
	return Kernel{PipeMaxSize: read("pipe-max-size"), PipeUserPagesSoft: read("pipe-user-pages-soft"), ProtectedFIFOs: read("protected_fifos")}
}

// Memory is what this container may use.
type Memory struct {
	// Limit in bytes, 0 for none.
	Limit int64
	Error error
}

// unlimited is from where on a limit of the first version of cgroups means none:
// it is the largest number of whole pages.
const unlimited = 1 << 62

// MemoryLimit reads the limit of the container below root, which is "/" but in
// tests. A process outside of a container sees none.
func MemoryLimit(root string) Memory {
	for _, name := range []string{"sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes"} {
		n, err := number(filepath.Join(root, name))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return Memory{Error: err}
		case n >= unlimited:
			return Memory{}
		}
		return Memory{Limit: n}
	}
	return Memory{}
}

// number reads a file of the kernel with one number, or "max".
func number(path string) (int64, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	word := strings.TrimSpace(string(text))
	if word == "max" {
		return unlimited, nil
	}
	return strconv.ParseInt(word, 10, 64)
}

// State is the directory in which the daemon keeps its journal.
type State struct {
	Path string
	// Missing says that it does not exist, Error why it cannot be written.
	Missing bool
	Error   error
	// Inside says that it lies in the directory that is shared with HANA, links
	// followed.
	Inside bool
}

// LookAtState tries to write into a directory, under a temporary name.
func LookAtState(path, shared string) State {
	s := State{Path: path}
	switch _, err := os.Stat(path); {
	case errors.Is(err, fs.ErrNotExist):
		s.Missing = true
		return s
	case err != nil:
		s.Error = err
		return s
	}
	s.Inside = within(shared, path)
	file, err := os.CreateTemp(path, trialPrefix+"*")
	if err != nil {
		s.Error = err
		return s
	}
	_, err = file.WriteString("x")
	s.Error = errors.Join(err, file.Sync(), file.Close(), os.Remove(file.Name()))
	return s
}

// within reports whether path is directory or lies below it, links followed.
func within(directory, path string) bool {
	top, err := os.Stat(directory)
	if err != nil {
		return false
	}
	at, err := filepath.EvalSymlinks(path)
	if err != nil {
		return false
	}
	for {
		if info, err := os.Stat(at); err == nil && os.SameFile(top, info) {
			return true
		}
		up := filepath.Dir(at)
		if up == at {
			return false
		}
		at = up
	}
}
