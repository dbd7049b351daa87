package uploader

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

var errClosed = errors.New("the reader was closed")

// readTries is how often a part that does not match is read in all: the fault
// may have been on the way.
const readTries = 2

// OpenStream implements [backup.StreamOpener]. It waits until ctx ends for the
// memory of one part; more parts are fetched ahead while the budget has room.
// ctx governs the reads as well. Close ends everything and waits for it.
func (s *Store) OpenStream(ctx context.Context, objects []backup.Object) (io.ReadCloser, error) {
	largest, err := s.checkObjects(objects)
	if err != nil {
		return nil, fmt.Errorf("open stream: %w", err)
	}
	reserved, err := s.memory.reserve(ctx, largest, 1, s.cfg.Concurrency)
	if err != nil {
		return nil, fmt.Errorf("open stream: %w", err)
	}
	reserved.download = true
	ctx, cancel := context.WithCancelCause(ctx)
	r := &streamReader{
		store: s, ctx: ctx, cancel: cancel, buffers: reserved,
		queue: make(chan *fetch, s.cfg.Concurrency), share: s.limiter.share(),
	}
	r.workers.Go(func() { r.plan(objects) })
	return r, nil
}

// checkObjects refuses what cannot be a stream and returns its largest part.
func (s *Store) checkObjects(objects []backup.Object) (int64, error) {
	largest := int64(1)
	for i := range objects {
		o := &objects[i]
		if err := checkKey(o.Key); err != nil {
			return 0, err
		}
		var sum int64
		for n, part := range o.Parts {
			if part.Size <= 0 || part.Size > s.memory.size {
				return 0, fmt.Errorf("%s: part %d has %d bytes: expected 1 to the memory budget of %d",
					o.Key, n+1, part.Size, s.memory.size)
			}
			check, want := checksum(part)
			if digest, err := hex.DecodeString(want); err != nil || len(digest) != check.Size() {
				return 0, fmt.Errorf("%s: part %d has no checksum", o.Key, n+1)
			}
			sum += part.Size
			largest = max(largest, part.Size)
		}
		if sum != o.Size || sum == 0 {
			return 0, fmt.Errorf("%s: its parts add up to %d of %d bytes", o.Key, sum, o.Size)
		}
	}
	return largest, nil
}

// fetch is one part on its way. done is closed when err or the buffer is there.
type fetch struct {
	object *backup.Object
	number int
	offset int64
	share  *share
	buffer *[]byte
	done   chan struct{}
	err    error
}

// streamReader delivers parts in order.
type streamReader struct {
	store   *Store
	ctx     context.Context //nolint:containedctx // it is the life of the reader, ended by Close
	cancel  context.CancelCauseFunc
	workers sync.WaitGroup
	queue   chan *fetch
	share   *share

	mu      sync.Mutex
	buffers *buffers
	current *fetch
	rest    []byte
	err     error
}

// plan starts a fetch for every part in order, as far ahead as there is memory.
func (r *streamReader) plan(objects []backup.Object) {
	defer close(r.queue)
	for i := range objects {
		var offset int64
		for number, part := range objects[i].Parts {
			buffer, err := r.buffers.get(r.ctx)
			if err != nil {
				return // the reader sees the same end of ctx
			}
			*buffer = (*buffer)[:part.Size]
			f := &fetch{object: &objects[i], number: number, offset: offset, share: r.share, buffer: buffer, done: make(chan struct{})}
			offset += part.Size
			r.workers.Go(func() {
				defer close(f.done)
				f.err = r.store.fetchPart(r.ctx, f)
			})
			// There are never more buffers than places in the queue.
			r.queue <- f
		}
	}
}

// fetchPart fills f's buffer and compares it with its checksum.
func (s *Store) fetchPart(ctx context.Context, f *fetch) error {
	what := fmt.Sprintf("part %d of %s", f.number+1, f.object.Key)
	inFlight := s.metrics.inFlight.WithLabelValues(directionDown)
	inFlight.Inc()
	defer inFlight.Dec()
	for try := 1; ; try++ {
		err := s.retry(ctx, "read", s.cfg.OutageTolerance, func(ctx context.Context) error { return s.readPart(ctx, f) })
		if err != nil {
			return fmt.Errorf("read %s: %w", what, err)
		}
		if matches(*f.buffer, f.object.Parts[f.number]) {
			s.metrics.downloaded.Add(float64(len(*f.buffer)))
			return nil
		}
		s.metrics.failed(backup.ErrCorrupt)
		if try == readTries {
			s.metrics.corrupt.Inc()
			return fmt.Errorf("read %s: %w", what, backup.ErrCorrupt)
		}
		s.log.Warn("a part does not match its checksum, reading it again",
			zap.String("key", f.object.Key), zap.Int("part_number", f.number+1))
	}
}

