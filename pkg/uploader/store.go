package uploader

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rclone/rclone/fs"
	"github.com/rclone/rclone/fs/walk"
	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

var (
	_ backup.Store        = (*Store)(nil)
	_ backup.StreamOpener = (*Store)(nil)
)

// Store keeps objects at one rclone remote. Its methods may be called at once.
type Store struct {
	cfg Config
	// kind and chunks are those of remote and never change.
	kind   string
	chunks bool
	remote atomic.Pointer[remote]
	// direct is nil where rclone makes the uploads.
	direct  *direct
	secrets *secrets
	memory  *memory
	// atHand is for uploads whose bytes are there already, one at a time.
	atHand  *memory
	limiter *limiter
	log     *zap.Logger
	metrics *Metrics
	// grace is credentialGrace.
	grace time.Duration
	// live holds the ids of uploads in the partial lane that Sweep leaves alone.
	live sync.Map
	// left holds the uploads whose Abort did not reach its end.
	left sync.Map
	// behind are requests that nobody waits for any more.
	behind sync.WaitGroup
	// conditional is set when Check has seen that the store honours
	// If-None-Match; probed when it has looked.
	conditional, probed atomic.Bool
}

// New opens the store of cfg. It refuses a configuration that cannot keep the
// promises of backup.Store and says why. For s3 it does not talk to the server:
// call Check. metrics may be nil.
func New(ctx context.Context, cfg Config, log *zap.Logger, metrics *Metrics) (*Store, error) {
	cfg = cfg.withDefaults()
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	if metrics == nil {
		var err error
		if metrics, err = NewMetrics(prometheus.NewRegistry()); err != nil {
			return nil, err
		}
	}
	r, err := openRemote(ctx, cfg, cfg.Root)
	if errors.Is(err, ErrBackend) && ctx.Err() == nil {
		metrics.failed(err)
	}
	if err != nil {
		return nil, err
	}
	metrics.budget.Set(float64(cfg.MemoryBudget))
	s := &Store{
		cfg: cfg, kind: r.kind, chunks: r.chunks, secrets: newSecrets(), grace: credentialGrace,
		memory: newMemory(cfg.MemoryBudget, metrics.memory), atHand: newMemory(2*cfg.largestPart(), metrics.memory), log: log, metrics: metrics,
		limiter: newLimiter(cfg.Bandwidth, metrics),
	}
	metrics.limiter.Store(s.limiter)
	s.remote.Store(r)
	if s.kind == "s3" && s.chunks {
		var why string
		if s.direct, why, err = openDirect(ctx, cfg); err != nil {
			return nil, err
		}
		if s.direct != nil {
			s.direct.http.Transport = countingTransport{s.direct.http.Transport, metrics.responses}
		} else {
			log.Info("uploads go through rclone, which needs more CPU", zap.String("why", why))
		}
	}
	return s, nil
}

// Close gives back what the backend keeps open, for example ssh connections.
// Uploads and readers are ended before; it waits until ctx ends for requests
// that those have left behind.
func (s *Store) Close(ctx context.Context) error {
	ended := make(chan struct{})
	go func() {
		s.behind.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-ctx.Done():
		return fmt.Errorf("close the store: requests are still on their way: %w", context.Cause(ctx))
	}
	if s.direct != nil {
		s.direct.close()
	}
	if shutdown := s.remote.Load().base.Features().Shutdown; shutdown != nil {
		return shutdown(ctx)
	}
	return nil
}

// Stat implements [backup.Store].
func (s *Store) Stat(ctx context.Context, key string) (backup.Object, error) {
	if err := checkKey(key); err != nil {
		return backup.Object{}, err
	}
	o, err := s.find(ctx, key)
	if err != nil {
		return backup.Object{}, fmt.Errorf("stat: %w", err)
	}
	return backup.Object{Key: key, Size: o.Size(), ModTime: o.ModTime(ctx)}, nil
}

// find returns the object at key or ErrNotFound; errors name the key.
func (s *Store) find(ctx context.Context, key string) (fs.Object, error) {
	var o fs.Object
	err := s.retry(ctx, "stat", shortPatience, func(ctx context.Context) error {
		return s.ask(ctx, func(r *remote) error {
			return s.within(ctx, func(ctx context.Context) (err error) {
				o, err = r.fs.NewObject(ctx, key)
				return err
			})
		})
	})
	switch {
	case err == nil:
		return o, nil
	case errors.Is(err, fs.ErrorObjectNotFound), errors.Is(err, fs.ErrorDirNotFound),
		errors.Is(err, fs.ErrorIsDir), errors.Is(err, fs.ErrorNotAFile):
		return nil, fmt.Errorf("%s: %w", key, backup.ErrNotFound)
	default:
		return nil, fmt.Errorf("%s: %w", key, err)
	}
}

// List implements [backup.Store]. It never returns what lies below
// ".pipestreamer/".
func (s *Store) List(ctx context.Context, prefix string) ([]backup.Object, error) {
	if err := checkPrefix(prefix); err != nil {
		return nil, err
	}
	found, err := s.list(ctx, prefix)
	if err != nil {
		return nil, err
	}
	objects := make([]backup.Object, 0, len(found))
	for _, o := range found {
		if !strings.HasPrefix(o.Remote(), privatePrefix) {
			objects = append(objects, backup.Object{Key: o.Remote(), Size: o.Size(), ModTime: o.ModTime(ctx)})
		}
	}
	return objects, nil
}

