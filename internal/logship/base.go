package logship

import (
	"context"
	"errors"
	"maps"
	"time"

	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

const (
	// baseInterval is between two questions for the data backup from which the log
	// counts, gapInterval while something is wrong that a new one would mend, and
	// missingInterval while there is none.
	baseInterval    = 10 * time.Minute
	gapInterval     = time.Minute
	missingInterval = 10 * time.Second
	// baseTimeout bounds the question: it reads a manifest, which may be large.
	baseTimeout = 5 * time.Minute
)

// Base is a data backup in the store that can be restored: log counts from there.
type Base struct {
	BackupID int64
	// StartedAt is the time of the state that it holds. Since is when the complete
	// backup began on which it builds, or which it is.
	StartedAt, Since time.Time
	// Positions are where the replay of each volume's log begins, 0 where HANA did
	// not say it.
	Positions map[int]int64
}

// Bases says which data backups the store has.
type Bases interface {
	// Base returns the newest data backup of a database of which everything is in
	// the store, or backup.ErrNotFound when there is none.
	Base(ctx context.Context, database string) (Base, error)
}

// needs reports whether a restore from b needs what is missing before r. Where
// HANA did not say where the replay begins, the log that began after b counts.
func (b *Base) needs(volume int, r *run) bool {
	if b == nil {
		return true
	}
	if position := b.Positions[volume]; position > 0 {
		return r.first > position
	}
	return r.begun >= b.BackupID
}

// position is where the replay of a volume's log begins, 0 when that is not known.
func (b *Base) position(volume int) int64 {
	if b == nil {
		return 0
	}
	return b.Positions[volume]
}

// findBase asks the store from where on the log counts, when it is time to, and
// reads the indexes back to there. HANA's own newest data backup may be lost, or
// not ours.
func (s *Shipper) findBase(ctx context.Context) {
	s.mu.Lock()
	look := s.looks
	due := s.rebase || s.baseLook < look || !time.Now().Before(s.baseDue)
	s.mu.Unlock()
	if !due {
		return
	}
	asking, cancel := context.WithTimeout(ctx, baseTimeout)
	defer cancel()
	base, err := s.parts.Bases.Base(asking, s.config.Database)
	none := errors.Is(err, backup.ErrNotFound)
	if err == nil {
		err = s.recallFrom(ctx, base.BackupID-lookBack.Milliseconds())
	}
	if ctx.Err() != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.baseFault
	s.baseFault, s.rebase, s.baseLook = err, false, look
	switch {
	case none:
		s.base, s.asked = nil, true
		if !errors.Is(before, backup.ErrNotFound) {
			s.log.Error("no data backup in the store can be restored: log backups alone are of no use, make a complete backup")
		}
	case err != nil:
		if before == nil {
			s.log.Warn("the store does not tell from which data backup on the log counts", zap.Error(err))
		}
	default:
		base.Positions = maps.Clone(base.Positions)
		s.base, s.asked = &base, true
		s.history.forget(base.BackupID - lookBack.Milliseconds())
	}
	s.baseDue = time.Now().Add(s.basePause())
	s.tellGaps()
	s.tellBroken()
}

// basePause is when the next question is due. The caller has the lock.
func (s *Shipper) basePause() time.Duration {
	switch {
	case s.base == nil:
		return missingInterval
	case s.baseFault != nil || s.broken() != nil || len(s.history.gaps(s.base)) > 0:
		return gapInterval
	default:
		return baseInterval
	}
}

// baseTrouble says why it is not known from where on the log counts. The caller
// has the lock.
func (s *Shipper) baseTrouble() string {
	switch {
	case s.baseFault == nil:
		return ""
	case errors.Is(s.baseFault, backup.ErrNotFound):
		return "no data backup in the store can be restored, so no log can: make a complete backup"
	default:
		return "the store does not tell from which data backup on the log counts: " + s.baseFault.Error()
	}
}

// baseMissing reports whether the store has said that there is none.
func (s *Shipper) baseMissing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked && s.base == nil
}
