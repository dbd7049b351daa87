package logship

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
	"github.com/pipestreamer/pipestreamer/pkg/spool"
)

// upload brings files that are not in the store, or of which that is not known,
// in parallel. It begins no other file after the store has failed.
func (s *Shipper) upload(ctx context.Context) error {
	now := time.Now()
	waiting := s.list(func(it *item) bool { return !it.stored && !it.notBefore.After(now) })
	batch := pick(waiting, s.config.BatchFiles)
	if len(batch) == 0 {
		return nil
	}
	oldest := slices.MinFunc(batch, byID).name.BackupID
	if err := s.recallFrom(ctx, oldest-skew.Milliseconds()); err != nil {
		return err
	}
	return s.inParallel(ctx, batch, s.bring)
}

// inParallel calls do for each item, and for no other after the first error.
func (s *Shipper) inParallel(ctx context.Context, items []*item, do func(context.Context, *item) error) error {
	var group errgroup.Group
	group.SetLimit(s.config.Parallel)
	var failed atomic.Bool
	for _, it := range items {
		group.Go(func() error {
			if failed.Load() || ctx.Err() != nil {
				return nil //nolint:nilerr // whoever ends ctx knows
			}
			err := do(ctx, it)
			if err != nil {
				failed.Store(true)
			}
			return err
		})
	}
	return group.Wait()
}

// bring makes sure that the store has a file. The error is the store's.
func (s *Shipper) bring(ctx context.Context, it *item) error {
	s.mu.Lock()
	known, indexed := s.known[it.file.Name]
	old, outdated := s.outdated(it)
	s.mu.Unlock()
	switch {
	case outdated && it.record.Confirmed:
		return s.replace(ctx, it, old)
	case indexed:
		s.recognise(it, known)
		return nil
	case it.conflict != "":
		return s.compare(ctx, it)
	default:
		return s.send(ctx, it)
	}
}

// send uploads a file. One that the key already holds is compared.
func (s *Shipper) send(ctx context.Context, it *item) error {
	return s.sendTo(ctx, it, backup.LogKey(s.config.SID, s.config.Database, it.file.Name))
}

// sendTo is send to one of the keys of a file.
func (s *Shipper) sendTo(ctx context.Context, it *item, key string) error {
	errFile, err := s.transfer(ctx, it, key)
	switch {
	case errFile != nil:
		s.unreadable(it, errFile)
		return nil
	case errors.Is(err, backup.ErrExists):
		return s.compare(ctx, it)
	case err != nil:
		return fmt.Errorf("upload %s: %w", it.file.Name, err)
	}
	s.arrivedInStore(it)
	return nil
}

// transfer uploads a file, all or nothing, and notes what it holds. errFile is
// for what is wrong with the file, err is the store's.
func (s *Shipper) transfer(ctx context.Context, it *item, key string) (errFile, err error) {
	file, errFile := s.parts.Volume.Open(it.file)
	if errFile != nil {
		return errFile, nil
	}
	upload, err := s.parts.Store.Begin(ctx, key, backup.UploadOptions{EstimatedSize: it.file.Size, Encode: true, Trouble: s.maybeTroubled})
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	source := &sourceReader{reader: file}
	stored, err := upload.Consume(ctx, source)
	errFile = errors.Join(source.err, file.Close())
	switch {
	case errFile != nil:
	case errors.Is(err, backup.ErrEmptyStream):
		errFile = err
	case err == nil && stored.Bytes != it.file.Size:
		errFile = fmt.Errorf("%d of its %d bytes were read", stored.Bytes, it.file.Size)
	case err == nil:
		s.update(func() {
			it.record.Size, it.record.SHA256, it.record.Objects = stored.Bytes, stored.SHA256, stored.Objects
		})
		err = upload.Commit(ctx)
	}
	if errFile != nil || err != nil {
		s.abort(ctx, upload, key)
	}
	return errFile, err
}

// abort removes what an upload left. What stays is for a later sweep.
func (s *Shipper) abort(ctx context.Context, upload backup.Upload, key string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.config.CleanTimeout)
	defer cancel()
	if err := upload.Abort(ctx); err != nil {
		s.log.Warn("an upload was not cleaned up", zap.String("key", key), zap.Error(err))
	}
}

func (s *Shipper) arrivedInStore(it *item) {
	s.helped()
	s.update(func() {
		it.stored, it.problem, it.conflict, it.tries = true, "", "", 0
		if !it.record.Confirmed {
			s.unproven[it.file.Name] = it.record
		}
	})
}

