package uploader

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rclone/rclone/lib/random"
	"go.uber.org/zap"
	"golang.org/x/sync/semaphore"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// stage is where an upload is in its life.
type stage int

const (
	begun stage = iota
	consuming
	consumed
	spoiled
	committed
	aborting
	aborted
)

// upload implements [backup.Upload].
type upload struct {
	store    *Store
	key      string
	id       string
	partSize int64
	// share is nil for what is at hand: it is small and others wait for it.
	share *share
	// buffers is nil when the lane needs none.
	buffers     *buffers
	options     backup.UploadOptions
	conditional bool

	// waits is what options.Waiting was told last.
	waits bool
	// away is set while the store does not do what it is asked for.
	away atomic.Bool

	// turn is held by Commit and Abort, one after the other.
	turn *semaphore.Weighted
	// silence ends an Abort that does not come on.
	silence *time.Timer

	mu       sync.Mutex
	stage    stage
	err      error
	segments []*segment
	cancel   context.CancelCauseFunc
	// done is closed when Consume has returned, nil before it began.
	done chan struct{}
}

// Begin implements [backup.Store]. It logs when it has to wait for memory.
func (s *Store) Begin(ctx context.Context, key string, options backup.UploadOptions) (backup.Upload, error) {
	if err := checkKey(key); err != nil {
		return nil, err
	}
	return s.begin(ctx, key, options, s.conditional.Load())
}

func (s *Store) begin(ctx context.Context, key string, options backup.UploadOptions, conditional bool) (*upload, error) {
	u := &upload{
		store: s, key: key, id: random.String(20), options: options, turn: semaphore.NewWeighted(1),
		partSize: s.cfg.partSize(options.EstimatedSize), conditional: conditional,
	}
	if !options.AtHand {
		u.share = s.limiter.share()
	}
	if err := u.reserve(ctx); err != nil {
		return nil, fmt.Errorf("begin %s: %w", key, err)
	}
	s.live.Store(u.id, struct{}{})
	if err := u.open(ctx); err != nil {
		u.free()
		s.live.Delete(u.id)
		return nil, fmt.Errorf("begin %s: %w", key, err)
	}
	return u, nil
}

// open asks the store now, not at the first byte: rights that are missing are
// found before HANA is told to start. In the partial lane credentials can be
// renewed before a stream only.
func (u *upload) open(ctx context.Context) error {
	if u.store.chunks {
		_, err := u.openChunks(ctx)
		return err
	}
	if u.store.kind != "s3" {
		return nil
	}
	if _, err := u.store.find(ctx, u.key); !refused(err) {
		return nil // anything else is for the stream, or Commit, to meet
	}
	// The answer to a HEAD does not say why; that to a list does.
	_, err := u.store.list(ctx, privatePrefix+"none/")
	return err
}

// reserve takes the memory that guarantees progress.
func (u *upload) reserve(ctx context.Context) error {
	s := u.store
	if !s.chunks {
		if !buffersParts(s.kind) {
			return nil // rclone passes the bytes on as they come
		}
		u.partSize = s.cfg.largestPart()
	}
	memory, most := s.memory, s.cfg.Concurrency+1
	if u.options.AtHand {
		memory, most = s.atHand, 2
	}
	if memory.used.Load()+2*u.partSize > memory.size {
		s.log.Info("waiting for memory", zap.String("key", u.key), zap.Int64("bytes", 2*u.partSize))
	}
	var err error
	u.buffers, err = memory.reserve(ctx, u.partSize, 2, most)
	return err
}

// free gives the memory back, once.
func (u *upload) free() {
	if u.buffers != nil {
		u.buffers.close()
		u.buffers = nil
	}
}

// Consume implements [backup.Upload]. A part that failed is noticed at the next
// read of r that returns; a read that is blocked is the caller's to unblock.
func (u *upload) Consume(ctx context.Context, r io.Reader) (backup.Stored, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if err := u.startConsume(cancel); err != nil {
		return backup.Stored{}, fmt.Errorf("upload %s: %w", u.key, err)
	}
	var stored backup.Stored
	var err error
	if u.store.chunks {
		stored, err = u.consumeChunks(ctx, cancel, r)
	} else {
		stored, err = u.consumePartial(ctx, r)
	}
	u.endConsume(err)
	if err != nil {
		return backup.Stored{}, fmt.Errorf("upload %s: %w", u.key, err)
	}
	return stored, nil
}

func (u *upload) startConsume(cancel context.CancelCauseFunc) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	switch u.stage {
	case begun:
	case aborting, aborted:
		return backup.ErrAborted
	default:
		return errors.New("consumed a second time")
	}
	u.stage, u.cancel, u.done = consuming, cancel, make(chan struct{})
	return nil
}

func (u *upload) endConsume(err error) {
	u.waitForStore(false)
	if err != nil && mayPass(err) {
		u.away.Store(true)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.free()
	if u.stage == consuming {
		u.stage = consumed
		if err != nil {
			u.stage = spoiled
		}
	}
	u.err = err
	close(u.done)
}

// stored is what Consume returns; whole is of the entire stream, or nil.
func (u *upload) stored(whole hash.Hash) backup.Stored {
	u.mu.Lock()
	defer u.mu.Unlock()
	var result backup.Stored
	if whole != nil {
		result.SHA256 = hex.EncodeToString(whole.Sum(nil))
	}
	for _, seg := range u.segments {
		result.Objects = append(result.Objects, seg.object)
		result.Bytes += seg.object.Size
	}
	return result
}

// Commit implements [backup.Upload].
func (u *upload) Commit(ctx context.Context) error {
	if err := u.turn.Acquire(ctx, 1); err != nil {
		return fmt.Errorf("commit %s: %w", u.key, context.Cause(ctx))
	}
	defer u.turn.Release(1)
	u.mu.Lock()
	now, cause := u.stage, u.err
	u.mu.Unlock()
	switch now {
	case committed:
		return nil
	case consumed:
	case begun, consuming:
		return fmt.Errorf("commit %s: the stream is not consumed yet", u.key)
	case spoiled:
		return fmt.Errorf("commit %s: %w: %w", u.key, backup.ErrAborted, cause)
	default:
		return fmt.Errorf("commit %s: %w", u.key, backup.ErrAborted)
	}
	// All keys are looked at before the first one becomes visible.
	for _, seg := range u.segments {
		if err := seg.checkFree(ctx); err != nil {
			return fmt.Errorf("commit: %w", err)
		}
	}
	for _, seg := range u.segments {
		if err := seg.commit(ctx); err != nil {
			return fmt.Errorf("commit %s: %w", seg.object.Key, err)
		}
	}
	u.mu.Lock()
	u.stage = committed
	u.mu.Unlock()
	u.store.live.Delete(u.id)
	u.store.metrics.uploads.WithLabelValues("committed").Inc()
	return nil
}

// task is something that the stream of u depends on.
func (u *upload) task(operation string) task {
	patience := u.store.cfg.OutageTolerance
	return task{operation: operation, patience: patience, grace: min(u.store.grace, patience), trouble: u.trouble}
}

func (u *upload) trouble(err error) {
	u.away.Store(err != nil)
	if u.options.Trouble != nil {
		u.options.Trouble(err)
	}
}

// waitForStore tells a change of what Consume waits for. It is not called by two
// goroutines at once.
func (u *upload) waitForStore(waits bool) {
	if u.waits == waits {
		return
	}
	u.waits = waits
	if u.options.Waiting != nil {
		u.options.Waiting(waits)
	}
}

func hexSum(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