// Folders returns the names directly below prefix below which there are objects,
// sorted; a store with directories may name empty ones, too. However many objects
// there are, they are not listed.
func (s *Store) Folders(ctx context.Context, prefix string) ([]string, error) {
	if err := checkPrefix(prefix); err != nil {
		return nil, err
	}
	entries, err := s.entries(ctx, prefix, 1, walk.ListDirs)
	if err != nil {
		return nil, err
	}
	var names []string
	entries.ForDir(func(d fs.Directory) {
		if d.Remote()+"/" != privatePrefix {
			names = append(names, strings.TrimPrefix(d.Remote(), prefix))
		}
	})
	slices.Sort(names)
	return names, nil
}

// list returns every object below prefix, private ones too, sorted by key.
func (s *Store) list(ctx context.Context, prefix string) ([]fs.Object, error) {
	entries, err := s.entries(ctx, prefix, -1, walk.ListObjects)
	if err != nil {
		return nil, err
	}
	found := make([]fs.Object, 0, len(entries))
	entries.ForObject(func(o fs.Object) { found = append(found, o) })
	slices.SortFunc(found, func(a, b fs.Object) int { return cmp.Compare(a.Remote(), b.Remote()) })
	return found, nil
}

// entries returns what is below prefix down to a depth, -1 for all.
func (s *Store) entries(ctx context.Context, prefix string, depth int, kind walk.ListType) (fs.DirEntries, error) {
	var found fs.DirEntries
	err := s.retry(ctx, "list", shortPatience, func(ctx context.Context) error {
		found = nil
		return s.ask(ctx, func(r *remote) error {
			return walk.ListR(ctx, r.fs, strings.TrimSuffix(prefix, "/"), true, depth, kind, func(entries fs.DirEntries) error {
				found = append(found, entries...)
				return nil
			})
		})
	})
	// A bucket has no directories that could be missing: it is the bucket.
	if errors.Is(err, fs.ErrorDirNotFound) && s.remote.Load().base.Features().BucketBased {
		s.metrics.errors.WithLabelValues(classNotFound).Inc()
		return nil, fmt.Errorf("list %q: the bucket of root %q does not exist", prefix, s.cfg.Root)
	}
	if err != nil && !errors.Is(err, fs.ErrorDirNotFound) {
		return nil, fmt.Errorf("list %q: %w", prefix, err)
	}
	return found, nil
}

// Remove implements [backup.Store].
func (s *Store) Remove(ctx context.Context, key string) error {
	if err := checkKey(key); err != nil {
		return err
	}
	return s.remove(ctx, key)
}

func (s *Store) remove(ctx context.Context, key string) error {
	err := s.retry(ctx, "remove", shortPatience, func(ctx context.Context) error {
		o, err := s.find(ctx, key)
		if err != nil {
			return err
		}
		return s.ask(ctx, func(*remote) error { return s.within(ctx, o.Remove) })
	})
	if err != nil && !errors.Is(err, backup.ErrNotFound) && !errors.Is(err, fs.ErrorObjectNotFound) {
		return fmt.Errorf("remove %s: %w", key, err)
	}
	return nil
}

// Open implements [backup.Store].
func (s *Store) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	if err := checkKey(key); err != nil {
		return nil, err
	}
	if offset < 0 || length < -1 {
		return nil, fmt.Errorf("open %s: offset %d, length %d: out of range", key, offset, length)
	}
	o, err := s.find(ctx, key)
	if err != nil {
		return nil, fmt.Errorf("open: %w", err)
	}
	reader, err := s.openRange(ctx, o, offset, length)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", key, err)
	}
	if length < 0 {
		return reader, nil // a document, which somebody waits for
	}
	paid := s.limiter.share().reader(ctx, reader)
	return struct {
		io.Reader
		io.Closer
	}{paid, reader}, nil
}

// Limit replaces the bandwidth limit, for streams that are on their way as well.
// nil means none.
func (s *Store) Limit(rate Bandwidth) { s.limiter.set(rate) }

// openRange reads length bytes of o from offset, -1 for the rest of it.
func (s *Store) openRange(ctx context.Context, o fs.Object, offset, length int64) (io.ReadCloser, error) {
	rest := o.Size() - offset
	if rest < 0 {
		return nil, fmt.Errorf("offset %d of %d bytes: %w", offset, o.Size(), io.ErrUnexpectedEOF)
	}
	if length < 0 {
		length = rest
	}
	there := min(length, rest)
	if there == 0 {
		return &exactReader{body: io.NopCloser(strings.NewReader("")), rest: length}, nil
	}
	// The body lives longer than the retry and its context.
	ctx, cancel := context.WithCancelCause(ctx)
	late := time.AfterFunc(shortPatience+s.cfg.StallTimeout, func() { cancel(errLate) })
	defer late.Stop()
	var body io.ReadCloser
	err := s.retry(ctx, "open", shortPatience, func(context.Context) error {
		return s.ask(ctx, func(*remote) (err error) {
			body, err = o.Open(ctx, &fs.RangeOption{Start: offset, End: offset + there - 1})
			return err
		})
	})
	if err != nil {
		cancel(err)
		return nil, err
	}
	return &exactReader{body: body, rest: length, cancel: cancel}, nil
}

var errLate = errors.New("the store did not answer in time")

// exactReader turns an early end of body into io.ErrUnexpectedEOF.
type exactReader struct {
	body   io.ReadCloser
	rest   int64
	cancel context.CancelCauseFunc
}

// Read implements io.Reader.
func (r *exactReader) Read(p []byte) (int, error) {
	if r.rest == 0 {
		return 0, io.EOF
	}
	n, err := r.body.Read(p[:min(int64(len(p)), r.rest)])
	r.rest -= int64(n)
	if errors.Is(err, io.EOF) {
		if r.rest > 0 {
			return n, io.ErrUnexpectedEOF
		}
		return n, io.EOF
	}
	return n, err
}

// Close implements io.Closer.
func (r *exactReader) Close() error {
	err := r.body.Close()
	if r.cancel != nil {
		r.cancel(errClosed)
	}
	return err
}
