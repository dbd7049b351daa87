package fifo

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Swept is what [Sweep] did with the names that it found.
type Swept struct {
	// Removed are the names of pipes that were ours.
	Removed []string
	// Left are the names at which something else stands, untouched.
	Left []string
}

// Sweep releases whoever is blocked in opening a pipe of an earlier process,
// for writing or for reading, and removes the pipes. directory is that of the
// plan, pipes are what the earlier Source or Sink gave as Names or Pipes.
//
// No byte is read: what a writer puts into such a pipe between our open and our
// close is lost, so the backup that it belongs to has failed, whatever HANA
// says. A pipe that HANA has renamed to another name of the list is found there.
func Sweep(directory string, pipes []PipeID) (Swept, error) {
	var swept Swept
	if err := checkNames(pipes); err != nil {
		return swept, fmt.Errorf("sweep pipes: %w", err)
	}
	d, err := openDirectory(directory, directory)
	if errors.Is(err, fs.ErrNotExist) {
		return swept, nil
	}
	if err != nil {
		return swept, fmt.Errorf("sweep pipes: %w", err)
	}
	var errs []error
	var held []*os.File
	done := make(map[string]bool, len(pipes))
	for _, p := range pipes {
		if done[p.Name] {
			continue
		}
		done[p.Name] = true
		f, err := d.sweep(p.Name, pipes, &swept)
		errs = append(errs, err)
		if f != nil {
			held = append(held, f)
		}
	}
	if len(held) > 0 {
		time.Sleep(linger)
	}
	for _, f := range held {
		errs = append(errs, f.Close())
	}
	return swept, errors.Join(append(errs, d.close())...)
}

// SweepAside removes the pipes that a process had moved aside, to look at them once
// more, when it was killed a moment before it removed them. Their names are in no
// journal. What else stands at such a name may be a file of HANA's and stays. No
// process may have a Source or a Sink in directory at the time.
func SweepAside(directory string) (removed []string, err error) {
	d, err := openDirectory(directory, directory)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("sweep pipes: %w", err)
	}
	defer func() { err = errors.Join(err, d.close()) }()
	names, err := d.list(isAside)
	if err != nil {
		return nil, fmt.Errorf("sweep pipes: %w", err)
	}
	var pipes []PipeID
	for _, name := range names {
		e, err := d.look(name)
		if err != nil {
			return nil, fmt.Errorf("sweep pipes: %w", err)
		}
		if e.isPipe() {
			pipes = append(pipes, PipeID{Name: name, Dev: e.dev, Ino: e.ino})
		}
	}
	swept, err := Sweep(directory, pipes)
	return swept.Removed, err
}

// sweep removes the pipe at name, if it is one of pipes, and returns it open.
func (d *directory) sweep(name string, pipes []PipeID, swept *Swept) (*os.File, error) {
	ours := func(e entry) bool { return isJournaled(e, name, pipes) }
	e, err := d.look(name)
	if err != nil || !e.exists {
		return nil, err
	}
	if !ours(e) {
		swept.Left = append(swept.Left, name)
		return nil, nil
	}
	f, err := d.hold(name)
	if err != nil {
		return nil, err
	}
	removed, err := d.remove(name, ours)
	if removed {
		swept.Removed = append(swept.Removed, name)
	}
	return f, err
}

// checkNames refuses what no journal of ours holds: a name that leads out of the
// directory.
func checkNames(pipes []PipeID) error {
	for _, p := range pipes {
		if p.Name == "" || p.Name == "." || p.Name == ".." || strings.ContainsAny(p.Name, "/\x00") {
			return fmt.Errorf("pipe name %q: expected a file name", p.Name)
		}
	}
	return nil
}

func isJournaled(e entry, name string, pipes []PipeID) bool {
	for _, p := range pipes {
		if e.is(p) || (p.Ino == 0 && p.Name == name && e.isPipe()) {
			return true
		}
	}
	return false
}

// hold opens both ends of the pipe at name, which wakes whoever is blocked in
// opening either (fifo(7); Linux allows O_RDWR). The order is the point: open,
// unlink, close. A plain unlink leaves an opener blocked for ever.
func (d *directory) hold(name string) (*os.File, error) {
	fd, err := retryFD(func() (int, error) {
		return unix.Openat(d.fd, name, unix.O_RDWR|unix.O_NONBLOCK|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return nil, fmt.Errorf("release pipe %s/%s: %w", d.path, name, err)
	}
	return os.NewFile(uintptr(fd), d.path+"/"+name), nil
}
