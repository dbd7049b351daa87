package fifo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

type openFunc = func(context.Context) (io.ReadCloser, error)

// Serve implements [backup.Sink]. It is called once per stream. Openings that
// overlap are served side by side, each with a reader of its own: HANA may hold
// one that it has stopped reading while it reads another. When Close ends it
// before ctx does, it returns [ErrClosed]. The readers that open gives must
// obey the context that it gets.
func (s *Sink) Serve(ctx context.Context, stream backup.Stream, open func(context.Context) (io.ReadCloser, error)) error {
	st, err := s.claim(stream.StreamID)
	if err != nil {
		return err
	}
	inner, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	wg.Go(func() {
		select {
		case <-s.done:
			cancel(ErrClosed)
		case <-inner.Done():
		}
	})
	for {
		w, err := s.awaitReader(inner, st)
		if err != nil {
			cancel(err) // the first cause stays
			break
		}
		wg.Go(func() {
			if err := s.serve(inner, st, w, open); err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	// A cancelled ctx is the cause of inner, unless something failed before.
	if cause := context.Cause(inner); ctx.Err() == nil || !errors.Is(cause, context.Cause(ctx)) {
		return fmt.Errorf("serve stream %s: %w", stream.StreamID, cause)
	}
	return nil
}

func (s *Sink) claim(id backup.StreamID) (*sinkStream, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, st := range s.streams {
		if st.report.StreamID != id {
			continue
		}
		if st.serving {
			return nil, fmt.Errorf("serve stream %s: it is being served", id)
		}
		st.serving = true
		return st, nil
	}
	return nil, fmt.Errorf("serve stream %s: it is not in the plan", id)
}

// awaitReader returns the write end of a pipe that HANA has opened, after
// another pipe took its path.
//
// open(2) of a pipe with O_WRONLY|O_NONBLOCK fails with ENXIO until there is a
// reader, and one that is blocked in open(2) counts (fifo(7)). So success means
// that HANA is there, and no reader can be missed by looking too late. That
// looking and swapping are two steps does no harm: no byte is in the pipe
// before the swap, so a reader that closes at once and opens again meets either
// the same pipe, still empty, or the next one. Nobody who has read a byte can
// meet its pipe again.
func (s *Sink) awaitReader(ctx context.Context, st *sinkStream) (*os.File, error) {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for look := 1; ; look++ {
		w, err := s.tryOpen(st)
		if err == nil {
			if err := s.renew(st); err != nil {
				return nil, errors.Join(err, w.Close())
			}
			return w, nil
		}
		if !errors.Is(err, unix.ENXIO) {
			return nil, err
		}
		if look == quickLooks {
			ticker.Reset(idleInterval)
		}
		if look%checkEvery == 0 {
			if err := s.check(st); err != nil {
				return nil, err
			}
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-ticker.C:
		}
	}
}

func (s *Sink) tryOpen(st *sinkStream) (*os.File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return nil, ErrClosed
	}
	return st.waiting.reopen(unix.O_WRONLY | unix.O_NONBLOCK)
}

// serve writes one stream to one opening. HANA closing early is not an error.
func (s *Sink) serve(ctx context.Context, st *sinkStream, w *os.File, open openFunc) (err error) {
	defer func() { err = errors.Join(err, w.Close()) }()
	stop := context.AfterFunc(ctx, func() {
		// A closed file, for which os has an error of its own, needs none.
		if err := w.SetWriteDeadline(time.Unix(1, 0)); errors.Is(err, os.ErrNoDeadline) {
			s.log.Error("a write cannot be interrupted", zap.String("pipe", w.Name()), zap.Error(err))
		}
	})
	defer stop()
	o := &opening{sink: s, stream: st, pipe: w}
	defer o.finish()
	if size, err := grow(w, s.cfg.PipeSize); err != nil || size < s.cfg.PipeSize {
		s.metrics.shrunk.Inc()
		s.log.Info("a pipe is smaller than wanted", zap.Stringer("stream", st.report.StreamID),
			zap.Int("wanted", s.cfg.PipeSize), zap.Int("size", size), zap.Error(err))
	}
	if got, err := events(w, unix.POLLOUT); err != nil || got&unix.POLLERR != 0 {
		o.left = err == nil
		return err
	}
	r, err := open(ctx)
	if err != nil {
		return err
	}
	if err := o.copy(r); err != nil {
		return errors.Join(cause(ctx, err), r.Close())
	}
	if err := r.Close(); err != nil {
		return err
	}
	return o.drain(ctx)
}

// cause replaces what a context did to err by why.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil && (errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, ctx.Err())) {
		return context.Cause(ctx)
	}
	return err
}

