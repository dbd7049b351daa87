package spool

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// Remove removes f from the directory dir, which is root or below it, if the
// file at its name still is f, unchanged; otherwise it removes nothing and
// returns false.
//
// Between a look and an unlink HANA may rename another file onto the name, so
// the file is first moved aside, examined there, and put back when it is not f.
// A process that dies in between leaves it aside, under a name that begins with
// ".pipestreamer.removing."; the next Remove of f finds it there.
func Remove(root, dir string, f File) (removed bool, err error) {
	if f.Name == "" || f.Name == "." || f.Name == ".." || strings.ContainsAny(f.Name, "/\x00") {
		return false, fmt.Errorf("remove %q: expected a file name", f.Name)
	}
	d, err := openDirectory(root, dir, nil)
	if err != nil {
		return false, fmt.Errorf("remove %s: %w", f.Name, err)
	}
	defer func() { err = errors.Join(err, d.close()) }()
	return d.remove(f)
}

func (d *directory) remove(f File) (bool, error) {
	if removed, err := d.unlink(asidePrefix+f.Name, f); removed || err != nil {
		return removed, err
	}
	if e, err := d.look(f.Name); err != nil || !e.isFile(f) {
		return false, err
	}
	return d.takeAside(f)
}

// takeAside removes f by way of a name that nobody else uses.
func (d *directory) takeAside(f File) (bool, error) {
	aside := asidePrefix + f.Name
	err := unix.Renameat2(d.fd, f.Name, d.fd, aside, unix.RENAME_NOREPLACE)
	switch {
	case errors.Is(err, unix.ENOENT):
		return false, nil
	case errors.Is(err, unix.EINVAL): // as in move; by a link it would be no safer
		return d.unlink(f.Name, f)
	case err != nil:
		return false, fmt.Errorf("remove %s/%s: %w", d.path, f.Name, err)
	}
	removed, err := d.unlink(aside, f)
	if removed {
		return true, nil
	}
	if back := d.move(aside, f.Name); back != nil {
		err = errors.Join(err, fmt.Errorf("put back %s/%s, which is now %s: %w", d.path, f.Name, aside, back))
	}
	return false, err
}

// unlink removes name if it is f.
func (d *directory) unlink(name string, f File) (bool, error) {
	e, err := d.look(name)
	if err != nil || !e.isFile(f) {
		return false, err
	}
	err = unix.Unlinkat(d.fd, name, 0)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("remove %s/%s: %w", d.path, name, err)
	}
	return true, nil
}

// isFile reports whether e is f, under whatever name.
func (e entry) isFile(f File) bool {
	return e.exists && e.mode&unix.S_IFMT == unix.S_IFREG && e.is(f)
}

// PutBack gives the files that an interrupted [Remove] left aside in dir, which is
// root or below it, their names again. It returns those names.
func PutBack(root, dir string) (names []string, err error) {
	d, err := openDirectory(root, dir, nil)
	if err != nil {
		return nil, fmt.Errorf("put back files: %w", err)
	}
	defer func() { err = errors.Join(err, d.close()) }()
	return d.putBack()
}

func (d *directory) putBack() ([]string, error) {
	asides, err := d.list(func(name string) bool { return strings.HasPrefix(name, asidePrefix) })
	if err != nil {
		return nil, err
	}
	var names []string
	var errs []error
	for _, aside := range asides {
		name := strings.TrimPrefix(aside, asidePrefix)
		err := d.move(aside, name)
		switch {
		case err == nil:
			names = append(names, name)
		case !errors.Is(err, unix.ENOENT):
			errs = append(errs, fmt.Errorf("put back %s/%s: %w", d.path, aside, err))
		}
	}
	return names, errors.Join(errs...)
}

// Listing is what stands in a directory under the names that were asked for.
type Listing struct {
	// Files are the regular ones of the right owner with one name. Nothing says
	// that HANA has finished them.
	Files []File
	// Refused are the others, without pipes.
	Refused []Refusal
}

// List looks for names that match in the directory dir, which is cfg.Directory
// or below it. Both lists are sorted by name.
func List(cfg Config, dir string, match func(name string) bool) (_ Listing, err error) {
	d, err := openDirectory(cfg.Directory, dir, cfg.Owners)
	if err != nil {
		return Listing{}, fmt.Errorf("list files: %w", err)
	}
	defer func() { err = errors.Join(err, d.close()) }()
	names, err := d.list(match)
	if err != nil {
		return Listing{}, err
	}
	var found Listing
	for _, name := range names {
		e, err := d.look(name)
		switch {
		case err != nil:
			return Listing{}, err
		case !e.exists || e.isPipe():
		case d.refusal(e) != "":
			found.Refused = append(found.Refused, Refusal{Name: name, What: d.refusal(e)})
		default:
			found.Files = append(found.Files, e.File)
		}
	}
	return found, nil
}
