package logship

import (
	"context"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// waits reports whether a file has to wait for an earlier one of its volume that
// is neither indexed nor on its way. ends are those of this batch.
func (s *Shipper) waits(it *item, ends map[place]int64, now time.Time) bool {
	if !s.behindHole(it, ends) {
		return false
	}
	return it.heldSince.IsZero() || now.Sub(it.heldSince) < s.config.GapPatience
}

// behindHole reports whether positions are missing before the file.
func (s *Shipper) behindHole(it *item, ends map[place]int64) bool {
	at := s.history.place(it.name)
	tail, known := s.history.tail(at)
	return known && it.name.First > max(tail, ends[at])
}

// explain begins the patience of files behind a hole, and ends it at once where
// HANA's catalog knows nothing that could fill the hole.
func (s *Shipper) explain(ctx context.Context, items []*item) {
	ends := make(map[place]int64)
	for _, it := range items {
		if it.name.Kind() == backup.KindCatalog || it.indexed || it.stuck() {
			continue
		}
		s.mu.Lock()
		hole := it.stored && it.heldSince.IsZero() && s.behindHole(it, ends)
		at := s.history.place(it.name)
		tail, _ := s.history.tail(at)
		s.mu.Unlock()
		if hole {
			since := time.Now()
			if !s.mayCome(ctx, max(ends[at], tail), it.name) {
				since = since.Add(-s.config.GapPatience)
			}
			s.update(func() { it.heldSince = since })
		}
		extend(ends, at, it)
	}
}

// extend moves the end of a volume to that of a file, unless HANA's catalog calls
// it failed: then another one will hold its positions.
func extend(ends map[place]int64, at place, it *item) {
	if !it.rejected {
		ends[at] = max(ends[at], it.name.Last)
	}
}

// mayCome reports whether HANA's catalog knows a log backup that holds some of
// the positions from end to those of the file, or cannot say.
func (s *Shipper) mayCome(ctx context.Context, end int64, n backup.LogName) bool {
	if s.hana.away {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, s.config.AskTimeout)
	defer cancel()
	last := max(n.BackupID, time.Now().UnixMilli()) + entryLead
	entries, err := s.parts.Historian.Logs(ctx, s.config.Database, n.BackupID-entryLead, last)
	if err != nil {
		s.log.Debug("HANA's catalog cannot be asked about a missing log backup", zap.Error(err))
		return true
	}
	return slices.ContainsFunc(entries, func(e backup.CatalogEntry) bool { return mayFill(&e, end, n) })
}

// mayFill reports whether an entry may be of a file between end and n.
func mayFill(e *backup.CatalogEntry, end int64, n backup.LogName) bool {
	if e.State == backup.CatalogFailed || e.State == backup.CatalogCanceled {
		return false
	}
	if e.State == backup.CatalogRunning && len(e.Files) == 0 {
		return true // it may not say its positions yet
	}
	return slices.ContainsFunc(e.Files, func(f backup.CatalogFile) bool {
		return f.VolumeID == n.VolumeID && f.SourceType == backup.SourceVolume && f.FirstLogPosition < n.First && f.LastLogPosition > end
	})
}

// tellGaps logs each gap once, as soon as it is known from where on the log
// counts. The caller has the lock.
func (s *Shipper) tellGaps() {
	if !s.asked {
		return
	}
	gaps := s.history.gaps(s.base)
	open := make(map[Gap]bool, len(gaps))
	for _, gap := range gaps {
		open[gap] = true
		if !s.told[gap] {
			s.log.Error("a piece of the log is missing in the store: no recovery can go past it",
				zap.Int("volume_id", gap.VolumeID), zap.Int64("after", gap.After), zap.Int64("before", gap.Before),
				zap.String("after_file", gap.AfterFile), zap.String("before_file", gap.BeforeFile))
		}
	}
	for gap := range s.told {
		if !open[gap] {
			s.log.Info("a gap of the log counts no more", zap.Int("volume_id", gap.VolumeID), zap.Int64("after", gap.After), zap.Int64("before", gap.Before))
		}
	}
	s.told = open
}
