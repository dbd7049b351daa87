package codec

import (
	"context"
	"crypto/sha256"
	"hash"
	"io"
	"sync"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// pipeline is one stream between the reader of Consume and the inner upload, which
// reads frames from it.
type pipeline struct {
	upload *upload
	ctx    context.Context //nolint:containedctx // that of one Consume, whose life it has
	stopMe context.CancelFunc
	all    sync.WaitGroup
	trial  trial

	// order has the blocks as they come, work those that are to be compressed.
	order, work chan *block
	// failed is closed when err is set; order is closed at the end of the stream.
	failed chan struct{}
	err    error

	// Of the goroutine that reads the stream.
	hash  hash.Hash
	read  int64
	waits bool // what options.Waiting was told last

	// Of the goroutine that reads frames.
	current *block
	pieces  [][]byte
	mark    mark
	bad     error // why there are no more frames
}

func newPipeline(ctx context.Context, u *upload) *pipeline {
	p := &pipeline{
		upload: u, hash: sha256.New(), failed: make(chan struct{}),
		order: make(chan *block, u.blocks.most), work: make(chan *block, u.blocks.most),
	}
	p.ctx, p.stopMe = context.WithCancel(ctx)
	return p
}

// start begins to read r.
func (p *pipeline) start(r io.Reader) {
	p.all.Go(func() {
		defer close(p.work)
		p.take(r)
		p.relayWaiting()
	})
	if p.upload.store.encoder == nil {
		return
	}
	for range p.upload.blocks.most - 2 {
		p.all.Go(func() {
			for b := range p.work {
				p.compress(b)
			}
		})
	}
}

// stop ends all goroutines and waits for them, and puts down every block.
func (p *pipeline) stop() {
	p.stopMe()
	p.all.Wait()
	if p.current != nil {
		p.upload.blocks.put(p.current)
		p.current = nil
	}
	for {
		select {
		case b, more := <-p.order:
			if !more {
				return
			}
			p.upload.blocks.put(b)
		default:
			return
		}
	}
}

// take reads r to its end, or the first error of anything.
func (p *pipeline) take(r io.Reader) {
	for {
		b := p.block()
		if b == nil {
			return
		}
		n, err := backup.Fill(p.ctx, r, b.plain)
		ended := err == io.EOF //nolint:errorlint // only a plain io.EOF is the end, as io.Reader promises; a wrapped one is a fault
		if n == 0 || err != nil && !ended {
			p.upload.blocks.put(b)
		} else {
			b.plain = b.plain[:n]
			_, _ = p.hash.Write(b.plain) // a hash never returns an error (package hash)
			p.read += int64(n)
			p.upload.store.cfg.Metrics.encodePlain.Add(float64(n))
			p.pass(b)
		}
		if ended {
			close(p.order)
			return
		}
		if err != nil {
			p.err = err
			close(p.failed)
			return
		}
	}
}

// pass hands a block on. There are never more blocks than places.
func (p *pipeline) pass(b *block) {
	b.try = p.upload.store.encoder != nil && p.trial.next()
	p.order <- b
	switch {
	case b.try:
		p.work <- b
	case p.upload.store.encoder != nil:
		b.pieces = appendRaw(b.pieces, &b.raw, b.plain)
		b.ready <- struct{}{}
	default:
		b.pieces = append(b.pieces, b.plain)
		b.ready <- struct{}{}
	}
}

// compress makes a frame of a block.
func (p *pipeline) compress(b *block) {
	if b.frame == nil {
		b.frame = make([]byte, 0, blockSize+4<<10)
	}
	b.frame = p.upload.store.encoder.EncodeAll(b.plain, b.frame[:0])
	if b.shrunk = len(b.frame) < len(b.plain)-len(b.plain)/gain; b.shrunk {
		b.pieces = append(b.pieces, b.frame)
	} else {
		b.pieces = appendRaw(b.pieces, &b.raw, b.plain)
	}
	b.ready <- struct{}{}
}

// block waits for an empty block, and tells whether that is because of the store.
// It returns nil when the upload has ended.
func (p *pipeline) block() *block {
	defer p.tellWaiting(false)
	for p.ctx.Err() == nil {
		if b := p.upload.blocks.tryGet(); b != nil {
			return b
		}
		p.tellWaiting(p.upload.waiting.store.Load())
		select {
		case <-p.upload.blocks.freed:
		case <-p.upload.waiting.changed:
		case <-p.ctx.Done():
		}
	}
	return nil
}

// relayWaiting passes on what the inner upload waits for once the stream is read.
func (p *pipeline) relayWaiting() {
	defer p.tellWaiting(false)
	for {
		p.tellWaiting(p.upload.waiting.store.Load())
		select {
		case <-p.upload.waiting.changed:
		case <-p.ctx.Done():
			return
		}
	}
}

// tellWaiting tells a change. Only the goroutine that reads the stream calls it.
func (p *pipeline) tellWaiting(forStore bool) {
	if p.waits == forStore {
		return
	}
	p.waits = forStore
	if p.upload.options.Waiting != nil {
		p.upload.options.Waiting(forStore)
	}
}

// wait waits for the next block. It returns io.EOF after the last one.
func (p *pipeline) wait() error {
	if p.bad == nil {
		p.bad = p.next()
	}
	return p.bad
}

func (p *pipeline) next() error {
	select {
	case b, more := <-p.order:
		if !more {
			return io.EOF
		}
		p.current = b
	case <-p.failed:
		return p.err
	case <-p.ctx.Done():
		return context.Cause(p.ctx)
	}
	select {
	case <-p.current.ready:
	case <-p.failed:
		return p.err
	case <-p.ctx.Done():
		return context.Cause(p.ctx)
	}
	if p.current.try {
		p.trial.result(p.current.shrunk)
	}
	p.pieces = p.current.pieces
	return nil
}

// Read implements io.Reader: the frames of the stream. io.EOF says that every byte
// of the stream is in them.
func (p *pipeline) Read(buffer []byte) (int, error) {
	if len(p.pieces) == 0 {
		if err := p.wait(); err != nil {
			return 0, err
		}
	}
	n := copy(buffer, p.pieces[0])
	p.mark.stored += int64(n)
	if p.pieces[0] = p.pieces[0][n:]; len(p.pieces[0]) == 0 {
		p.pieces = p.pieces[1:]
	}
	if len(p.pieces) == 0 {
		p.mark.plain += int64(len(p.current.plain))
		p.upload.mark(p.mark)
		p.upload.blocks.put(p.current)
		p.current = nil
	}
	return n, nil
}
