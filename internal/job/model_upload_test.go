package job

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// modelUpload is one upload. Its pieces lie in the store unseen until Commit.
type modelUpload struct {
	store   *modelStore
	key     string
	options backup.UploadOptions

	mu       sync.Mutex
	holds    bool // memory
	consumed bool
	spoiled  bool
	failedAt time.Time // when Consume returned an error
	asked    bool      // Commit was called
	done     bool      // committed or aborted
	stored   backup.Stored
	texts    [][]byte
	visible  []string
}

func modelHash(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// Consume takes all of r, in the rhythm of the schedule.
func (u *modelUpload) Consume(ctx context.Context, r io.Reader) (backup.Stored, error) {
	defer u.free()
	u.mu.Lock()
	again := u.consumed || u.spoiled || u.done
	u.spoiled = true // until the end
	u.mu.Unlock()
	if again {
		return backup.Stored{}, errors.New("consume: the upload is used up")
	}
	text, err := u.take(ctx, r)
	u.mu.Lock()
	defer u.mu.Unlock()
	if err != nil {
		u.failedAt = time.Now()
		return backup.Stored{}, fmt.Errorf("upload %s: %w", u.key, err)
	}
	u.spoiled, u.consumed = false, true
	u.stored = u.divide(text)
	return u.stored, nil
}

func (u *modelUpload) take(ctx context.Context, r io.Reader) ([]byte, error) {
	s := u.store
	s.mu.Lock()
	spec := s.spec
	s.mu.Unlock()
	f := s.fault(opConsume, u.key)
	var text bytes.Buffer
	piece := make([]byte, spec.readSize)
	for {
		n, err := r.Read(piece)
		text.Write(piece[:n])
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if f != nil && !f.after && text.Len() > f.at {
			if err := u.suffer(ctx, f); err != nil {
				return nil, err
			}
			f = nil
		}
		if err := s.w.pause(ctx, spec.delays[opConsume]); err != nil {
			return nil, err
		}
		if u.options.Progress != nil {
			u.options.Progress(int64(n))
		}
	}
	if text.Len() == 0 {
		return nil, backup.ErrEmptyStream
	}
	if f != nil {
		if err := u.suffer(ctx, f); err != nil {
			return nil, err
		}
	}
	return text.Bytes(), nil
}

// suffer is what a fault does to Consume: the store is away for a while, and
// then back, or given up.
func (u *modelUpload) suffer(ctx context.Context, f *storeFault) error {
	if f.stall > 0 {
		if u.options.Waiting != nil {
			u.options.Waiting(true)
		}
		if u.options.Trouble != nil {
			u.options.Trouble(errModelStore)
		}
		if err := u.store.w.pause(ctx, f.stall); err != nil {
			return err
		}
		if u.options.Waiting != nil {
			u.options.Waiting(false)
		}
	}
	if f.recovers {
		if u.options.Trouble != nil {
			u.options.Trouble(nil)
		}
		return nil
	}
	return errModelStore
}

// divide makes segments of a stream.
func (u *modelUpload) divide(text []byte) backup.Stored {
	stored := backup.Stored{Bytes: int64(len(text)), SHA256: modelHash(text)}
	for n := 1; len(text) > 0; n++ {
		size := len(text)
		if limit := u.store.spec.segment; limit > 0 && size > limit && !strings.Contains(u.key, "/manifests/") {
			size = limit
		}
		piece := text[:size]
		text = text[size:]
		u.texts = append(u.texts, piece)
		stored.Objects = append(stored.Objects, backup.Object{
			Key: backup.SegmentKey(u.key, n), Size: int64(size), SHA256: modelHash(piece),
			Parts: []backup.Part{{Size: int64(size), SHA256: modelHash(piece)}},
		})
	}
	return stored
}

func (u *modelUpload) free() {
	u.mu.Lock()
	holds := u.holds
	u.holds = false
	u.mu.Unlock()
	if holds {
		u.store.release(modelReserve)
	}
}

// Commit makes the objects visible; a fault comes before, between or after.
func (u *modelUpload) Commit(ctx context.Context) error {
	u.mu.Lock()
	usable, finished := u.consumed && !u.spoiled, u.done && len(u.visible) > 0
	u.asked = usable
	u.mu.Unlock()
	switch {
	case finished:
		return nil
	case !usable:
		return fmt.Errorf("commit %s: %w", u.key, backup.ErrAborted)
	}
	s := u.store
	f := s.fault(opCommit, u.key)
	if err := s.w.pause(ctx, s.spec.delays[opCommit]); err != nil {
		return err
	}
	if f != nil && !f.after {
		if f.hangs {
			return s.w.hang(ctx)
		}
		return fmt.Errorf("commit %s: %w", u.key, errModelStore)
	}
	for i := range u.stored.Objects {
		if err := u.show(i); err != nil {
			return err
		}
		if f != nil && i >= f.at {
			if f.hangs {
				return s.w.hang(ctx)
			}
			return fmt.Errorf("commit %s: %w", u.key, errModelStore)
		}
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.done = true
	return nil
}

func (u *modelUpload) show(i int) error {
	u.store.mu.Lock()
	defer u.store.mu.Unlock()
	u.mu.Lock()
	defer u.mu.Unlock()
	o := u.stored.Objects[i]
	if _, taken := u.store.objects[o.Key]; taken {
		return fmt.Errorf("commit %s: %w", o.Key, backup.ErrExists)
	}
	o.ModTime = time.Now()
	u.store.objects[o.Key] = modelObject{Object: o, text: u.texts[i]}
	u.visible = append(u.visible, o.Key)
	return nil
}

// Abort removes every trace.
func (u *modelUpload) Abort(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	u.free()
	if err := u.store.pass(ctx, opAbort, u.key); err != nil {
		return err
	}
	u.store.mu.Lock()
	defer u.store.mu.Unlock()
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, key := range u.visible {
		delete(u.store.objects, key)
	}
	u.visible, u.spoiled, u.done = nil, true, true
	return nil
}

// unfinished gives the objects that a store which has been asked to complete
// them may still show when whoever asked has died.
func (u *modelUpload) unfinished() map[string]modelObject {
	u.mu.Lock()
	defer u.mu.Unlock()
	objects := make(map[string]modelObject)
	for i, o := range u.stored.Objects {
		if u.asked && !u.done && i >= len(u.visible) {
			objects[o.Key] = modelObject{Object: o, text: u.texts[i]}
		}
	}
	return objects
}

// open reports whether the store still has unseen pieces of it.
func (u *modelUpload) open() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return !u.done
}
