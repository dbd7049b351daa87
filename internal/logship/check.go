package logship

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// check looks a second time at what is indexed, in parallel. The error is the
// store's.
func (s *Shipper) check(ctx context.Context) error {
	now := time.Now()
	open := s.list(func(it *item) bool { return it.indexed && !it.checked && !it.notBefore.After(now) })
	return s.inParallel(ctx, open, s.checkItem)
}

func (s *Shipper) checkItem(ctx context.Context, it *item) error {
	err := s.secondLook(ctx, &it.record)
	switch {
	case err == nil:
		s.helped()
		s.mu.Lock()
		defer s.mu.Unlock()
		it.checked = true
		s.metrics.shipped(s.config.Database, it.record.Size)
	case errors.Is(err, backup.ErrNotFound):
		s.log.Error("an index names a log backup that the store does not have: it is uploaded again", zap.String("file", it.file.Name), zap.Error(err))
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.known, it.file.Name)
		it.stored, it.indexed, it.told = false, false, false
		it.notBefore = time.Now().Add(firstPause)
	case errors.Is(err, backup.ErrCorrupt):
		s.conflict(it, fmt.Errorf("what the store holds is not what was sent: the log backup stays on the volume: %w", err))
	default:
		return fmt.Errorf("read back %s: %w", it.file.Name, err)
	}
	return nil
}

// secondLook compares the objects of a file with its record, by size or by every
// byte.
func (s *Shipper) secondLook(ctx context.Context, f *backup.LogFile) error {
	if s.config.Verify == VerifyRead {
		return s.readBack(ctx, f)
	}
	for i := range f.Objects {
		o := &f.Objects[i]
		there, err := s.parts.Store.Stat(ctx, o.Key)
		if err != nil {
			return err
		}
		if there.Size != o.Size {
			return fmt.Errorf("%w: %s has %d bytes, expected %d", backup.ErrCorrupt, o.Key, there.Size, o.Size)
		}
	}
	return nil
}

// readBack reads the objects of a file and compares every byte with its record,
// by SHA-256: ErrCorrupt says that they are not that file. Of objects that are
// encrypted for others the bytes are compared as they are stored.
func (s *Shipper) readBack(ctx context.Context, f *backup.LogFile) error {
	stream, err := s.parts.Store.OpenStream(ctx, f.Objects)
	if errors.Is(err, backup.ErrNoIdentity) {
		return s.readStored(ctx, f)
	}
	if err != nil {
		return err
	}
	hash := sha256.New()
	size, err := io.Copy(hash, stream)
	if err := errors.Join(err, stream.Close()); err != nil {
		return err
	}
	if sum := hex.EncodeToString(hash.Sum(nil)); sum != f.SHA256 || size != f.Size {
		return fmt.Errorf("%w: %s has %d bytes with SHA-256 %s, expected %d with %s", backup.ErrCorrupt, f.Name, size, sum, f.Size, f.SHA256)
	}
	return nil
}

// readStored reads the objects of a file as they are stored and compares each with
// its SHA-256 in the record, where it has one.
func (s *Shipper) readStored(ctx context.Context, f *backup.LogFile) error {
	for _, o := range backup.AsStored(f.Objects) {
		stream, err := s.parts.Store.OpenStream(ctx, []backup.Object{o})
		if err != nil {
			return err
		}
		hash := sha256.New()
		_, err = io.Copy(hash, stream)
		if err := errors.Join(err, stream.Close()); err != nil {
			return err
		}
		if sum := hex.EncodeToString(hash.Sum(nil)); o.SHA256 != "" && sum != o.SHA256 {
			return fmt.Errorf("%w: %s has the SHA-256 %s, expected %s", backup.ErrCorrupt, o.Key, sum, o.SHA256)
		}
	}
	return nil
}

// clear removes from the volume what is safe, confirmed and old enough.
func (s *Shipper) clear() {
	for _, it := range s.list(func(it *item) bool {
		return it.shipped() && it.record.Confirmed && it.name.Kind() == backup.KindCatalog
	}) {
		s.update(func() { s.goodCatalog = max(s.goodCatalog, it.name.BackupID) })
	}
	now := time.Now()
	for _, it := range s.list(func(it *item) bool { return s.removable(it, now) }) {
		removed, err := s.parts.Remove(it.file)
		if err != nil {
			s.update(func() { it.fail(now, err.Error()) })
			s.log.Error("a log backup that is safe in the store cannot be removed from the volume", zap.String("file", it.file.Name), zap.Error(err))
			continue
		}
		s.drop(it)
		s.update(func() { delete(s.unproven, it.file.Name) })
		if !removed {
			s.log.Warn("a log backup on the volume is not the file any more that was shipped, and was left", zap.String("file", it.file.Name))
			s.parts.Volume.Again(it.file.Name)
		}
	}
}

// removable is called with the lock.
func (s *Shipper) removable(it *item, now time.Time) bool {
	superseded := it.asked && it.name.Kind() == backup.KindCatalog && it.name.BackupID < s.goodCatalog
	confirmed := it.record.Confirmed && it.told || superseded
	return it.shipped() && confirmed && !it.notBefore.After(now) && now.Sub(it.file.ModTime) >= s.config.KeepFor
}
