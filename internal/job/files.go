package job

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// WriteFiles restores a backup as plain files into dir, under the names that
// HANA gave them, so that RECOVER … USING FILE can read them without pipes. An
// existing file is never overwritten; a file appears under its name only when
// it is whole, checked and on disk. progress, when set, is told of newly
// written bytes and is called concurrently.
func WriteFiles(ctx context.Context, store backup.StreamOpener, m *backup.Manifest, dir string, progress func(id backup.StreamID, n int64)) error {
	if progress == nil {
		progress = func(backup.StreamID, int64) {}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("restore to directory: %w", err)
	}
	group, ctx := errgroup.WithContext(ctx)
	plan := m.Plan("", dir)
	for i := range m.Streams {
		s := &m.Streams[i]
		group.Go(func() error {
			return writeFile(ctx, store, s, root, plan.FileName(s.StreamID), func(n int64) { progress(s.StreamID, n) })
		})
	}
	err = group.Wait()
	if err == nil {
		err = syncDirectory(dir)
	}
	return errors.Join(err, root.Close())
}

func writeFile(ctx context.Context, store backup.StreamOpener, s *backup.ManifestStream, root *os.Root, name string, progress func(int64)) (err error) {
	if _, err := root.Lstat(name); err == nil {
		return fmt.Errorf("write %s: %w", filepath.Join(root.Name(), name), os.ErrExist)
	}
	partial := "." + name + ".partial"
	file, err := root.OpenFile(partial, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, root.Remove(partial))
		}
	}()
	reader, err := store.OpenStream(ctx, s.Objects)
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", name, err), file.Close())
	}
	n, errCopy := io.Copy(file, &progressReader{reader: reader, progress: progress})
	if errCopy == nil && n != s.Size {
		errCopy = fmt.Errorf("%d bytes came, the manifest says %d", n, s.Size)
	}
	errClose := reader.Close()
	errSync := file.Sync()
	if err := errors.Join(errCopy, errClose, errSync, file.Close()); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if err := root.Link(partial, name); err != nil { // unlike rename, link never replaces
		return fmt.Errorf("write %s: %w", name, err)
	}
	return root.Remove(partial)
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
