package codec

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// Inner is the store that holds what the codec makes of streams.
type Inner interface {
	backup.Store
	backup.StreamOpener
	// Check proves that the store works.
	Check(ctx context.Context) error
	// Sweep removes the leftovers of uploads below prefix.
	Sweep(ctx context.Context, prefix string, olderThan time.Duration) error
	// Folders returns the names directly below prefix below which there are
	// objects.
	Folders(ctx context.Context, prefix string) ([]string, error)
}

var (
	_ backup.Store        = (*Store)(nil)
	_ backup.StreamOpener = (*Store)(nil)
)

// Store is an [Inner] that encodes what is uploaded to it, if it is told to, and
// decodes streams that say how they are encoded. All else is the inner store's.
// Its methods may be called at once. It need not be closed.
type Store struct {
	Inner

	cfg        Config
	encoding   []string
	encoder    *zstd.Encoder // nil without compression
	recipients []age.Recipient
	// overhead is what age puts ahead of the first byte.
	overhead int64
	budget   *budget
}

// New lays a codec around inner. It refuses what cfg cannot mean, with an error
// that names the setting.
func New(inner Inner, cfg Config) (*Store, error) {
	if cfg.Metrics == nil {
		cfg.Metrics = NewMetrics(nil)
	}
	s := &Store{Inner: inner, cfg: cfg, encoding: cfg.encoding(), budget: newBudget(cfg.streams(), more())}
	var err error
	if cfg.compresses() {
		if s.encoder, err = cfg.newEncoder(); err != nil {
			return nil, err
		}
	}
	if !cfg.encrypts() {
		return s, nil
	}
	if s.recipients, err = cfg.recipients(); err != nil {
		return nil, err
	}
	empty, err := s.encrypted(eof{})
	if err == nil {
		s.overhead, err = io.Copy(io.Discard, empty)
	}
	if err != nil {
		return nil, fmt.Errorf("encryption.recipients: %w", err)
	}
	return s, nil
}

// eof is a stream without a byte.
type eof struct{}

func (eof) Read([]byte) (int, error) { return 0, io.EOF }

// encrypted encrypts r for all recipients.
func (s *Store) encrypted(r io.Reader) (io.Reader, error) {
	return age.EncryptReader(r, s.recipients...)
}

// Begin implements [backup.Store]. An upload that is encoded also waits for a
// block of memory.
func (s *Store) Begin(ctx context.Context, key string, options backup.UploadOptions) (backup.Upload, error) {
	if !options.Encode || len(s.encoding) == 0 {
		return s.Inner.Begin(ctx, key, options)
	}
	blocks, err := s.budget.reserve(ctx, workers()+2)
	if err != nil {
		return nil, fmt.Errorf("begin %s: %w", key, err)
	}
	u := &upload{store: s, options: options, blocks: blocks, told: newTally(options)}
	u.waiting.changed = make(chan struct{}, 1)
	inner := options
	inner.Progress, inner.Waiting = u.told.acknowledge, u.waiting.set
	if options.Safe != nil {
		inner.Safe = u.told.secure
	}
	if u.Upload, err = s.Inner.Begin(ctx, backup.EncodedKey(key, s.encoding), inner); err != nil {
		blocks.close()
		return nil, err
	}
	return u, nil
}

// OpenStream implements [backup.StreamOpener]. Of encrypted objects it reads the
// beginning before it returns: an ErrNoIdentity comes from here.
func (s *Store) OpenStream(ctx context.Context, objects []backup.Object) (io.ReadCloser, error) {
	encoding := backup.EncodingOf(objects)
	if len(encoding) == 0 {
		return s.Inner.OpenStream(ctx, objects)
	}
	r := &reader{metrics: s.cfg.Metrics, ended: make(chan struct{}), chunks: make(chan []byte, chunksAhead), free: make(chan []byte, chunksAhead+2)}
	if err := s.openEncoded(ctx, objects, encoding, r); err != nil {
		return nil, fmt.Errorf("open stream %s: %w", objects[0].Key, err)
	}
	return r, nil
}

// openEncoded gives r the stream of objects, and starts it.
func (s *Store) openEncoded(ctx context.Context, objects []backup.Object, encoding []string, r *reader) (err error) {
	for _, step := range encoding {
		if step != backup.EncodingZstd && step != backup.EncodingAge {
			return fmt.Errorf("encoding %q: this program knows %s and %s", step, backup.EncodingZstd, backup.EncodingAge)
		}
	}
	var identities []age.Identity
	if slices.Contains(encoding, backup.EncodingAge) {
		if identities, err = s.cfg.identities(); err != nil {
			return err
		}
	}
	if r.stored.ReadCloser, err = s.Inner.OpenStream(ctx, backup.AsStored(objects)); err != nil {
		return err
	}
	if err = r.decode(encoding, identities); err != nil {
		return errors.Join(err, r.stored.Close())
	}
	r.start(ctx)
	return nil
}
