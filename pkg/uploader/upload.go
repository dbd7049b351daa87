package uploader

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/rclone/rclone/lib/random"
	"go.uber.org/zap"

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
	// buffers is nil when the lane needs none.
	buffers     *buffers
	progress    func(int64)
	conditional bool

	// turn is held by Commit and Abort, one after the other.
	turn sync.Mutex

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
		store: s, key: key, id: random.String(20), progress: options.Progress,
		partSize: s.cfg.partSize(options.EstimatedSize), conditional: conditional,
	}
	if err := u.reserve(ctx); err != nil {
		return nil, fmt.Errorf("begin %s: %w", key, err)
	}
	s.live.Store(u.id, struct{}{})
	if s.remote.chunks {
		// Now, not at the first byte: rights that are missing are found before
		// HANA is told to start.
		if _, err := u.openChunks(ctx); err != nil {
			u.free()
			s.live.Delete(u.id)
			return nil, fmt.Errorf("begin %s: %w", key, err)
		}
	}
	return u, nil
}

// reserve takes the memory that guarantees progress.
func (u *upload) reserve(ctx context.Context) error {
	s := u.store
	if !s.remote.chunks {
		if !buffersParts(s.remote.kind) {
			return nil // rclone passes the bytes on as they come
		}
		u.partSize = s.cfg.largestPart()
	}
	if s.memory.used.Load()+2*u.partSize > s.memory.size {
		s.log.Info("waiting for memory", zap.String("key", u.key), zap.Int64("bytes", 2*u.partSize))
	}
	var err error
	u.buffers, err = s.memory.reserve(ctx, u.partSize, 2, s.cfg.Concurrency+1)
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
	if u.store.remote.chunks {
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

// stored is what Consume returns; whole is of the entire stream.
func (u *upload) stored(whole []byte) backup.Stored {
	u.mu.Lock()
	defer u.mu.Unlock()
	result := backup.Stored{SHA256: hex.EncodeToString(whole)}
	for _, seg := range u.segments {
		result.Objects = append(result.Objects, seg.object)
		result.Bytes += seg.object.Size
	}
	return result
}

// Commit implements [backup.Upload].
func (u *upload) Commit(ctx context.Context) error {
	u.turn.Lock()
	defer u.turn.Unlock()
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

// Abort implements [backup.Upload]. It ends a Consume that still runs and waits
// for it until ctx ends.
func (u *upload) Abort(ctx context.Context) error {
	u.turn.Lock()
	defer u.turn.Unlock()
	if done := u.startAbort(); done != nil {
		select {
		case <-done:
		case <-ctx.Done():
			return fmt.Errorf("abort %s: waiting for its reader: %w", u.key, context.Cause(ctx))
		}
	}
	u.mu.Lock()
	was, segments := u.stage, u.segments
	u.free()
	u.mu.Unlock()
	if was == aborted {
		return nil
	}
	var faults []error
	for _, seg := range segments {
		if err := seg.undo(ctx); err != nil {
			faults = append(faults, fmt.Errorf("abort %s: %w", seg.object.Key, err))
		}
	}
	if len(faults) > 0 {
		return errors.Join(faults...)
	}
	u.mu.Lock()
	u.stage = aborted
	u.mu.Unlock()
	u.store.live.Delete(u.id)
	u.store.metrics.uploads.WithLabelValues("aborted").Inc()
	return nil
}

// startAbort forbids everything else and returns what to wait for.
func (u *upload) startAbort() <-chan struct{} {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.stage != aborted {
		u.stage = aborting
	}
	if u.cancel != nil {
		u.cancel(backup.ErrAborted)
	}
	return u.done
}

func hexSum(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