func (s *Store) readPart(ctx context.Context, f *fetch) error {
	if s.direct != nil {
		return s.readDirect(ctx, f)
	}
	o, err := s.find(ctx, f.object.Key)
	if err != nil {
		return err
	}
	if o.Size() != f.object.Size {
		return fmt.Errorf("%w: the object has %d bytes, expected %d", backup.ErrCorrupt, o.Size(), f.object.Size)
	}
	body, err := s.openRange(ctx, o, f.offset, int64(len(*f.buffer)))
	if err != nil {
		return err
	}
	_, err = io.ReadFull(f.share.reader(ctx, body), *f.buffer)
	return errors.Join(err, body.Close())
}

// readDirect ends when nothing has come for StallTimeout.
func (s *Store) readDirect(ctx context.Context, f *fetch) error {
	attempt, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silence := time.AfterFunc(s.cfg.StallTimeout, func() { cancel(errSilent) })
	defer silence.Stop()
	var body io.ReadCloser
	err := s.ask(attempt, func(*remote) (err error) {
		body, err = s.direct.open(attempt, f.object.Key, f.offset, int64(len(*f.buffer)), f.object.Size)
		return err
	})
	if err != nil {
		return s.because(ctx, attempt, err)
	}
	reader := &movingReader{f.share.reader(attempt, body), func() { silence.Reset(s.cfg.StallTimeout) }}
	_, err = io.ReadFull(reader, *f.buffer)
	return s.because(ctx, attempt, errors.Join(err, body.Close()))
}

// movingReader tells of each read.
type movingReader struct {
	io.Reader

	moved func()
}

func (r *movingReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	r.moved()
	return n, err
}

// Read implements io.Reader.
func (r *streamReader) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.rest) == 0 {
		if r.err == nil {
			r.err = r.next()
		}
		if r.err != nil {
			return 0, r.err
		}
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// writePiece is the most that WriteTo writes at once: a reader of a pipe shows how
// far it is by what it has taken.
const writePiece = mebibyte

// WriteTo implements io.WriterTo: it spares a copy of each part. Close waits for a
// Write of w.
func (r *streamReader) WriteTo(w io.Writer) (written int64, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		for len(r.rest) > 0 {
			n, err := w.Write(r.rest[:min(len(r.rest), writePiece)])
			r.rest = r.rest[n:]
			written += int64(n)
			if err != nil {
				return written, err
			}
		}
		if r.err == nil {
			r.err = r.next()
		}
		if r.err == io.EOF { //nolint:errorlint // next returns it plain
			return written, nil
		}
		if r.err != nil {
			return written, r.err
		}
	}
}

// next makes the following part the current one.
func (r *streamReader) next() error {
	if r.current != nil {
		r.buffers.put(r.current.buffer)
		r.current = nil
	}
	var f *fetch
	select {
	case f = <-r.queue:
	case <-r.ctx.Done():
		return context.Cause(r.ctx)
	}
	if f == nil {
		if r.ctx.Err() != nil {
			return context.Cause(r.ctx)
		}
		return io.EOF
	}
	r.current = f
	select {
	case <-f.done:
	case <-r.ctx.Done():
		return context.Cause(r.ctx)
	}
	if f.err == nil {
		r.rest = *f.buffer
	}
	return f.err
}

// Close implements io.Closer. It may be called while a Read waits.
func (r *streamReader) Close() error {
	r.cancel(errClosed)
	r.workers.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.buffers == nil {
		return nil
	}
	for f := range r.queue {
		r.buffers.put(f.buffer)
	}
	if r.current != nil {
		r.buffers.put(r.current.buffer)
		r.current = nil
	}
	r.buffers.close()
	r.buffers, r.rest, r.err = nil, nil, errClosed
	return nil
}
