package logship

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// breakInterval is how often HANA is asked whether the log was interrupted, when no
// file comes.
const breakInterval = 10 * time.Minute

// ReadBreaks returns the interruptions of a database's log that were recorded,
// sorted by time. One whose record is damaged counts all the same: its key says
// when it was, and damaged what is wrong with it. The last error is the store's.
func ReadBreaks(ctx context.Context, store backup.Store, sid, database string) (breaks []backup.Break, damaged []error, err error) {
	prefix := backup.BreakPrefix(sid, database)
	objects, err := store.List(ctx, prefix)
	if err != nil {
		return nil, nil, fmt.Errorf("list breaks %s: %w", prefix, err)
	}
	for i := range objects {
		key := objects[i].Key
		at, err := backup.ParseBreakKey(sid, database, key)
		if err != nil {
			continue
		}
		text, err := readObject(ctx, store, key, backup.BreakLimit)
		if err != nil {
			return nil, nil, fmt.Errorf("read break %s: %w", key, err)
		}
		record, err := backup.DecodeBreak(text)
		if err == nil && backup.BreakKey(record.SID, record.Database, record.Break.At) != key {
			err = errors.New("it belongs elsewhere")
		}
		if err != nil {
			damaged = append(damaged, fmt.Errorf("break %s is damaged: %w", key, err))
			breaks = append(breaks, backup.Break{At: at, Reason: "not known, its record is damaged"})
			continue
		}
		breaks = append(breaks, record.Break)
	}
	sortBreaks(breaks)
	return breaks, damaged, nil
}

func sortBreaks(breaks []backup.Break) {
	slices.SortStableFunc(breaks, func(a, b backup.Break) int { return a.At.Compare(b.At) })
}

// recallBreaks reads those that were recorded.
func (s *Shipper) recallBreaks(ctx context.Context) error {
	breaks, damaged, err := ReadBreaks(ctx, s.parts.Store, s.config.SID, s.config.Database)
	if err != nil {
		return err
	}
	for _, fault := range damaged {
		s.log.Error("the record of an interruption of the log cannot be read; only when it was is known", zap.Error(fault))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range breaks {
		s.addBreak(breaks[i])
		s.recorded[breaks[i].At.UnixMilli()] = true
	}
	return nil
}

// addBreak takes in a break, and says whether it is a new one. The caller has the
// lock.
func (s *Shipper) addBreak(b backup.Break) bool {
	if slices.ContainsFunc(s.breaks, func(other backup.Break) bool { return other.At.UnixMilli() == b.At.UnixMilli() }) {
		return false
	}
	s.breaks = append(slices.Clone(s.breaks), b)
	sortBreaks(s.breaks)
	s.history.split(s.breaks)
	return true
}

// askBreaks asks HANA for the interruptions of the log. HANA may forget them, and
// whatever it makes next may never arrive: so they are recorded.
func (s *Shipper) askBreaks(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, s.config.AskTimeout)
	defer cancel()
	var look int
	s.update(func() { s.breaksAsked, s.newFiles, look = time.Now(), false, s.looks })
	breaks, err := s.parts.Historian.Breaks(ctx, s.config.Database)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.newFiles = true
		s.log.Debug("HANA cannot be asked whether the log was interrupted", zap.Error(err))
		return
	}
	s.breaksLook = max(s.breaksLook, look)
	for i := range breaks {
		if s.addBreak(breaks[i]) {
			s.rebase = true
			s.rouse()
		}
	}
	s.tellBroken()
}

// askBreaksFirst asks before files are indexed that came after the last question:
// with them in a history, a break that it does not know would go unseen. It asks,
// too, when somebody asked to look now.
func (s *Shipper) askBreaksFirst(ctx context.Context) {
	if s.hana.away {
		return
	}
	files := len(s.list(func(it *item) bool { return it.stored && !it.indexed })) > 0
	s.mu.Lock()
	due := s.newFiles && files || s.breaksLook < s.looks
	s.mu.Unlock()
	if due {
		s.askBreaks(ctx)
	}
}

// recordBreaks writes those that the store does not have.
func (s *Shipper) recordBreaks(ctx context.Context) error {
	s.mu.Lock()
	open := slices.DeleteFunc(slices.Clone(s.breaks), func(b backup.Break) bool { return s.recorded[b.At.UnixMilli()] })
	s.mu.Unlock()
	for i := range open {
		record := backup.BreakRecord{Version: backup.BreakVersion, Tool: s.config.Tool, SID: s.config.SID, Database: s.config.Database, Break: open[i]}
		text, err := record.Encode()
		if err == nil {
			err = s.writeObject(ctx, backup.BreakKey(s.config.SID, s.config.Database, open[i].At), text)
			if err != nil && !errors.Is(err, backup.ErrExists) {
				return err
			}
		} else { // what HANA says of it is odd; no log waits for that
			s.log.Error("an interruption of the log cannot be recorded", zap.Time("at", open[i].At), zap.Error(err))
		}
		s.update(func() { s.recorded[open[i].At.UnixMilli()] = true })
	}
	return nil
}

// broken is the interruption of the log that no data backup in the store has
// behind it, the first if there are several: nothing of the log after it is of
// use. The caller has the lock.
func (s *Shipper) broken() *backup.Break {
	if !s.asked {
		return nil // it is not known what the store has
	}
	for i := range s.breaks {
		if b := s.breaks[i]; s.base == nil || !b.At.Before(s.base.Since) {
			return &b
		}
	}
	return nil
}

// tellBroken logs an interruption once. The caller has the lock.
func (s *Shipper) tellBroken() {
	b := s.broken()
	if b == nil || s.rebase || b.At.Equal(s.brokenTold) {
		return
	}
	s.brokenTold = b.At
	s.log.Error("HANA has interrupted the log: no recovery goes past that moment until the store has a complete backup that began after it",
		zap.Time("at", b.At), zap.String("reason", b.Reason), zap.String("message", b.Message))
}
