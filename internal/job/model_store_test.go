package job

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// The operations of a store that can fail.
const (
	opCheck   = "check"
	opList    = "list"
	opStat    = "stat"
	opRemove  = "remove"
	opOpen    = "open"
	opBegin   = "begin"
	opConsume = "consume"
	opCommit  = "commit"
	opAbort   = "abort"
)

// modelBudget is the memory of a store; each upload of a stream takes
// modelReserve of it.
const (
	modelBudget  = 100
	modelReserve = 10
)

// modelObject is what is visible at a key.
type modelObject struct {
	backup.Object

	text []byte
}

// modelStore is a Store.
type modelStore struct {
	w *modelWorld

	mu       sync.Mutex
	spec     *storeSpec
	calls    map[*storeFault]int
	objects  map[string]modelObject
	uploads  []*modelUpload
	late     map[string]modelObject // what it still completes for a dead process
	reserved int                    // others included
	others   int
	freed    chan struct{} // replaced whenever memory becomes free
}

func newModelStore(w *modelWorld, spec *storeSpec) *modelStore {
	s := &modelStore{
		w: w, spec: spec, calls: make(map[*storeFault]int), objects: make(map[string]modelObject), freed: make(chan struct{}),
	}
	s.reserved, s.others = spec.taken, spec.taken
	if spec.takenFor > 0 {
		w.actors.Go(func() {
			w.sleep(spec.takenFor)
			s.releaseOthers()
		})
	}
	return s
}

// releaseOthers frees what was not taken by this conductor.
func (s *modelStore) releaseOthers() {
	s.mu.Lock()
	n := s.others
	s.others = 0
	s.mu.Unlock()
	s.release(n)
}

func (s *modelStore) heal(spec *storeSpec) {
	s.mu.Lock()
	s.spec = spec
	s.mu.Unlock()
	s.releaseOthers() // and whoever waits looks again
}

// fault finds what is to go wrong with a call, and counts it.
func (s *modelStore) fault(op, key string) *storeFault {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.spec.faults {
		if f.op != op || !f.hits(key, time.Since(s.w.born)) {
			continue
		}
		s.calls[f]++
		if f.times == 0 || s.calls[f] <= f.times {
			return f
		}
	}
	return nil
}

// pass is the common part of every call: it takes time and may fail.
func (s *modelStore) pass(ctx context.Context, op, key string) error {
	s.mu.Lock()
	delay := s.spec.delays[op]
	s.mu.Unlock()
	f := s.fault(op, key)
	if err := s.w.pause(ctx, delay); err != nil {
		return fmt.Errorf("%s %s: %w", op, key, err)
	}
	switch {
	case f == nil || f.after:
		return nil
	case f.hangs:
		return fmt.Errorf("%s %s: %w", op, key, s.w.hang(ctx))
	default:
		return fmt.Errorf("%s %s: %w", op, key, errModelStore)
	}
}

func (s *modelStore) Check(ctx context.Context) error { return s.pass(ctx, opCheck, "") }

func (s *modelStore) List(ctx context.Context, prefix string) ([]backup.Object, error) {
	if err := s.pass(ctx, opList, prefix); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []backup.Object
	for _, key := range slices.Sorted(maps.Keys(s.objects)) {
		if strings.HasPrefix(key, prefix) {
			o := s.objects[key].Object
			found = append(found, backup.Object{Key: o.Key, Size: o.Size, ModTime: o.ModTime})
		}
	}
	return found, nil
}

func (s *modelStore) Folders(ctx context.Context, prefix string) ([]string, error) {
	objects, err := s.List(ctx, prefix)
	return foldersOf(objects, prefix), err
}

// foldersOf are the names directly below prefix.
func foldersOf(objects []backup.Object, prefix string) []string {
	var names []string
	for i := range objects {
		if name, _, is := strings.Cut(strings.TrimPrefix(objects[i].Key, prefix), "/"); is {
			names = append(names, name)
		}
	}
	return slices.Compact(names)
}

func (s *modelStore) Stat(ctx context.Context, key string) (backup.Object, error) {
	if err := s.pass(ctx, opStat, key); err != nil {
		return backup.Object{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	o, found := s.objects[key]
	if !found {
		return backup.Object{}, fmt.Errorf("stat %s: %w", key, backup.ErrNotFound)
	}
	return backup.Object{Key: o.Key, Size: o.Size, ModTime: o.ModTime}, nil
}

func (s *modelStore) Remove(ctx context.Context, key string) error {
	if err := s.pass(ctx, opRemove, key); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.objects, key)
	return nil
}

func (s *modelStore) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	if err := s.pass(ctx, opOpen, key); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	o, found := s.objects[key]
	if !found {
		return nil, fmt.Errorf("open %s: %w", key, backup.ErrNotFound)
	}
	text := o.text[offset:]
	if length >= 0 {
		if length > int64(len(text)) {
			return nil, io.ErrUnexpectedEOF
		}
		text = text[:length]
	}
	return io.NopCloser(bytes.NewReader(text)), nil
}

func (s *modelStore) OpenStream(ctx context.Context, objects []backup.Object) (io.ReadCloser, error) {
	var whole []byte
	for i := range objects {
		reader, err := s.Open(ctx, objects[i].Key, 0, -1)
		if err != nil {
			return nil, err
		}
		text, err := io.ReadAll(reader)
		if err := errors.Join(err, reader.Close()); err != nil {
			return nil, err
		}
		if int64(len(text)) != objects[i].Size || modelHash(text) != objects[i].SHA256 {
			return nil, fmt.Errorf("open %s: %w", objects[i].Key, backup.ErrCorrupt)
		}
		whole = append(whole, text...)
	}
	return io.NopCloser(bytes.NewReader(whole)), nil
}

// Begin waits for memory, but for an object whose bytes are there already.
func (s *modelStore) Begin(ctx context.Context, key string, options backup.UploadOptions) (backup.Upload, error) {
	if err := s.pass(ctx, opBegin, key); err != nil {
		return nil, err
	}
	for {
		s.mu.Lock()
		if options.AtHand || s.reserved+modelReserve <= s.spec.budget {
			u := &modelUpload{store: s, key: key, options: options, holds: !options.AtHand}
			if u.holds {
				s.reserved += modelReserve
			}
			s.uploads = append(s.uploads, u)
			s.mu.Unlock()
			return u, nil
		}
		freed := s.freed
		s.mu.Unlock()
		select {
		case <-freed:
		case <-ctx.Done():
			return nil, fmt.Errorf("begin %s: %w: %w", key, backup.ErrMemory, context.Cause(ctx))
		}
	}
}

func (s *modelStore) release(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reserved -= n
	close(s.freed)
	s.freed = make(chan struct{})
}

// Sweep aborts what a dead process had asked for; whatever else is invisible
// belongs to an upload.
func (s *modelStore) Sweep(ctx context.Context, prefix string, _ time.Duration) error {
	if err := s.pass(ctx, opList, prefix); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.late, func(key string, _ modelObject) bool { return strings.HasPrefix(key, prefix) })
	return nil
}

// showLate completes what was not aborted meanwhile.
func (s *modelStore) showLate() {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.Copy(s.objects, s.late)
	clear(s.late)
}

// below lists the visible keys with a prefix.
func (s *modelStore) below(prefix string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var keys []string
	for _, key := range slices.Sorted(maps.Keys(s.objects)) {
		if strings.HasPrefix(key, prefix) {
			keys = append(keys, key)
		}
	}
	return keys
}
