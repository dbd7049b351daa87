package spool

import (
	"context"
	"errors"
	"fmt"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// Found implements [backup.Discoverer]. Stream.File is the name under which HANA
// leaves the file.
func (s *Source) Found() <-chan backup.Stream { return s.found }

// Settle implements [backup.Discoverer]. What stands under its final name is then
// taken for finished: HANA said so. Found is closed as soon as everything was
// received from it; Settle does not wait for that.
func (s *Source) Settle(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closing:
		return fmt.Errorf("settle the spool: %w", ErrClosed)
	case !s.started:
		return errors.New("settle the spool: it was not prepared")
	case ctx.Err() != nil:
		return fmt.Errorf("settle the spool: %w", context.Cause(ctx))
	}
	if err := s.scan(false); err != nil {
		return fmt.Errorf("settle the spool: %w", err)
	}
	s.settled = true
	for _, st := range s.streams {
		s.conclude(st)
	}
	s.wake()
	return nil
}

// announce hands the streams that were found to whoever receives them.
func (s *Source) announce() {
	defer close(s.found)
	for {
		next, some, settled := s.nextPending()
		if !some && settled {
			return
		}
		var out chan<- backup.Stream
		if some {
			out = s.found
		}
		select {
		case out <- next:
			s.dropPending()
		case <-s.more:
		case <-s.done:
			return
		}
	}
}

func (s *Source) nextPending() (next backup.Stream, some, settled bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.pending) == 0 {
		return next, false, s.settled
	}
	return s.pending[0], true, s.settled
}

func (s *Source) dropPending() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending = s.pending[1:]
}

func (s *Source) wake() {
	select {
	case s.more <- struct{}{}:
	default: // it will look anyway
	}
}
