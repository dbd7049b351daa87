package uploader

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync"
	"time"

	"github.com/minio/crc64nvme"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// errMakeRoom ends an attempt because the credentials change. It passes.
var errMakeRoom = errors.New("the credentials are being changed")

// part is one piece of a multipart upload on its way.
type part struct {
	segment *segment
	// number counts from 0.
	number int
	// offset is where it begins in the stream.
	offset int64
	data   []byte
	// sum is its SHA-256 in hex, empty when nobody wants it; crc its CRC-64/NVME.
	sum string
	crc uint64
}

// checksum returns what p is compared by, and the hex digits to expect.
func checksum(p backup.Part) (hash.Hash, string) {
	if p.CRC64NVME != "" {
		return crc64nvme.New(), p.CRC64NVME
	}
	return sha256.New(), p.SHA256
}

// crcText is a CRC-64/NVME as manifests have it.
func crcText(crc uint64) string { return fmt.Sprintf("%016x", crc) }

// matches compares data with the checksum of p.
func matches(data []byte, p backup.Part) bool {
	sum, want := checksum(p)
	_, _ = sum.Write(data) // a hash never returns an error (package hash)
	return hex.EncodeToString(sum.Sum(nil)) == want
}

func (p *part) String() string {
	return fmt.Sprintf("part %d of %s (bytes %d-%d)", p.number+1, p.segment.object.Key, p.offset, p.offset+int64(len(p.data))-1)
}

// sendPart returns when the store has acknowledged p.
func (u *upload) sendPart(ctx context.Context, p *part) error {
	s := u.store
	started := time.Now()
	inFlight := s.metrics.inFlight.WithLabelValues(directionUp)
	inFlight.Inc()
	defer inFlight.Dec()
	sender := p.segment.hidden.(*chunkObject).sender
	err := s.persist(ctx, u.task("part"), func(ctx context.Context) error { return s.tryPart(ctx, sender, p) })
	if err != nil {
		return fmt.Errorf("%s: %w", p, err)
	}
	s.metrics.partTime.Observe(time.Since(started).Seconds())
	s.metrics.parts.Inc()
	u.acknowledge(int64(len(p.data)))
	return nil
}

// tryPart makes one attempt. It is ended when nothing of the part has moved for
// StallTimeout. When ctx ends it is left behind, without the data: rclone may be
// waiting for the turn of a request, which no context ends (lib/pacer,
// beginCall). After that the upload can only be aborted; a part is never sent
// again beside an attempt of itself.
func (s *Store) tryPart(ctx context.Context, sender sender, p *part) error {
	attempt, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	body := p.segment.upload.share.body(attempt, &partBody{reader: bytes.NewReader(p.data)})
	defer body.detach()
	if !retriesInside(s.kind) {
		silence := time.AfterFunc(s.cfg.StallTimeout, func() { cancel(errSilent) })
		defer silence.Stop()
		body.moved = func() { silence.Reset(s.cfg.StallTimeout) }
		body.waits = func(waits bool) {
			if waits {
				silence.Stop()
			} else {
				body.moved()
			}
		}
	}
	leave := *s.secrets.leave.Load()
	done := make(chan error, 1)
	s.behind.Go(func() {
		done <- s.ask(attempt, func(*remote) error { return sender.send(attempt, p, body) })
	})
	for {
		select {
		case err := <-done:
			return s.because(ctx, attempt, err)
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-leave:
			cancel(errMakeRoom)
			leave = nil
		}
	}
}

// partBody reads a part buffer until it is detached. An HTTP transport may read
// a request's body for a moment after the request has failed, when the buffer
// already holds the next part (net/http, RoundTripper).
type partBody struct {
	// moved, when set, is called for each read.
	moved func()

	mu     sync.Mutex
	reader *bytes.Reader
}

var errDetached = errors.New("the part was given up")

// Read implements io.Reader.
func (b *partBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.reader == nil {
		return 0, errDetached
	}
	if b.moved != nil {
		b.moved()
	}
	return b.reader.Read(p)
}

// Seek implements io.Seeker.
func (b *partBody) Seek(offset int64, whence int) (int64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.reader == nil {
		return 0, errDetached
	}
	return b.reader.Seek(offset, whence)
}

func (b *partBody) detach() {
	b.mu.Lock()
	b.reader = nil
	b.mu.Unlock()
}

var _ io.ReadSeeker = (*partBody)(nil)
