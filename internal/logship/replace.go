package logship

import (
	"context"
	"fmt"

	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// A file may be taken for finished while HANA only pauses, and be shipped cut off.
// HANA's catalog does not confirm it then. When it confirms what stands on the
// volume later, with another size, that takes the place of the first.

// outdated returns what the store holds of a file with which it is in conflict, if
// that has another size and was never confirmed. The caller has the lock.
func (s *Shipper) outdated(it *item) (old backup.LogFile, is bool) {
	old, unproven := s.unproven[it.file.Name]
	return old, unproven && it.conflict != "" && !old.Confirmed && old.Size != it.file.Size
}

// replace removes old from the store and uploads the file, which HANA's catalog
// has confirmed. The index that follows names it anew. A store that refuses the
// removal does not hold up other files. Whatever stands there after the removal
// is not ours, and is not removed.
func (s *Shipper) replace(ctx context.Context, it *item, old backup.LogFile) error {
	for i := range old.Objects {
		if err := s.parts.Store.Remove(ctx, old.Objects[i].Key); err != nil {
			s.conflict(it, fmt.Errorf("the store holds %d bytes of a log backup that has %d, and they cannot be removed: %w", old.Size, it.file.Size, err))
			return nil
		}
	}
	s.log.Warn("a log backup was shipped before HANA had finished it: it is uploaded again",
		zap.String("file", it.file.Name), zap.Int64("size", old.Size), zap.Int64("confirmed_size", it.file.Size))
	s.update(func() {
		delete(s.known, it.file.Name)
		delete(s.unproven, it.file.Name)
		it.conflict = ""
	})
	return s.send(ctx, it)
}
