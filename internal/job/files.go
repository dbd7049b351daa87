package job

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/pipestreamer/pipestreamer/internal/chain"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// ChainFile is one file that a recovery with a chain reads.
type ChainFile struct {
	// Name is HANA's. StreamID and Service are of data files only.
	Name string
	backup.StreamID
	Service string
	Size    int64
	SHA256  string
	objects []backup.Object
}

// FilesOf lists what a recovery with c reads: data first, then the log, then the
// catalog.
func FilesOf(c *chain.Chain) []ChainFile {
	var files []ChainFile
	for _, m := range c.Data() {
		plan := m.Plan("", m.Directory)
		for i := range m.Streams {
			s := &m.Streams[i]
			files = append(files, ChainFile{plan.FileName(s.StreamID), s.StreamID, s.Service, s.Size, s.SHA256, s.Objects})
		}
	}
	staged := c.Staged()
	for i := range staged {
		f := &staged[i]
		files = append(files, ChainFile{Name: f.Name, Size: f.Size, SHA256: f.SHA256, objects: f.Objects})
	}
	return files
}

// WriteFiles writes what a recovery with c reads as plain files into dir, under
// the names that HANA gave them, so that RECOVER can read them without pipes. An
// existing file is never overwritten: whatever is in the way is named before the
// first byte is read, with an error that wraps os.ErrExist. A file appears under
// its name only when it is whole, checked and on disk, for which the file system
// of dir needs hard links. What an earlier run that was killed left half written
// is removed. progress, when set, is told of newly written bytes and is called
// concurrently.
func WriteFiles(ctx context.Context, store backup.StreamOpener, c *chain.Chain, dir string, progress func(name string, n int64)) error {
	if progress == nil {
		progress = func(string, int64) {}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("restore to directory: %w", err)
	}
	w := &fileWriter{store: store, root: root, link: root.Link, progress: progress}
	err = w.write(ctx, FilesOf(c))
	if err == nil {
		err = syncDirectory(dir)
	}
	return errors.Join(err, root.Close())
}

// fileWriter writes the files of one chain.
type fileWriter struct {
	store    backup.StreamOpener
	root     *os.Root
	progress func(name string, n int64)
	// link gives a file its name: unlike rename, it never replaces.
	link func(oldname, newname string) error
}

func (w *fileWriter) write(ctx context.Context, files []ChainFile) error {
	directory := w.root.Name()
	if err := w.clear(files); err != nil {
		return fmt.Errorf("write files to %s: %w", directory, err)
	}
	if err := w.probe(files[0].Name); err != nil {
		return fmt.Errorf("write files to %s: %w", directory, err)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(fileWriters)
	for i := range files {
		f := &files[i]
		group.Go(func() error {
			if err := w.file(ctx, f); err != nil {
				return fmt.Errorf("write %s/%s: %w", directory, f.Name, err)
			}
			return nil
		})
	}
	return group.Wait()
}

// fileWriters is how many files are written at a time.
const fileWriters = 8

// partialName is where a file grows until it is whole.
func partialName(name string) string { return "." + name + ".partial" }

// probeNames are those of an empty file and of the link to it.
func probeNames(name string) (file, link string) {
	return "." + name + ".probe", "." + name + ".linked"
}

// clear makes sure that every name is free. It removes what an earlier run left
// half written, after everything was looked at.
func (w *fileWriter) clear(files []ChainFile) error {
	var stale, inTheWay []string
	look := func(name string, ours bool) error {
		info, err := w.root.Lstat(name)
		switch {
		case errors.Is(err, os.ErrNotExist):
			return nil
		case err != nil:
			return err
		case ours && info.Mode().IsRegular():
			stale = append(stale, name)
		default:
			inTheWay = append(inTheWay, name)
		}
		return nil
	}
	probe, link := probeNames(files[0].Name)
	errs := []error{look(probe, true), look(link, true)}
	for i := range files {
		errs = append(errs, look(files[i].Name, false), look(partialName(files[i].Name), true))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if len(inTheWay) > 0 {
		return fmt.Errorf("%w and is never overwritten: %s: move it away or choose an empty directory",
			os.ErrExist, strings.Join(inTheWay, ", "))
	}
	for _, name := range stale {
		if err := w.root.Remove(name); err != nil {
			return fmt.Errorf("remove what an earlier run left: %w", err)
		}
	}
	return nil
}

// probe finds out with an empty file whether files can be linked here, before
// terabytes are written that could not take their names.
func (w *fileWriter) probe(first string) error {
	name, link := probeNames(first)
	file, err := w.create(name)
	if err != nil {
		return err
	}
	errs := []error{file.Close()}
	if err := w.link(name, link); err != nil {
		errs = append(errs, fmt.Errorf("%w: the file system needs hard links: choose a directory on another one", err))
	} else {
		errs = append(errs, w.root.Remove(link))
	}
	return errors.Join(append(errs, w.root.Remove(name))...)
}

func (w *fileWriter) create(name string) (*os.File, error) {
	return w.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
}

func (w *fileWriter) file(ctx context.Context, f *ChainFile) (err error) {
	partial := partialName(f.Name)
	file, err := w.create(partial)
	if err != nil {
		return err
	}
	defer func() {
		// In this order: an open file's inode is not given to another one.
		if w.stands(file, partial) {
			err = errors.Join(err, w.root.Remove(partial))
		}
		err = errors.Join(err, file.Close())
	}()
	reader, err := w.store.OpenStream(ctx, f.objects)
	if err != nil {
		return err
	}
	reader = backup.Checked(reader, f.objects, f.Size, f.SHA256)
	n, errCopy := io.Copy(file, &progressReader{reader: reader, progress: func(n int64) { w.progress(f.Name, n) }})
	if errCopy == nil && n != f.Size {
		errCopy = fmt.Errorf("%d bytes came, expected %d", n, f.Size)
	}
	if err := errors.Join(errCopy, reader.Close(), file.Sync()); err != nil {
		return err
	}
	if !w.stands(file, partial) {
		return fmt.Errorf("%s was removed or replaced: is another restore writing here?", partial)
	}
	return w.link(partial, f.Name)
}

// stands reports whether file is what name means now.
func (w *fileWriter) stands(file *os.File, name string) bool {
	ours, err := file.Stat()
	if err != nil {
		return false
	}
	there, err := w.root.Lstat(name)
	return err == nil && os.SameFile(ours, there)
}

// progressReader tells how much was read.
type progressReader struct {
	reader   io.Reader
	progress func(int64)
}

func (r *progressReader) Read(p []byte) (int, error) {
	n, err := r.reader.Read(p)
	r.progress(int64(n))
	return n, err
}
