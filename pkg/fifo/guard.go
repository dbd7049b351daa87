package fifo

import (
	"slices"
	"time"

	"go.uber.org/zap"
)

// follow starts everything that watches armed pipes.
func (s *Source) follow() error {
	events, err := s.dir.subscribe()
	if err != nil {
		return err
	}
	s.events = events
	s.wg.Go(s.followEvents)
	for _, st := range s.streams {
		for _, p := range st.live {
			s.wg.Go(func() { s.guard(st, p) })
		}
	}
	// Whatever happened before the subscription is found by this scan.
	s.scan()
	return nil
}

// guard waits for the first bytes in one pipe, and after a refusal in the pipe
// that took its place.
func (s *Source) guard(st *sourceStream, p *pipe) {
	for p != nil {
		err := p.awaitBytes(func() { s.leftEmpty(st, p) })
		p = s.react(st, p, err)
	}
}

// react decides what the first bytes in p are. It returns the pipe that is to
// be guarded next, or nil.
func (s *Source) react(st *sourceStream, p *pipe, err error) *pipe {
	s.mu.Lock()
	switch {
	case s.closing:
		s.mu.Unlock()
		return nil
	case err != nil:
		s.intrude(st, err.Error())
		s.mu.Unlock()
		return nil
	case st.current == nil && !st.refusing && st.report.Bypass == "":
		s.begin(st, p)
		s.mu.Unlock()
		return nil
	case !st.refusing:
		s.secondWriter(st, p)
	}
	next, err := s.replace(st, p)
	if err != nil {
		s.intrude(st, err.Error())
	}
	st.live = slices.DeleteFunc(st.live, func(other *pipe) bool { return other == p })
	s.mu.Unlock()

	// The writer blocks meanwhile, which also bounds how often this can happen.
	time.Sleep(linger)
	if err := p.file.Close(); err != nil {
		s.log.Error("a writer cannot be refused", zap.String("pipe", p.id.Name), zap.Error(err))
	}
	return next
}

// begin lets the spare take the path of p, which has got its first bytes, and
// makes p ready to stream.
func (s *Source) begin(st *sourceStream, p *pipe) {
	st.current = p
	st.report.Path = s.dir.path + "/" + p.id.Name
	st.report.Opens = 1
	st.report.OpenedAt = time.Now()
	s.metrics.opens.WithLabelValues(directionBackup).Inc()

	// A stream of less than a page may already be closed and renamed, so p
	// may stand at the final name.
	swapped, err := s.dir.swap(st.spare.id.Name, p.id.Name, p.id)
	if err == nil && !swapped && p == st.atHidden {
		_, err = s.dir.swap(st.spare.id.Name, st.final, p.id)
	}
	if err != nil {
		s.intrude(st, err.Error())
	}
	size, err := grow(p.file, s.cfg.PipeSize)
	if err != nil || size < s.cfg.PipeSize {
		s.metrics.shrunk.Inc()
		s.log.Info("a pipe is smaller than wanted", zap.Stringer("stream", st.report.StreamID),
			zap.Int("wanted", s.cfg.PipeSize), zap.Int("size", size), zap.Error(err))
	}
	close(st.begun)
	s.scan()
}

// secondWriter names the path behind which p stands, which for the spare is
// the one that HANA opened first.
func (s *Source) secondWriter(st *sourceStream, p *pipe) {
	where := s.dir.path + "/" + p.id.Name
	if p == st.spare {
		where = st.report.Path
	}
	s.intrude(st, "a second writer wrote to "+where)
}
