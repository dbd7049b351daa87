package codec

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

const (
	// chunkSize is how much is decoded at a time, and chunksAhead how many such
	// pieces wait for the reader.
	chunkSize   = 256 << 10
	chunksAhead = 2
	// decoders is how many goroutines decode one stream.
	decoders = 2
	// widestWindow bounds what a decoder takes. Our frames have blockSize.
	widestWindow = 8 << 20
)

// reader yields a decoded stream. It is decoded ahead by a goroutine of its own, in
// bounded memory, so that whoever reads only copies.
type reader struct {
	metrics *Metrics
	stored  storedReader
	plain   io.Reader
	zstd    *zstd.Decoder // nil without

	chunks, free chan []byte
	ended        chan struct{} // closed by Close
	all          sync.WaitGroup
	err          error // set before chunks is closed

	closing sync.Once
	closed  error

	mu      sync.Mutex
	current []byte
	rest    []byte
}

// storedReader keeps what reading from the store has failed with: decoders put
// their own words in its place.
type storedReader struct {
	io.ReadCloser

	metrics *Metrics
	mu      sync.Mutex
	err     error
}

// Read implements io.Reader. An error that a decoder could take for an end of its
// own is wrapped.
func (r *storedReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	r.metrics.decodeStored.Add(float64(n))
	if err == nil || err == io.EOF { // plain: a wrapped one is a fault
		return n, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
	return n, fmt.Errorf("read what is stored: %w", err)
}

// cause is what kept the stream from being decoded: the store, or what it holds.
func (r *storedReader) cause(err error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return r.err
	}
	return fmt.Errorf("%w: decode: %w", backup.ErrCorrupt, err)
}

// decode puts the decoders of encoding over what is stored, the last step first.
func (r *reader) decode(encoding []string, identities []age.Identity) error {
	r.stored.metrics = r.metrics
	r.plain = &r.stored
	for _, step := range slices.Backward(encoding) {
		var err error
		switch step {
		case backup.EncodingAge:
			err = r.decrypt(identities)
		case backup.EncodingZstd:
			r.zstd, err = zstd.NewReader(r.plain, zstd.WithDecoderConcurrency(decoders), zstd.WithDecoderMaxWindow(widestWindow), zstd.WithDecoderLowmem(true))
			r.plain = r.zstd
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) decrypt(identities []age.Identity) error {
	plain, err := age.Decrypt(r.plain, identities...)
	if _, none := errors.AsType[*age.NoIdentityMatchError](err); none {
		return fmt.Errorf("%w: it is encrypted for others than those in encryption.identityFile", backup.ErrNoIdentity)
	}
	if err != nil {
		return r.stored.cause(err)
	}
	r.plain = plain
	return nil
}

// start decodes ahead until the end, an error, the end of ctx or Close.
func (r *reader) start(ctx context.Context) {
	for range cap(r.free) {
		r.free <- make([]byte, chunkSize)
	}
	r.all.Go(func() {
		defer close(r.chunks)
		for {
			var chunk []byte
			select {
			case chunk = <-r.free:
			case <-r.ended:
				r.err = errClosed
				return
			}
			n, err := backup.Fill(ctx, r.plain, chunk)
			if n > 0 {
				r.metrics.decodePlain.Add(float64(n))
				select {
				case r.chunks <- chunk[:n]:
				case <-r.ended:
					r.err = errClosed
					return
				}
			}
			if err == io.EOF { //nolint:errorlint // only a plain io.EOF is the end, as io.Reader promises; a wrapped one is a fault
				r.err = io.EOF
				return
			}
			if ctx.Err() != nil { // which says nothing about what is stored
				r.err = context.Cause(ctx)
				return
			}
			if err != nil {
				r.err = r.stored.cause(err)
				return
			}
		}
	})
}

var errClosed = errors.New("the reader was closed")

// Read implements io.Reader. io.EOF says that the decoders have seen the end of
// what they know; [backup.Checked] says whether that is the stream.
func (r *reader) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.rest) == 0 {
		if r.current != nil {
			r.free <- r.current[:cap(r.current)]
			r.current = nil
		}
		chunk, more := <-r.chunks
		if !more {
			return 0, r.err
		}
		r.current, r.rest = chunk, chunk
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// Close ends everything and waits for it. It may be called while a Read waits.
func (r *reader) Close() error {
	r.closing.Do(func() {
		close(r.ended)
		r.closed = r.stored.Close() // which ends a read of it
		r.all.Wait()
		if r.zstd != nil {
			r.zstd.Close()
		}
	})
	return r.closed
}
