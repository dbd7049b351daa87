package fifo

import (
	"strings"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// openings counts what came to the names of one stream without a byte.
//
// Two witnesses are asked. poll(2) shows a hang-up after a writer that left
// nothing, whoever it was; one that is followed at once by a real one may be
// missed. inotify(7) shows openings and closings of writers. open(2) with
// O_DIRECT reaches the pipe and is then refused with EINVAL, so it is closed as
// a writer but was never opened: IN_CLOSE_WRITE without IN_OPEN (seen on Linux
// 6.18). Equal events that nobody has read yet are merged by the kernel, so
// every count is "at least": an O_DIRECT at the very moment after another
// closing is lost in it.
//
// What cannot be told apart: a writer that died before its first byte from one
// that changed its mind; and O_DIRECT from an ordinary empty opening where the
// kernel gives no events, as on some network file systems.
type openings struct {
	// open are writers and readers that opened and did not yet close.
	open int
	// direct were refused because of O_DIRECT, hangups left no byte.
	direct, hangups int
	// empty is the greater of both.
	empty int
}

// leftEmpty notes that a writer came to p and went without a byte.
func (s *Source) leftEmpty(st *sourceStream, p *pipe) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing || st.refusing {
		return
	}
	st.openings.hangups++
	s.countEmpty(st)
	s.log.Warn("HANA opened a pipe and left it without a byte",
		zap.Stringer("stream", st.report.StreamID), zap.String("pipe", p.id.Name))
}

// touch follows who opens and closes the pipe at name. After the first bytes
// of a stream its pipe has a temporary name or none, of which only the closing
// matters: the openings are our own.
func (s *Source) touch(name string, mask uint32) {
	st, temporary := s.streamAt(name)
	if st == nil || st.refusing {
		return
	}
	o := &st.openings
	switch {
	case mask&unix.IN_OPEN != 0:
		if !temporary {
			o.open++
		}
	case o.open > 0:
		if !temporary || mask&unix.IN_CLOSE_WRITE != 0 {
			o.open--
		}
	case mask&unix.IN_CLOSE_WRITE != 0 && !temporary:
		o.direct++
		s.countEmpty(st)
		s.log.Warn("HANA opened a pipe with O_DIRECT, which pipes refuse (EINVAL)",
			zap.Stringer("stream", st.report.StreamID), zap.String("pipe", name))
	}
}

// countEmpty is called after either count has grown.
func (s *Source) countEmpty(st *sourceStream) {
	if most := max(st.openings.direct, st.openings.hangups); most > st.openings.empty {
		st.openings.empty = most
		s.metrics.emptyOpens.WithLabelValues(directionBackup).Inc()
	}
}

func (s *Source) streamAt(name string) (st *sourceStream, temporary bool) {
	for _, st := range s.streams {
		if name == st.final || name == st.hidden {
			return st, false
		}
		if strings.HasPrefix(name, temporaryPrefix+st.final+".") {
			return st, true
		}
	}
	return nil, false
}
