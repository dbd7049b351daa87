package fifo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// reader reads the bytes of one stream. Close may be called while Read waits.
type reader struct {
	source *Source
	stream *sourceStream
	pipe   *pipe
	cause  func() error
	stop   func() bool
	err    error // sticky, of Read only

	ended     atomic.Bool
	closeOnce sync.Once
	closeErr  error
}

func newReader(ctx context.Context, s *Source, st *sourceStream) *reader {
	p := st.current
	return &reader{
		source: s, stream: st, pipe: p,
		cause: func() error { return context.Cause(ctx) },
		stop: context.AfterFunc(ctx, func() {
			// A closed file, for which os has an error of its own, needs none.
			if err := p.file.SetReadDeadline(time.Unix(1, 0)); errors.Is(err, os.ErrNoDeadline) {
				s.log.Error("a read cannot be interrupted", zap.String("pipe", p.id.Name), zap.Error(err))
			}
		}),
	}
}

// Read returns io.EOF when every writer is gone and the pipe is drained, unless
// there was an intrusion on the stream: then it returns that instead.
func (r *reader) Read(b []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	n, err := r.pipe.file.Read(b)
	r.stream.bytes.Add(int64(n))
	r.source.metrics.bytes.WithLabelValues(directionBackup).Add(float64(n))
	switch {
	case err == nil:
	case errors.Is(err, io.EOF):
		r.ended.Store(true)
		r.err = r.source.end(r.stream)
	case errors.Is(err, os.ErrDeadlineExceeded):
		r.err = r.cause()
	case errors.Is(err, os.ErrClosed):
		r.err = ErrClosed
	default:
		r.err = fmt.Errorf("read pipe: %w", err)
	}
	return n, r.err
}

// Close before the end refuses the stream: HANA's next write fails (EPIPE), and
// so does every further attempt at one of its names until the Source is closed.
// The names are not freed: what HANA creates at a free name is a regular file,
// which may fill the volume.
func (r *reader) Close() error {
	r.closeOnce.Do(func() {
		r.stop()
		s, st := r.source, r.stream
		early := !r.ended.Load()
		s.mu.Lock()
		st.live = slices.DeleteFunc(st.live, func(p *pipe) bool { return p == r.pipe })
		var err error
		if early && !s.closing {
			st.report.ClosedAt = time.Now()
			err = s.refuse(st, r.pipe)
		}
		s.mu.Unlock()
		r.closeErr = errors.Join(err, ignoreClosed(r.pipe.file.Close()))
	})
	return r.closeErr
}

// end looks once more for whatever should not be there before it lets the
// stream end.
func (s *Source) end(st *sourceStream) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	st.report.Complete++
	st.report.ClosedAt = time.Now()
	if s.closing {
		return ErrClosed
	}
	for _, p := range st.live {
		if p == st.current {
			continue
		}
		got, err := events(p.file, unix.POLLIN)
		if err != nil {
			return fmt.Errorf("examine pipe %s: %w", p.id.Name, err)
		}
		if got&unix.POLLIN != 0 {
			s.secondWriter(st, p)
		}
	}
	s.scan()
	if st.report.Intrusion != "" {
		return fmt.Errorf("stream %s: %w: %s", st.report.StreamID, ErrIntrusion, st.report.Intrusion)
	}
	return io.EOF
}
