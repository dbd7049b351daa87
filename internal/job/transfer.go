package job

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
	"github.com/pipestreamer/pipestreamer/pkg/fifo"
	"github.com/pipestreamer/pipestreamer/pkg/spool"
)

// transfer carries one stream from HANA into the store.
type transfer struct {
	job     *live
	stream  backup.Stream
	upload  backup.Upload
	counter *counter
	late    bool // the plan does not name it

	// follower is told what the store has of a file that HANA still writes.
	follower atomic.Pointer[spool.Acknowledger]

	begun     bool
	stored    backup.Stored
	header    []byte
	readError error
	// noSHA256 leaves the SHA-256 out.
	noSHA256 bool
}

// carry waits for the stream and uploads it to its end. A failure is told to
// fail before the pipe is closed: closing it makes HANA's next write fail
// instead of blocking, and what HANA says of that must not come first. Being
// stopped by ctx is not a failure of this stream.
func (t *transfer) carry(ctx context.Context, source *entrance, fail func(*Error)) {
	t.counter.clock.turn(SideHANA)
	defer t.counter.clock.turn("")
	reader, err := source.open(ctx, t, t.bypassed)
	if err != nil {
		if ctx.Err() == nil {
			fail(streamError(StageStream, t.stream.StreamID, CodePipe, err))
		}
		return
	}
	if follower, follows := reader.(spool.Acknowledger); follows {
		t.follower.Store(&follower)
	}
	t.begun = true
	t.note(SideHANA, "began to write")
	t.stored, err = t.upload.Consume(ctx, &watchedReader{transfer: t, reader: reader})
	if err != nil && ctx.Err() == nil {
		fail(t.failure(err))
	}
	if err == nil {
		t.note(SideStore, "has all bytes of it, not yet visible")
	} else {
		t.note(SideDaemon, "closes the pipe: what HANA writes next fails with EPIPE")
	}
	if errClose := reader.Close(); err == nil && errClose != nil {
		fail(streamError(StageStream, t.stream.StreamID, CodePipe, fmt.Errorf("close: %w", errClose)))
	}
	t.counter.done.Store(err == nil)
}

// bypassed tells that HANA writes a file instead of the pipe.
func (t *transfer) bypassed(err error) {
	t.note(SideHANA, "writes past the pipe, its file is taken instead: %v", err)
	t.job.warn("HANA wrote stream " + t.stream.String() + " past its pipe, to a file on the volume, from where it was stored")
}

// note adds what happened to this stream to the job's history.
func (t *transfer) note(side Side, format string, args ...any) {
	t.job.noteStream(side, t.stream.StreamID, t.counter, format, args...)
}

// options are those of the stream's upload.
func (t *transfer) options() backup.UploadOptions {
	return backup.UploadOptions{
		EstimatedSize: t.stream.EstimatedSize, Encode: true, NoSHA256: t.noSHA256,
		Progress: func(n int64) { t.counter.stored.Add(n) },
		Safe: func(offset int64) {
			if follower := t.follower.Load(); follower != nil {
				(*follower).Acknowledge(offset)
			}
		},
		Waiting: func(forStore bool) {
			if forStore {
				t.counter.clock.turn(SideStore)
			} else {
				t.counter.clock.turn(SideDaemon)
			}
		},
		Trouble: func(err error) {
			began, lasted := t.counter.store.hear(err)
			switch {
			case began:
				t.note(SideStore, "fails, is asked again: %v", err)
			case lasted > 0:
				t.note(SideStore, "works again after %s", lasted.Round(time.Millisecond))
			}
		},
	}
}

// refuse waits until ctx ends for the first bytes of a stream that carry was
// stopped from waiting for, and closes it: HANA gets EPIPE.
func (t *transfer) refuse(ctx context.Context, source *entrance) {
	if t.begun || t.late || source.pipes == nil {
		return
	}
	reader, err := source.pipes.Open(ctx, t.stream)
	if err != nil {
		return // nothing came
	}
	// The backup has failed before; nothing is read.
	_ = reader.Close()
}

// failure tells whether the pipe or the store made Consume fail.
func (t *transfer) failure(err error) *Error {
	code := CodeUpload
	switch {
	case t.readError == nil:
	case errors.Is(t.readError, fifo.ErrIntrusion), errors.Is(t.readError, spool.ErrIntrusion):
		code, err = CodeIntrusion, t.readError
	default:
		code, err = CodePipe, t.readError
	}
	return streamError(StageStream, t.stream.StreamID, code, fmt.Errorf("after %d bytes: %w", t.counter.bytes.Load(), err))
}

// evidence is what this transfer knows for the verdict.
func (t *transfer) evidence(report backup.StreamReport) streamEvidence {
	header, err := backup.ParseHeader(t.header)
	return streamEvidence{stream: t.stream, report: report, stored: t.stored, header: header, headerErr: err}
}

// watchedReader counts a stream, keeps its header and tells apart what failed:
// the pipe or the store.
type watchedReader struct {
	*transfer

	reader io.Reader
}

func (r *watchedReader) Read(p []byte) (int, error) {
	r.counter.clock.turn(SideHANA)
	n, err := r.reader.Read(p)
	r.counter.clock.turn(SideDaemon)
	if missing := backup.HeaderSize - len(r.header); missing > 0 {
		r.header = append(r.header, p[:min(n, missing)]...)
	}
	r.counter.bytes.Add(int64(n))
	switch {
	case err == nil:
	case errors.Is(err, io.EOF):
		r.note(SideHANA, "closed it")
	default:
		r.readError = err
	}
	return n, err
}
