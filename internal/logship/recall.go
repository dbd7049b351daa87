package logship

import (
	"context"
	"slices"
	"time"

	"go.uber.org/zap"
)

// lookBack is how much is read of what was indexed before this process, counted
// from the newest index. HANA backs the log of a volume up every
// log_backup_timeout_s, which is 15 minutes unless set otherwise, so it holds
// the end of each volume's log.
const lookBack = 24 * time.Hour

// recall reads the interruptions of the log and the newest indexes: where the log
// of each volume ends, and which files were indexed already.
func (s *Shipper) recall(ctx context.Context) error {
	sequences, err := listIndexes(ctx, s.parts.Store, s.config.SID, s.config.Database)
	if err != nil {
		return err
	}
	if err := s.recallBreaks(ctx); err != nil {
		return err
	}
	s.older = sequences
	if len(sequences) > 0 {
		s.sequence = sequences[len(sequences)-1]
		return s.recallFrom(ctx, s.sequence-lookBack.Milliseconds())
	}
	return nil
}

// recallFrom reads the indexes from a sequence on that are not read yet. A file
// was indexed after its backup began, and its backup id is that moment.
func (s *Shipper) recallFrom(ctx context.Context, sequence int64) error {
	at, _ := slices.BinarySearch(s.older, sequence)
	if at == len(s.older) {
		return nil
	}
	indexes, damaged, err := readIndexes(ctx, s.parts.Store, s.config.SID, s.config.Database, s.older[at:])
	if err != nil {
		return err
	}
	s.older = s.older[:at]
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, fault := range damaged {
		s.damaged = append(s.damaged, fault.Error())
		s.log.Error("an index of log backups cannot be used: files that only it names are not part of the history any more", zap.Error(fault))
	}
	files := newestEntries(indexes)
	for name := range files {
		f := files[name]
		s.history.add(&f)
		if _, newer := s.known[name]; !newer {
			s.known[name] = f
			if !f.Confirmed {
				s.unproven[name] = f
			}
		}
	}
	s.tellGaps()
	return nil
}
