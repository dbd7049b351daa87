package uploader

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/minio/crc64nvme"
	"github.com/rclone/rclone/fs"
	"github.com/rclone/rclone/fs/object"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// chunkObject is a multipart upload that is not completed.
type chunkObject struct {
	segment *segment
	sender  sender
}

// sender is a multipart upload at the store. An attempt of any of its methods may
// be made again after an error.
type sender interface {
	// send puts p into the store; body reads its bytes. Parts are sent at once
	// and in any order.
	send(ctx context.Context, p *part, body io.ReadSeeker) error
	// complete makes one object of the parts.
	complete(ctx context.Context) error
	// abort drops the parts.
	abort(ctx context.Context) error
	// signs says that send needs the SHA-256 of each part.
	signs() bool
}

// rcloneUpload is a sender that rclone drives.
type rcloneUpload struct{ writer fs.ChunkWriter }

func (u rcloneUpload) send(ctx context.Context, p *part, body io.ReadSeeker) error {
	n, err := u.writer.WriteChunk(ctx, p.number, body)
	if err == nil && n != int64(len(p.data)) {
		return fmt.Errorf("the store took %d of %d bytes", n, len(p.data))
	}
	return err
}

func (u rcloneUpload) complete(ctx context.Context) error { return u.writer.Close(ctx) }

func (u rcloneUpload) abort(ctx context.Context) error { return u.writer.Abort(ctx) }

// openChunks starts the multipart upload of the next segment.
func (u *upload) openChunks(ctx context.Context) (*segment, error) {
	key := backup.SegmentKey(u.key, len(u.segments)+1)
	t := u.task("begin")
	if len(u.segments) == 0 && !u.options.Patient {
		t.patience, t.grace = shortPatience, 0 // nothing is at stake yet
	}
	var sender sender
	err := u.store.persist(ctx, t, func(ctx context.Context) error {
		return u.store.ask(ctx, func(r *remote) error {
			return u.store.within(ctx, func(ctx context.Context) (err error) {
				sender, err = u.create(ctx, r, key)
				return err
			})
		})
	})
	if err != nil {
		return nil, fmt.Errorf("start multipart upload of %s: %w", key, err)
	}
	seg := u.addSegment()
	seg.hidden = &chunkObject{segment: seg, sender: sender}
	return seg, nil
}

func (rcloneUpload) signs() bool { return false }

// create asks for a multipart upload, once.
func (u *upload) create(ctx context.Context, r *remote, key string) (sender, error) {
	if u.store.direct != nil {
		return u.store.direct.create(ctx, key, u)
	}
	var options []fs.OpenOption
	if u.store.kind == "s3" {
		options = append(options, &fs.HTTPOption{Key: "X-Amz-Meta-" + markName, Value: u.id})
	}
	if u.conditional {
		options = append(options, &fs.HTTPOption{Key: "If-None-Match", Value: "*"})
	}
	info := object.NewStaticObjectInfo(key, time.Now(), -1, true, nil, nil)
	_, writer, err := r.fs.Features().OpenChunkWriter(ctx, key, info, options...)
	return rcloneUpload{writer}, err
}

// complete has the store put the parts together. It is not asked for the ETag
// that a multipart upload should have: that is made of the MD5 of each part,
// which rclone keeps to itself and which would cost a second MD5 of every byte,
// and it is another one where the store encrypts with keys of KMS or of the
// client. Each part was sent with a checksum, and is named here by the ETag that
// the store gave for it.
func (c *chunkObject) complete(ctx context.Context) error {
	s := c.segment.store
	return s.ask(ctx, func(*remote) error { return s.within(ctx, c.sender.complete) })
}

