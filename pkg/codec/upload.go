package codec

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync/atomic"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// upload is a stream that is encoded on its way. Commit is the inner upload's.
type upload struct {
	backup.Upload

	store   *Store
	options backup.UploadOptions
	blocks  *share
	told    *tally
	waiting waiting
	// begun is set when Consume was called.
	begun atomic.Bool
}

// waiting is what the inner upload says of what it waits for.
type waiting struct {
	store   atomic.Bool
	changed chan struct{}
}

func (w *waiting) set(forStore bool) {
	w.store.Store(forStore)
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

// errNotRead means that the inner store took an end where there was none.
var errNotRead = errors.New("the store did not read the stream to its end")

// Consume implements [backup.Upload]. An error of r comes back as it is, wrapped;
// whatever ends it early, it returns when a read of r that is under way has.
func (u *upload) Consume(ctx context.Context, r io.Reader) (backup.Stored, error) {
	if u.begun.Swap(true) {
		return u.Upload.Consume(ctx, r) // which refuses it
	}
	defer u.blocks.close()
	p := newPipeline(ctx, u)
	p.start(r)
	source := &encoded{pipeline: p}
	stored, err := u.Upload.Consume(ctx, source)
	p.stop()
	if err == nil && !source.ended {
		err = fmt.Errorf("upload: %w", errNotRead)
	}
	if err != nil {
		return backup.Stored{}, err
	}
	u.told.end(p.read)
	stored.Bytes, stored.SHA256 = p.read, hex.EncodeToString(p.hash.Sum(nil))
	for i := range stored.Objects {
		stored.Objects[i].Encoding = slices.Clone(u.store.encoding)
	}
	return stored, nil
}

// ageChunk is how many bytes of a stream age authenticates at once, and ageTag
// what it adds to them (age-encryption.org/v1, "Payload").
const (
	ageChunk = 64 << 10
	ageTag   = 16
)

// mark notes how much of what is stored has to be there for so much of the stream:
// of age, the whole of the chunk with its last byte.
func (u *upload) mark(m mark) {
	if len(u.store.recipients) > 0 {
		m.stored = u.store.overhead + (m.stored/ageChunk+1)*(ageChunk+ageTag)
	}
	u.told.add(m)
}

// Abort implements [backup.Upload].
func (u *upload) Abort(ctx context.Context) error {
	if !u.begun.Swap(true) {
		u.blocks.close()
	}
	return u.Upload.Abort(ctx)
}

// encoded is what the inner upload reads.
type encoded struct {
	*pipeline

	body  io.Reader
	ended bool
}

// Read implements io.Reader. A stream without a byte is one here, too: age would
// make something of it.
func (e *encoded) Read(p []byte) (int, error) {
	if e.body == nil {
		if err := e.wait(); err != nil {
			return 0, err
		}
		e.body = e.pipeline
		if len(e.upload.store.recipients) > 0 {
			var err error
			if e.body, err = e.upload.store.encrypted(e.pipeline); err != nil {
				return 0, fmt.Errorf("encrypt: %w", err)
			}
		}
	}
	n, err := e.body.Read(p)
	e.upload.store.cfg.Metrics.encodeStored.Add(float64(n))
	e.ended = err == io.EOF // plain: a wrapped one is a fault
	return n, err
}
