package logship

import (
	"context"
	"maps"
	"time"

	"go.uber.org/zap"
)

const (
	// watchInterval is between two looks at the volume. A spool.Watcher needs less to
	// find what stands there at the start.
	watchInterval = 15 * time.Second
	// tellInterval is how often an outage of the store is told.
	tellInterval = 10 * time.Minute
)

// trouble is an outage, of the store for example.
type trouble struct {
	err         error
	since, told time.Time
}

// watch looks after the volume while nothing may be shipped for long: its space,
// an outage that goes on, and whether HANA goes on to keep a log.
func (s *Shipper) watch(ctx context.Context) {
	ticker := time.NewTicker(watchInterval)
	defer ticker.Stop()
	for {
		now := time.Now()
		s.measure()
		s.remind(now)
		s.mu.Lock()
		due := now.Sub(s.breaksAsked) >= breakInterval || s.breaksLook < s.looks
		s.mu.Unlock()
		if due {
			s.askBreaks(ctx)
		}
		s.publish()
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			s.judge()
		}
	}
}

// judge notes when all is known that was there at the start. The files that stood on
// the volume then were found before the first call; later ones are not waited for,
// because of a HANA that is busy there is always one.
func (s *Shipper) judge() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.judged {
		return
	}
	if s.unjudged == nil {
		s.unjudged = make(map[string]bool, len(s.items))
		for name := range s.items {
			s.unjudged[name] = true
		}
	}
	maps.DeleteFunc(s.unjudged, func(name string, _ bool) bool {
		it := s.items[name]
		return it == nil || it.stored || it.stuck()
	})
	s.judged = s.stepped && len(s.unjudged) == 0
}

// maybeTroubled is told by an upload. That one attempt has helped does not say
// that the store is back: an upload that arrives does.
func (s *Shipper) maybeTroubled(err error) {
	if err != nil {
		s.troubled(err)
	}
}

// troubled notes that the store fails, and tells it at once.
func (s *Shipper) troubled(err error) {
	s.mu.Lock()
	began := s.trouble.err == nil
	s.trouble.err = err
	now := time.Now()
	if began {
		s.trouble.since = now
	}
	s.mu.Unlock()
	if began {
		s.tell(now)
	}
}

// remind tells an outage again.
func (s *Shipper) remind(now time.Time) {
	s.mu.Lock()
	due := s.trouble.err != nil && now.Sub(s.trouble.told) >= tellInterval
	s.mu.Unlock()
	if due {
		s.tell(now)
	}
}

func (s *Shipper) tell(now time.Time) {
	status := s.Status()
	s.mu.Lock()
	s.trouble.told = now
	err := s.trouble.err
	s.mu.Unlock()
	lasts := zap.String("volume_lasts", "unknown")
	if status.Lasts != nil {
		lasts = zap.Duration("volume_lasts", time.Duration(*status.Lasts)*time.Second)
	}
	s.log.Error("log backups stay on the volume, because the store fails", zap.Time("since", status.StoreTroubleSince),
		zap.Int("waiting_files", status.WaitingFiles), zap.Int64("waiting_bytes", status.WaitingBytes), lasts, zap.Error(err))
}

// helped notes that the store does what it is asked for.
func (s *Shipper) helped() {
	s.mu.Lock()
	before := s.trouble
	s.trouble = trouble{}
	s.mu.Unlock()
	if before.err != nil {
		s.log.Info("the store takes log backups again", zap.Duration("after", time.Since(before.since)))
	}
}
