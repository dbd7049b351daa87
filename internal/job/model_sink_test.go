package job

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
	"github.com/pipestreamer/pipestreamer/pkg/fifo"
)

// modelSink is the front door of a restore.
type modelSink struct {
	w    *modelWorld
	spec *restoreSpec

	mu      sync.Mutex
	plan    backup.Plan
	reports []backup.StreamReport
	asked   []chan *modelReading // HANA's openings, by stream
	closed  chan struct{}
	// blocked counts HANA's threads that cannot go on before somebody writes.
	blocked atomic.Int64
}

// modelReading is one opening by HANA.
type modelReading struct {
	pieces chan []byte   // closed at the end of the stream, however it came
	left   chan struct{} // HANA has closed it
}

func newModelSink(w *modelWorld, spec *restoreSpec) *modelSink {
	return &modelSink{w: w, spec: spec, closed: make(chan struct{})}
}

// Names tells what Prepare will make.
func (k *modelSink) Names(plan backup.Plan) ([]fifo.PipeID, error) {
	var ids []fifo.PipeID
	for _, s := range plan.Streams {
		ids = append(ids, fifo.PipeID{Name: plan.FileName(s.StreamID)})
	}
	return ids, k.spec.namesErr
}

// Pipes identifies what Prepare made.
func (k *modelSink) Pipes() []fifo.PipeID {
	ids, err := k.Names(k.plan)
	if err != nil {
		return nil
	}
	return ids
}

// Prepare makes every stream openable.
func (k *modelSink) Prepare(ctx context.Context, plan backup.Plan) error {
	if err := k.w.pause(ctx, k.spec.delay); err != nil {
		return err
	}
	if k.spec.prepareErr != nil {
		return k.spec.prepareErr
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.plan = plan
	for _, s := range plan.Streams {
		k.reports = append(k.reports, backup.StreamReport{StreamID: s.StreamID})
		k.asked = append(k.asked, make(chan *modelReading))
	}
	return nil
}

// Serve answers every opening of one stream.
func (k *modelSink) Serve(ctx context.Context, s backup.Stream, open func(context.Context) (io.ReadCloser, error)) error {
	i := slices.IndexFunc(k.plan.Streams, func(p backup.Stream) bool { return p.StreamID == s.StreamID })
	for {
		if k.spec.serveErr != nil && i == 0 {
			return k.spec.serveErr
		}
		select {
		case reading := <-k.asked[i]:
			if err := k.feed(ctx, i, reading, open); err != nil {
				return err
			}
		case <-ctx.Done():
			return nil
		case <-k.closed:
			return nil
		}
	}
}

// feed gives one opening its bytes from 0 on.
func (k *modelSink) feed(ctx context.Context, i int, reading *modelReading, open func(context.Context) (io.ReadCloser, error)) (err error) {
	defer close(reading.pieces)
	reader, err := open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, reader.Close()) }()
	for {
		piece := make([]byte, 3000)
		n, err := reader.Read(piece)
		if n > 0 {
			select {
			case reading.pieces <- piece[:n]:
			case <-reading.left:
				return nil
			case <-ctx.Done():
				return nil
			case <-k.closed:
				return nil
			}
		}
		if errors.Is(err, io.EOF) {
			k.count(func() { k.reports[i].Complete++ })
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (k *modelSink) count(change func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	change()
}

// Report tells what HANA has read.
func (k *modelSink) Report() []backup.StreamReport {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.reports)
}

// Close lets go of HANA.
func (k *modelSink) Close() error {
	k.mu.Lock()
	if !isClosed(k.closed) {
		close(k.closed)
	}
	k.mu.Unlock()
	k.w.sleep(k.spec.delay)
	return k.spec.closeErr
}

// read is HANA reading one file: its bytes up to limit, and whether that was
// all that it could have.
func (k *modelSink) read(i, limit int, pause time.Duration) []byte {
	reading := &modelReading{pieces: make(chan []byte), left: make(chan struct{})}
	defer close(reading.left)
	k.blocked.Add(1)
	defer k.blocked.Add(-1)
	select {
	case k.asked[i] <- reading:
	case <-k.closed:
		return nil
	case <-k.w.over:
		return nil
	}
	k.count(func() { k.reports[i].Opens++ })
	var text []byte
	for len(text) < limit {
		k.w.sleep(pause)
		select {
		case piece, more := <-reading.pieces:
			if !more {
				return text
			}
			text = append(text, piece...)
		case <-k.closed:
			return text
		case <-k.w.over:
			return text
		}
	}
	return text
}