func (c *chunkObject) discard(ctx context.Context) error {
	if c.segment.shown {
		return nil // completed: no multipart upload is left
	}
	if c.segment.store.kind == "azureblob" {
		// rclone drops the blocks of an Azure blob by committing the blob
		// without them, which would empty one that somebody else put there in
		// a single request. Azure drops such blocks by itself after 7 days.
		if exists, _, err := c.segment.look(ctx); err != nil || exists {
			return err
		}
	}
	if err := c.abort(ctx); err != nil || c.segment.store.kind != "s3" {
		return err
	}
	// A part whose request was cancelled may still be on its way inside the
	// store and outlive the abort; S3 says to abort again then
	// (AbortMultipartUpload in its API reference).
	for _, pause := range []time.Duration{100 * time.Millisecond, 300 * time.Millisecond} {
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		}
		if err := c.abort(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (c *chunkObject) abort(ctx context.Context) error {
	err := c.segment.store.ask(ctx, func(*remote) error { return c.sender.abort(ctx) })
	if isStatus(err, http.StatusNotFound) {
		err = nil
	}
	if err == nil {
		c.segment.upload.answered()
	}
	return err
}

// chunkRun is one Consume in the chunk lane.
type chunkRun struct {
	*upload
	cancel  context.CancelCauseFunc
	workers sync.WaitGroup
	// whole is of the stream, nil when nobody wants it. later is of the current
	// segment when that is not the first one, whose sum is the stream's up to
	// there.
	whole, later hash.Hash
	// offset is where the next part begins in the stream, and safe the front of
	// those that the store has.
	offset int64
	safe   front
}

// consumeChunks reads r into part buffers and sends each from a goroutine of its
// own; how many there are at once is bounded by the buffers. The first error of
// any of them is the cause of ctx and is returned.
func (u *upload) consumeChunks(ctx context.Context, cancel context.CancelCauseFunc, r io.Reader) (backup.Stored, error) {
	run := &chunkRun{upload: u, cancel: cancel}
	if !u.options.NoSHA256 {
		run.whole = sha256.New()
	}
	if err := run.read(ctx, r); err != nil {
		cancel(err)
	} else {
		u.waitForStore(true)
	}
	run.workers.Wait()
	u.waitForStore(false)
	if ctx.Err() != nil {
		return backup.Stored{}, context.Cause(ctx)
	}
	return u.stored(run.whole), nil
}

// read runs until the end of r, or the first error of anything.
func (c *chunkRun) read(ctx context.Context, r io.Reader) error {
	seg := c.segments[0]
	for ended := false; !ended; {
		buffer, err := c.buffer(ctx)
		if err != nil {
			return err
		}
		n, err := backup.Fill(ctx, r, *buffer)
		ended = err == io.EOF //nolint:errorlint // only a plain io.EOF is the end, as io.Reader promises; a wrapped one is a fault
		switch {
		case err != nil && !ended:
			c.buffers.put(buffer)
			return fmt.Errorf("read the stream: %w", err)
		case n == 0:
			c.buffers.put(buffer)
			continue
		}
		if len(seg.object.Parts) == c.store.cfg.MaxParts {
			c.endSegment(seg)
			c.waitForStore(true)
			seg, err = c.openChunks(ctx)
			c.waitForStore(false)
			if err != nil {
				c.buffers.put(buffer)
				return err
			}
			if c.whole != nil {
				c.later = sha256.New()
			}
		}
		c.send(ctx, seg, buffer, n)
	}
	if seg.object.Size == 0 {
		return backup.ErrEmptyStream
	}
	c.endSegment(seg)
	return nil
}

// buffer returns an empty part buffer, and tells when it has to wait for one.
func (c *chunkRun) buffer(ctx context.Context) (*[]byte, error) {
	if buffer := c.buffers.tryGet(); buffer != nil {
		return buffer, nil
	}
	c.waitForStore(true)
	defer c.waitForStore(false)
	return c.buffers.get(ctx)
}

func (c *chunkRun) endSegment(seg *segment) {
	sum := c.whole
	if c.later != nil {
		sum = c.later
	}
	if sum == nil {
		return
	}
	c.mu.Lock()
	seg.object.SHA256 = hex.EncodeToString(sum.Sum(nil))
	c.mu.Unlock()
}

// send hands the first n bytes of buffer to a worker, which puts it down.
func (c *chunkRun) send(ctx context.Context, seg *segment, buffer *[]byte, n int) {
	data := (*buffer)[:n]
	p := &part{segment: seg, offset: c.offset, data: data}
	c.offset += int64(n)
	// A hash never returns an error (package hash).
	if c.whole != nil {
		_, _ = c.whole.Write(data)
	}
	if c.later != nil {
		_, _ = c.later.Write(data)
	}
	c.mu.Lock()
	p.number = len(seg.object.Parts)
	seg.object.Parts = append(seg.object.Parts, backup.Part{Size: int64(n)})
	seg.object.Size += int64(n)
	c.mu.Unlock()
	c.workers.Go(func() {
		defer c.buffers.put(buffer)
		p.crc = crc64nvme.Checksum(data)
		if seg.hidden.(*chunkObject).sender.signs() {
			p.sum = hexSum(data)
		}
		if err := c.sendPart(ctx, p); err != nil {
			c.cancel(err)
			return
		}
		c.mu.Lock()
		seg.object.Parts[p.number].SHA256 = p.sum
		seg.object.Parts[p.number].CRC64NVME = crcText(p.crc)
		safe := c.safe.add(p.offset, int64(n))
		c.mu.Unlock()
		if c.options.Safe != nil && safe > 0 {
			c.options.Safe(safe)
		}
	})
}

// front is the offset before which all parts have arrived, in whatever order
// they come.
type front struct {
	offset int64
	early  map[int64]int64 // size of the parts beyond it, by offset
}

// add takes in a part and returns the offset if it has grown, or 0.
func (f *front) add(offset, size int64) int64 {
	if f.early == nil {
		f.early = make(map[int64]int64)
	}
	f.early[offset] = size
	before := f.offset
	for size, there := f.early[f.offset]; there; size, there = f.early[f.offset] {
		delete(f.early, f.offset)
		f.offset += size
	}
	if f.offset == before {
		return 0
	}
	return f.offset
}

func (u *upload) acknowledge(n int64) {
	u.store.metrics.uploaded.Add(float64(n))
	if u.options.Progress != nil {
		u.options.Progress(n)
	}
}
