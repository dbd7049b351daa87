package uploader

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/minio/crc64nvme"
	"github.com/rclone/rclone/fs/object"
	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

const partialPrefix = privatePrefix + "partial/"

// AbsorbsOutages says whether a stream on its way outlives an outage of the store,
// and credentials that are refused: in the chunk lane it does.
func (s *Store) AbsorbsOutages() bool { return s.chunks }

// partialObject is an object at a private key.
type partialObject struct {
	segment *segment
	key     string
}

func (p *partialObject) complete(ctx context.Context) error {
	s := p.segment.store
	o, err := s.find(ctx, p.key)
	if err != nil {
		return err
	}
	moved := false
	err = s.ask(ctx, func(r *remote) (err error) {
		if features := r.fs.Features(); features.Move != nil {
			moved = true
			_, err = features.Move(ctx, o, p.segment.object.Key)
		} else {
			_, err = features.Copy(ctx, o, p.segment.object.Key)
		}
		return err
	})
	if err != nil {
		return err
	}
	if moved {
		s.pruneEmpty(ctx, path.Dir(p.key))
		return nil
	}
	if err := p.discard(ctx); err != nil {
		// The object is complete; Sweep finds what was left.
		s.log.Warn("a partial object was left", zap.String("key", p.key), zap.Error(err))
	}
	return nil
}

func (p *partialObject) discard(ctx context.Context) error {
	s := p.segment.store
	if err := s.remove(ctx, p.key); err != nil {
		return err
	}
	s.pruneEmpty(ctx, path.Dir(p.key))
	return nil
}

// pruneEmpty removes the directories of one upload from dir upwards that are
// empty, on backends that have such a thing. One that is not empty ends it, and
// what uploads have in common stays: another may be about to write there.
func (s *Store) pruneEmpty(ctx context.Context, dir string) {
	f := s.remote.Load().fs
	for f.Features().CanHaveEmptyDirectories && strings.HasPrefix(dir, partialPrefix) {
		if err := f.Rmdir(ctx, dir); err != nil {
			s.log.Debug("keeping a directory", zap.String("key", dir), zap.Error(err))
			return
		}
		dir = path.Dir(dir)
	}
}

// consumePartial streams r through rclone to private keys.
func (u *upload) consumePartial(ctx context.Context, r io.Reader) (backup.Stored, error) {
	paid := u.share.reader(ctx, &pulled{upload: u, reader: r})
	source := &meter{ctx: ctx, upload: u, reader: bufio.NewReaderSize(paid, 64<<10), whole: sha256.New()}
	for {
		more, err := source.more()
		if err != nil {
			return backup.Stored{}, fmt.Errorf("read the stream: %w", err)
		}
		if !more {
			break
		}
		if err := u.putPartial(ctx, source); err != nil {
			return backup.Stored{}, err
		}
	}
	if len(u.segments) == 0 {
		return backup.Stored{}, backup.ErrEmptyStream
	}
	return u.stored(source.whole), nil
}

func (u *upload) putPartial(ctx context.Context, source *meter) error {
	s := u.store
	seg := u.addSegment()
	key := partialPrefix + u.id + "/" + seg.object.Key
	seg.hidden = &partialObject{segment: seg, key: key}
	source.start(seg)
	info := object.NewStaticObjectInfo(key, time.Now(), -1, true, nil, nil)
	// Not by ask: it lasts as long as the stream, and its remote never changes.
	o, err := s.remote.Load().fs.Features().PutStream(ctx, source, info)
	// Waits for a read that a transport may still be in.
	errSource := source.stop()
	switch {
	case errSource != nil:
		return fmt.Errorf("read the stream: %w", errSource)
	case ctx.Err() != nil:
		return joinCause(context.Cause(ctx), err)
	case err != nil:
		return fmt.Errorf("part %d of %s (after %d bytes of the stream): %w", max(len(seg.object.Parts), 1), seg.object.Key, source.total, err)
	case !source.full():
		return fmt.Errorf("%s: the store took %d bytes and did not read to the end", seg.object.Key, seg.object.Size)
	case o.Size() != seg.object.Size:
		return fmt.Errorf("%s: the store shows %d bytes, %d were sent", seg.object.Key, o.Size(), seg.object.Size)
	}
	return nil
}

