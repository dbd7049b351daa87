package logship

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// index writes an index of the files that may be indexed now, and of those that
// HANA has confirmed since they were.
func (s *Shipper) index(ctx context.Context) error {
	for ctx.Err() == nil {
		batch := s.ready(ctx)
		if len(batch) == 0 {
			return nil
		}
		if err := s.writeIndex(ctx, batch); err != nil {
			return err
		}
		s.helped()
		s.mu.Lock()
		for _, it := range batch {
			it.indexed, it.told, it.heldSince = true, it.record.Confirmed, time.Time{}
			if it.record.Confirmed {
				delete(s.unproven, it.file.Name)
			}
			if !it.rejected {
				s.history.add(&it.record)
			}
		}
		s.mu.Unlock()
		s.update(s.tellGaps)
	}
	return nil
}

// writeIndex writes one index and reads it back. A sequence that is taken was
// used by a process whose last word we do not know: the next one is as good.
func (s *Shipper) writeIndex(ctx context.Context, batch []*item) error {
	x := &backup.LogIndex{
		Version: backup.LogIndexVersion, Tool: s.config.Tool, SID: s.config.SID, Database: s.config.Database,
		Sequence: max(s.sequence+1, time.Now().UnixMilli()),
	}
	for _, it := range batch {
		x.Files = append(x.Files, it.record)
	}
	for {
		text, err := x.Encode()
		if err != nil {
			return err
		}
		key := backup.LogIndexKey(x.SID, x.Database, x.Sequence)
		err = s.writeObject(ctx, key, text)
		s.sequence = x.Sequence
		if errors.Is(err, backup.ErrExists) {
			x.Sequence++
			continue
		}
		if err != nil {
			return err
		}
		return s.checkIndex(ctx, key, text)
	}
}

// checkIndex compares what the store has with what was written.
func (s *Shipper) checkIndex(ctx context.Context, key string, text []byte) error {
	got, err := readObject(ctx, s.parts.Store, key, backup.LogIndexLimit)
	if err == nil && !bytes.Equal(got, text) {
		err = backup.ErrCorrupt
	}
	if err != nil {
		return fmt.Errorf("read back log index %s: %w", key, err)
	}
	return nil
}

// writeObject stores a small object, all or nothing.
func (s *Shipper) writeObject(ctx context.Context, key string, text []byte) error {
	options := backup.UploadOptions{EstimatedSize: int64(len(text)), AtHand: true, Patient: true, Trouble: s.maybeTroubled}
	upload, err := s.parts.Store.Begin(ctx, key, options)
	if err != nil {
		return fmt.Errorf("write %s: %w", key, err)
	}
	_, err = upload.Consume(ctx, bytes.NewReader(text))
	if err == nil {
		err = upload.Commit(ctx)
	}
	if err != nil {
		s.abort(ctx, upload, key)
		return fmt.Errorf("write %s: %w", key, err)
	}
	return nil
}

// ready returns what the next index names, sorted: of each volume the files that
// follow what is indexed, up to the first that is not in the store yet or has to
// wait for an earlier one.
func (s *Shipper) ready(ctx context.Context) []*item {
	items := s.list(func(it *item) bool { return !it.indexed || it.amend() })
	s.explain(ctx, items)
	s.mu.Lock()
	defer s.mu.Unlock()
	var batch []*item
	blocked := make(map[int]bool)
	ends := make(map[place]int64)
	now := time.Now()
	for _, it := range items {
		if len(batch) == s.config.BatchFiles {
			break
		}
		if it.amend() || it.stored && it.name.Kind() == backup.KindCatalog {
			batch = append(batch, it)
			continue
		}
		volume := it.name.VolumeID
		if it.name.Kind() == backup.KindCatalog || blocked[volume] {
			continue
		}
		switch {
		case it.stuck():
		case !it.stored || s.waits(it, ends, now):
			blocked[volume] = true
		default:
			batch = append(batch, it)
			extend(ends, s.history.place(it.name), it)
		}
	}
	return batch
}