// compare looks whether the object at a file's key is that file: an upload was
// cut off between its commit and the index. Another object is left alone.
func (s *Shipper) compare(ctx context.Context, it *item) error {
	err := s.readBack(ctx, &it.record)
	switch {
	case err == nil:
		s.log.Info("the store has a log backup already that no index names", zap.String("file", it.file.Name))
		s.arrivedInStore(it)
	case errors.Is(err, backup.ErrNotFound):
		// Somebody removed it.
		s.update(func() { it.conflict, it.notBefore, it.indexed, it.told = "", time.Time{}, false, false })
	case errors.Is(err, backup.ErrCorrupt) && len(backup.EncodingOf(it.record.Objects)) > 0 && !it.indexed && !it.again:
		return s.sendAgain(ctx, it)
	case errors.Is(err, backup.ErrCorrupt):
		s.conflict(it, fmt.Errorf("the store holds other content under the name of a log backup, which stays on the volume: %w", err))
	default:
		return fmt.Errorf("compare %s with the store: %w", it.file.Name, err)
	}
	return nil
}

// sendAgain uploads a file to another key, because what its key holds cannot be
// compared with it: the same bytes, encrypted twice, are not the same. If an index
// names the file, that says which it is. If none does, it is what an attempt has
// left that was cut off before its index, and is left alone.
func (s *Shipper) sendAgain(ctx context.Context, it *item) error {
	files, _, err := ReadIndexes(ctx, s.parts.Store, s.config.SID, s.config.Database, time.UnixMilli(it.name.BackupID))
	if err != nil {
		return err
	}
	for i := range files {
		if files[i].Name == it.file.Name {
			s.recognise(it, files[i])
			return nil
		}
	}
	s.log.Warn("the store holds an encoded log backup that no index names, and it cannot be compared with the file: the file is stored beside it",
		zap.String("file", it.file.Name), zap.String("key", it.record.Objects[0].Key))
	s.update(func() { it.again = true })
	return s.sendTo(ctx, it, backup.LogKeyAgain(s.config.SID, s.config.Database, it.file.Name, time.Now().UnixMilli()))
}

// recognise makes sure that a file that was indexed before this process began is
// that file, by reading it.
func (s *Shipper) recognise(it *item, known backup.LogFile) {
	sum, size, err := s.sum(it.file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		s.drop(it) // the index has it
	case err != nil:
		s.unreadable(it, err)
	case size != known.Size || sum != known.SHA256:
		s.conflict(it, fmt.Errorf("an index names a log backup of this name with %d bytes and SHA-256 %s; the file on the volume has %d bytes and %s",
			known.Size, known.SHA256, size, sum))
	default:
		s.update(func() {
			it.record, it.stored, it.indexed, it.told = known, true, true, known.Confirmed
			it.problem, it.conflict, it.tries = "", "", 0
		})
	}
}

// sum reads a file.
func (s *Shipper) sum(f spool.File) (sum string, size int64, err error) {
	file, err := s.parts.Volume.Open(f)
	if err != nil {
		return "", 0, err
	}
	hash := sha256.New()
	size, err = io.Copy(hash, file)
	return hex.EncodeToString(hash.Sum(nil)), size, errors.Join(err, file.Close())
}

// unreadable notes a file that changed, vanished or cannot be read.
func (s *Shipper) unreadable(it *item, err error) {
	if errors.Is(err, fs.ErrNotExist) {
		s.log.Error("a log backup was removed from the volume before it was safe in the store", zap.String("file", it.file.Name), zap.Error(err))
		s.drop(it)
		s.parts.Volume.Again(it.file.Name) // in case it comes back
		return
	}
	s.update(func() { it.fail(time.Now(), err.Error()) })
	s.log.Error("a log backup cannot be read, will try again", zap.String("file", it.file.Name), zap.Int("tries", it.tries), zap.Error(err))
}

// conflict notes that the store holds something else.
func (s *Shipper) conflict(it *item, err error) {
	first := it.conflict == ""
	s.update(func() { it.clash(time.Now(), err.Error()) })
	if first {
		s.log.Error("a log backup is in conflict with the store", zap.String("file", it.file.Name), zap.Error(err))
	}
}

// drop forgets a file, unless another one has taken its name.
func (s *Shipper) drop(it *item) {
	s.update(func() {
		if s.items[it.file.Name] == it {
			delete(s.items, it.file.Name)
		}
	})
}

// sourceReader tells the errors of a file from those of the store.
type sourceReader struct {
	reader io.Reader
	err    error
}

// Read implements io.Reader.
func (r *sourceReader) Read(p []byte) (int, error) {
	n, err := r.reader.Read(p)
	if err != nil && err != io.EOF { // plain: a wrapped one is a fault
		r.err = err
	}
	return n, err
}