// pulled tells what Consume waits for where rclone takes the bytes when it likes:
// for the stream during a read of it, else for the store.
type pulled struct {
	upload *upload
	reader io.Reader
}

// Read implements io.Reader.
func (p *pulled) Read(b []byte) (int, error) {
	p.upload.waitForStore(false)
	n, err := p.reader.Read(b)
	p.upload.waitForStore(true)
	return n, err
}

// meter counts and hashes the bytes that rclone reads, and ends each segment
// where it has MaxParts parts.
type meter struct {
	ctx    context.Context //nolint:containedctx // it lives as long as one Consume, whose context this is
	upload *upload
	reader *bufio.Reader
	whole  hash.Hash

	mu      sync.Mutex
	segment *segment
	// later is of the segment when that is not the first; crc and fill are of the
	// part that is not full yet.
	later hash.Hash
	crc   uint64
	fill  int64
	total int64
	ended bool
	err   error
}

// more waits for a byte after those that were read.
func (m *meter) more() (bool, error) {
	if m.ended {
		return false, nil
	}
	if m.ctx.Err() != nil {
		return false, context.Cause(m.ctx)
	}
	_, err := m.reader.Peek(1)
	if err == io.EOF { // plain: a wrapped one is a fault
		m.ended = true
		return false, nil
	}
	return err == nil, err
}

// start begins to count for seg.
func (m *meter) start(seg *segment) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.upload.segments) > 1 {
		m.later = sha256.New()
	}
	m.segment, m.crc, m.fill = seg, 0, 0
}

// Read implements io.Reader. It ends with the segment.
func (m *meter) Read(p []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.segment == nil:
		return 0, errDetached
	case m.err != nil:
		return 0, m.err
	case m.ended || len(m.segment.object.Parts) == m.upload.store.cfg.MaxParts:
		return 0, io.EOF
	case m.ctx.Err() != nil:
		m.err = context.Cause(m.ctx)
		return 0, m.err
	}
	n, err := m.reader.Read(p[:min(int64(len(p)), m.upload.partSize-m.fill)])
	m.count(p[:n])
	switch err {
	case nil:
	case io.EOF: // as in more
		m.ended = true
	default:
		m.err = err
	}
	return n, err
}

// count takes in bytes of one part.
func (m *meter) count(data []byte) {
	// A hash never returns an error (package hash).
	_, _ = m.whole.Write(data)
	if m.later != nil {
		_, _ = m.later.Write(data)
	}
	m.crc = crc64nvme.Update(m.crc, data)
	m.fill += int64(len(data))
	m.total += int64(len(data))
	m.segment.object.Size += int64(len(data))
	if m.fill == m.upload.partSize {
		m.endPart()
	}
	m.upload.acknowledge(int64(len(data)))
}

func (m *meter) endPart() {
	m.segment.object.Parts = append(m.segment.object.Parts,
		backup.Part{Size: m.fill, CRC64NVME: crcText(m.crc)})
	m.crc, m.fill = 0, 0
	m.upload.store.metrics.parts.Inc()
}

// stop ends the segment and returns the error of the stream, if it had one.
func (m *meter) stop() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fill > 0 {
		m.endPart()
	}
	sum := m.whole
	if m.later != nil {
		sum = m.later
	}
	m.segment.object.SHA256 = hex.EncodeToString(sum.Sum(nil))
	m.segment = nil
	return m.err
}

// full tells whether rclone has read all that the last segment may hold.
func (m *meter) full() bool {
	seg := m.upload.segments[len(m.upload.segments)-1]
	return m.ended || len(seg.object.Parts) == m.upload.store.cfg.MaxParts
}