// opening is one reading of a stream by HANA.
type opening struct {
	sink   *Sink
	stream *sinkStream
	pipe   *os.File
	number int // among the openings with bytes
	bytes  int64
	left   bool // HANA closed before the end
}

// errLeft says that HANA has closed the pipe.
var errLeft = errors.New("HANA closed the pipe")

// copy returns nil when everything was written or HANA left. A reader that has the
// bytes in memory of its own writes them from there.
func (o *opening) copy(r io.Reader) error {
	var err error
	if memory, has := r.(io.WriterTo); has {
		_, err = memory.WriteTo(o)
	} else {
		_, err = io.CopyBuffer(o, struct{ io.Reader }{r}, make([]byte, serveBuffer))
	}
	switch {
	case errors.Is(err, errLeft):
		o.left = true
		return nil
	case err == nil && o.bytes == 0:
		return backup.ErrEmptyStream
	default:
		return err
	}
}

// Write implements io.Writer.
func (o *opening) Write(p []byte) (int, error) {
	n, err := o.pipe.Write(p)
	o.count(int64(n))
	switch {
	case errors.Is(err, unix.EPIPE):
		return n, errLeft
	case err != nil:
		return n, fmt.Errorf("write pipe: %w", err)
	default:
		return n, nil
	}
}

// count keeps the report of the stream, whose Bytes are of the latest opening.
func (o *opening) count(n int64) {
	if n == 0 {
		return
	}
	s, st := o.sink, o.stream
	s.mu.Lock()
	defer s.mu.Unlock()
	o.bytes += n
	if o.number == 0 {
		st.opening++
		o.number = st.opening
		st.report.Opens++
		if st.report.OpenedAt.IsZero() {
			st.report.OpenedAt = time.Now()
			st.report.Path = s.dir.path + "/" + st.name
		}
	}
	s.metrics.bytes.WithLabelValues(directionRestore).Add(float64(n))
	if o.number == st.opening {
		st.report.Bytes = o.bytes
	}
}

// drain waits until HANA has taken the last byte out of the pipe: closing
// before would let bytes that nobody reads look delivered. The kernel does not
// report that a pipe is empty, so it is asked. HANA may end ctx by answering as
// soon as it has the last byte, so the pipe is looked at once more after that.
func (o *opening) drain(ctx context.Context) error {
	if o.left {
		return nil
	}
	for wait := drainInterval; ; wait = min(2*wait, pollInterval) {
		ended := ctx.Err() != nil
		// In this order: HANA may read the last byte and close in between.
		got, err := events(o.pipe, unix.POLLOUT)
		if err != nil {
			return fmt.Errorf("drain pipe: %w", err)
		}
		n, err := unread(o.pipe)
		if err != nil {
			return fmt.Errorf("drain pipe: %w", err)
		}
		if n == 0 {
			o.sink.mu.Lock()
			o.stream.report.Complete++
			o.sink.mu.Unlock()
			return nil
		}
		if got&unix.POLLERR != 0 {
			o.left = true
			return nil
		}
		if ended {
			return context.Cause(ctx)
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// finish takes off what HANA left in the pipe and notes the end.
func (o *opening) finish() {
	n, err := unread(o.pipe)
	if err != nil {
		o.sink.log.Warn("the bytes left in a pipe cannot be counted", zap.String("pipe", o.pipe.Name()), zap.Error(err))
	}
	s, st := o.sink, o.stream
	s.mu.Lock()
	defer s.mu.Unlock()
	if o.number == st.opening {
		st.report.Bytes = o.bytes - int64(n)
	}
	if o.bytes > int64(n) {
		s.metrics.opens.WithLabelValues(directionRestore).Inc()
		if st.report.ClosedAt.IsZero() {
			st.report.ClosedAt = time.Now()
		}
		return
	}
	if o.number > 0 { // bytes went into the pipe, and HANA took none
		st.report.Opens--
	}
	if !o.left {
		return // it was us who ended it
	}
	st.report.EmptyOpens++
	s.metrics.emptyOpens.WithLabelValues(directionRestore).Inc()
	s.log.Warn("HANA opened a pipe and left it without a byte; a pipe refuses O_DIRECT",
		zap.Stringer("stream", st.report.StreamID))
}
