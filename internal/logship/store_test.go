package logship_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/pipestreamer/pipestreamer/internal/logship"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// memoryStore is a store in memory that can be made to fail.
type memoryStore struct {
	mu      sync.Mutex
	objects map[string][]byte
	calls   map[string]int
	// fault, when set, is asked before each call.
	fault func(call, key string) error
	// unheard, when set, is asked after a commit whose answer may be lost.
	unheard func(key string) error
}

var _ logship.Store = (*memoryStore)(nil)

func newMemoryStore() *memoryStore {
	return &memoryStore{objects: make(map[string][]byte), calls: make(map[string]int)}
}

func (s *memoryStore) call(name, key string) error {
	s.mu.Lock()
	s.calls[name]++
	fault := s.fault
	s.mu.Unlock()
	if fault == nil {
		return nil
	}
	return fault(name, key)
}

func (s *memoryStore) fail(fault func(call, key string) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = fault
}

func (s *memoryStore) lose(unheard func(key string) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unheard = unheard
}

func (s *memoryStore) get(key string) ([]byte, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	content, found := s.objects[key]
	return content, found
}

func (s *memoryStore) put(key string, content []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.objects[key] = content
}

func (s *memoryStore) Begin(_ context.Context, key string, options backup.UploadOptions) (backup.Upload, error) {
	if err := s.call("Begin", key); err != nil {
		if options.Trouble != nil {
			options.Trouble(err)
		}
		return nil, err
	}
	return &memoryUpload{store: s, key: key}, nil
}

func (s *memoryStore) Open(_ context.Context, key string, _, _ int64) (io.ReadCloser, error) {
	if err := s.call("Open", key); err != nil {
		return nil, err
	}
	content, found := s.get(key)
	if !found {
		return nil, backup.ErrNotFound
	}
	return io.NopCloser(bytes.NewReader(content)), nil
}

func (s *memoryStore) Stat(_ context.Context, key string) (backup.Object, error) {
	if err := s.call("Stat", key); err != nil {
		return backup.Object{}, err
	}
	content, found := s.get(key)
	if !found {
		return backup.Object{}, backup.ErrNotFound
	}
	return backup.Object{Key: key, Size: int64(len(content))}, nil
}

func (s *memoryStore) List(_ context.Context, prefix string) ([]backup.Object, error) {
	if err := s.call("List", prefix); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var objects []backup.Object
	for _, key := range slices.Sorted(maps.Keys(s.objects)) {
		if strings.HasPrefix(key, prefix) {
			objects = append(objects, backup.Object{Key: key, Size: int64(len(s.objects[key]))})
		}
	}
	return objects, nil
}

func (s *memoryStore) Remove(_ context.Context, key string) error {
	if err := s.call("Remove", key); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.objects, key)
	return nil
}

func (s *memoryStore) OpenStream(_ context.Context, objects []backup.Object) (io.ReadCloser, error) {
	var whole []byte
	for _, o := range objects {
		if err := s.call("OpenStream", o.Key); err != nil {
			return nil, err
		}
		content, found := s.get(o.Key)
		switch {
		case !found:
			return nil, backup.ErrNotFound
		case hexSum(content) != o.SHA256:
			return nil, backup.ErrCorrupt
		}
		whole = append(whole, content...)
	}
	return io.NopCloser(bytes.NewReader(whole)), nil
}

type memoryUpload struct {
	store   *memoryStore
	key     string
	content []byte
}

func (u *memoryUpload) Consume(_ context.Context, r io.Reader) (backup.Stored, error) {
	if err := u.store.call("Consume", u.key); err != nil {
		return backup.Stored{}, err
	}
	var err error
	if u.content, err = io.ReadAll(r); err != nil {
		return backup.Stored{}, err
	}
	if len(u.content) == 0 {
		return backup.Stored{}, backup.ErrEmptyStream
	}
	size, sum := int64(len(u.content)), hexSum(u.content)
	return backup.Stored{
		Bytes: size, SHA256: sum,
		Objects: []backup.Object{{Key: u.key, Size: size, SHA256: sum, Parts: []backup.Part{{Size: size, SHA256: sum}}}},
	}, nil
}

func (u *memoryUpload) Commit(context.Context) error {
	if err := u.store.call("Commit", u.key); err != nil {
		return err
	}
	u.store.mu.Lock()
	defer u.store.mu.Unlock()
	if _, taken := u.store.objects[u.key]; taken {
		return fmt.Errorf("%s: %w", u.key, backup.ErrExists)
	}
	u.store.objects[u.key] = u.content
	if u.store.unheard != nil {
		return u.store.unheard(u.key)
	}
	return nil
}

func (*memoryUpload) Abort(context.Context) error { return nil }

func hexSum(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}
