package job

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// WriteFiles restores a backup as plain files into dir, under the names that
// HANA gave them, so that RECOVER … USING FILE can read them without pipes. An
// existing file is never overwritten: whatever is in the way is named before the
// first byte is read, with an error that wraps os.ErrExist. A file appears under
// its name only when it is whole, checked and on disk, for which the file system
// of dir needs hard links. What an earlier run that was killed left half written
// is removed. progress, when set, is told of newly written bytes and is called
// concurrently.
func WriteFiles(ctx context.Context, store backup.StreamOpener, m *backup.Manifest, dir string, progress func(id backup.StreamID, n int64)) error {
	if progress == nil {
		progress = func(backup.StreamID, int64) {}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("restore to directory: %w", err)
	}
	w := &fileWriter{store: store, root: root, link: root.Link, progress: progress}
	err = w.write(ctx, m)
	if err == nil {
		err = syncDirectory(dir)
	}
	return errors.Join(err, root.Close())
}

// fileWriter writes the files of one backup.
type fileWriter struct {
	store    backup.StreamOpener
	root     *os.Root
	progress func(id backup.StreamID, n int64)
	// link gives a file its name: unlike rename, it never replaces.
	link func(oldname, newname string) error
}

func (w *fileWriter) write(ctx context.Context, m *backup.Manifest) error {
	plan := m.Plan("", w.root.Name())
	if err := w.clear(plan); err != nil {
		return fmt.Errorf("write files to %s: %w", plan.Directory, err)
	}
	if err := w.probe(plan); err != nil {
		return fmt.Errorf("write files to %s: %w", plan.Directory, err)
	}
	group, ctx := errgroup.WithContext(ctx)
	for i := range m.Streams {
		s := &m.Streams[i]
		group.Go(func() error {
			if err := w.file(ctx, s, plan.FileName(s.StreamID)); err != nil {
				return fmt.Errorf("write %s/%s: %w", plan.Directory, plan.FileName(s.StreamID), err)
			}
			return nil
		})
	}
	return group.Wait()
}

// partialName is where a file grows until it is whole.
func partialName(name string) string { return "." + name + ".partial" }

// probeNames are those of an empty file and of the link to it.
func probeNames(plan backup.Plan) (file, link string) {
	return partialName(plan.Prefix), "." + plan.Prefix + ".linked"
}

// clear makes sure that every name is free. It removes what an earlier run left
// half written, after everything was looked at.
func (w *fileWriter) clear(plan backup.Plan) error {
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
	probe, link := probeNames(plan)
	errs := []error{look(probe, true), look(link, true)}
	for _, s := range plan.Streams {
		name := plan.FileName(s.StreamID)
		errs = append(errs, look(name, false), look(partialName(name), true))
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
func (w *fileWriter) probe(plan backup.Plan) error {
	name, link := probeNames(plan)
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

func (w *fileWriter) file(ctx context.Context, s *backup.ManifestStream, name string) (err error) {
	partial := partialName(name)
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
	reader, err := w.store.OpenStream(ctx, s.Objects)
	if err != nil {
		return err
	}
	n, errCopy := io.Copy(file, &progressReader{reader: reader, progress: func(n int64) { w.progress(s.StreamID, n) }})
	if errCopy == nil && n != s.Size {
		errCopy = fmt.Errorf("%d bytes came, the manifest says %d", n, s.Size)
	}
	if err := errors.Join(errCopy, reader.Close(), file.Sync()); err != nil {
		return err
	}
	if !w.stands(file, partial) {
		return fmt.Errorf("%s was removed or replaced: is another restore writing here?", partial)
	}
	return w.link(partial, name)
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
