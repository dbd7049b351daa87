package spool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

var (
	_ backup.Source     = (*Source)(nil)
	_ backup.Discoverer = (*Source)(nil)
)

// Source receives the streams of one backup as regular files. It makes nothing
// in the directory and removes nothing, so it may share a plan with a front door
// of pipes: then it ignores every pipe (Config.Pipes). It serves one plan. Its methods may be called
// from several goroutines.
type Source struct {
	cfg     Config
	log     *zap.Logger
	metrics *Metrics

	done      chan struct{} // closed by Close
	intruded  chan struct{} // closed by the first intrusion
	found     chan backup.Stream
	more      chan struct{} // says that pending or settled has changed
	wg        sync.WaitGroup
	closeOnce sync.Once
	closeErr  error

	// mu guards everything below and every use of dir.
	mu        sync.Mutex
	prepared  bool
	started   bool
	closing   bool
	settled   bool
	plan      backup.Plan
	dir       *directory
	events    *queue
	rescan    time.Duration
	streams   []*sourceStream
	pending   []backup.Stream   // not yet handed to found
	trails    map[string]*trail // by final name
	strange   map[string]bool   // names that were reported
	intrusion error
}

// sourceStream is one stream, guarded by Source.mu but for its counter of bytes.
type sourceStream struct {
	report backup.StreamReport
	// name is the final name of its file, empty until one was seen.
	name string
	// file is the finished one, and ripe says that it will be unless an event
	// comes in between.
	file File
	ripe bool
	// appeared is closed when the file is first seen, ready when it is finished
	// or never will be. After ready, err says why it cannot be read.
	appeared, ready           chan struct{}
	err                       error
	hasAppeared, over, opened bool

	bytes atomic.Int64
}

// NewSource returns a Source. A nil log or metrics is replaced by one that
// leads nowhere.
func NewSource(cfg Config, log *zap.Logger, metrics *Metrics) *Source {
	if log == nil {
		log = zap.NewNop()
	}
	if metrics == nil {
		metrics = NewMetrics(nil)
	}
	return &Source{
		cfg: cfg.withDefaults(), log: log.Named("spool"), metrics: metrics,
		done: make(chan struct{}), intruded: make(chan struct{}),
		found: make(chan backup.Stream), more: make(chan struct{}, 1),
		trails: make(map[string]*trail), strange: make(map[string]bool),
	}
}

// Prepare implements [backup.Source]. It refuses a directory in which anything
// but a pipe of another front door stands under a name of the plan, with an error that names it and
// wraps unix.EEXIST. After an error the Source is closed.
func (s *Source) Prepare(ctx context.Context, plan backup.Plan) error {
	if err := s.prepare(ctx, plan); err != nil {
		return errors.Join(fmt.Errorf("prepare the spool: %w", err), s.Close())
	}
	return nil
}

func (s *Source) prepare(ctx context.Context, plan backup.Plan) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closing || s.prepared:
		return errors.New("a Source serves one plan")
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	s.prepared = true
	if err := s.take(plan); err != nil {
		return err
	}
	var err error
	if s.dir, err = openDirectory(s.cfg.Directory, plan.Directory, s.cfg.Owners); err != nil {
		return err
	}
	if s.rescan, err = s.cfg.rescan(s.dir); err != nil {
		return err
	}
	if err := s.checkFollow(); err != nil {
		return err
	}
	if s.events, err = s.dir.subscribe(); err != nil {
		return err
	}
	if err := s.refuseStale(); err != nil {
		return err
	}
	s.started = true
	s.wg.Go(s.watch)
	s.wg.Go(s.announce)
	return nil
}

// checkFollow waits for finished files where a growing one cannot be followed.
func (s *Source) checkFollow() error {
	fs, err := s.dir.statfs()
	if err == nil && s.cfg.Follow && !showsHoles(int64(fs.Type)) { //nolint:unconvert // 32 bits elsewhere
		s.cfg.Follow = false
		s.log.Warn("files are read when HANA has finished them: this file system does not show what is written",
			zap.String("directory", s.dir.path))
	}
	return err
}

// take checks a plan and remembers its streams.
func (s *Source) take(plan backup.Plan) error {
	if err := backup.CheckPrefix(plan.Prefix); err != nil {
		return err
	}
	s.plan = plan
	for _, stream := range plan.Streams {
		if s.find(stream.StreamID) != nil {
			return fmt.Errorf("the plan names stream %s twice", stream.StreamID)
		}
		s.add(stream.StreamID)
	}
	return nil
}

func (s *Source) add(id backup.StreamID) *sourceStream {
	st := &sourceStream{
		report:   backup.StreamReport{StreamID: id, Door: backup.DoorSpool},
		appeared: make(chan struct{}), ready: make(chan struct{}),
	}
	s.streams = append(s.streams, st)
	return st
}

func (s *Source) find(id backup.StreamID) *sourceStream {
	for _, st := range s.streams {
		if st.report.StreamID == id {
			return st
		}
	}
	return nil
}

// refuseStale makes sure that whatever is seen later belongs to this backup.
func (s *Source) refuseStale() error {
	names, err := s.dir.list(s.plan.Owns)
	if err != nil {
		return err
	}
	var stale []string
	for _, name := range names {
		e, err := s.dir.look(name)
		if err != nil {
			return err
		}
		if e.exists && !s.others(e) {
			stale = append(stale, name)
		}
	}
	if len(stale) > 0 {
		return fmt.Errorf("directory %s: %w: %s", s.dir.path, unix.EEXIST, strings.Join(stale, ", "))
	}
	return nil
}

// others reports whether e is another front door's.
func (s *Source) others(e entry) bool { return s.cfg.Pipes && e.isPipe() }

// Open implements [backup.Source]: it waits until HANA has finished the file of
// the stream, in follow mode until it has begun it. Closing the reader early does
// nothing to HANA. A stream is opened once. After Settle a stream without a
// finished file is an error that wraps [backup.ErrNotFound].
func (s *Source) Open(ctx context.Context, stream backup.Stream) (io.ReadCloser, error) {
	s.mu.Lock()
	st := s.find(stream.StreamID)
	s.mu.Unlock()
	if st == nil {
		return nil, fmt.Errorf("open stream %s: it is neither in the plan nor found", stream.StreamID)
	}
	wanted := st.ready
	if s.cfg.Follow {
		wanted = st.appeared
	}
	select {
	case <-wanted:
	case <-ctx.Done():
		return nil, fmt.Errorf("open stream %s: %w", stream.StreamID, context.Cause(ctx))
	case <-s.done:
		return nil, fmt.Errorf("open stream %s: %w", stream.StreamID, ErrClosed)
	}
	r, err := s.open(ctx, st)
	if err != nil {
		return nil, fmt.Errorf("open stream %s: %w", stream.StreamID, err)
	}
	return r, nil
}

func (s *Source) open(ctx context.Context, st *sourceStream) (io.ReadCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closing:
		return nil, ErrClosed
	case st.err != nil:
		return nil, st.err
	case st.opened:
		return nil, errors.New("it was opened before")
	}
	var r io.ReadCloser
	if s.cfg.Follow && !st.over {
		r = s.newFollower(ctx, st)
	} else if finished, err := s.reader(st, s.hooks(ctx, st)); err == nil {
		r = finished
	} else {
		return nil, err
	}
	st.opened = true
	st.report.Opens, st.report.OpenedAt = 1, time.Now()
	return r, nil
}

// reader opens the finished file of a stream.
func (s *Source) reader(st *sourceStream, hooks readerHooks) (*reader, error) {
	r, err := newReader(s.dir, st.name, hooks)
	if err == nil {
		st.file = r.want
	}
	return r, err
}

func (s *Source) hooks(ctx context.Context, st *sourceStream) readerHooks {
	return readerHooks{
		stopped: func() error { return s.stopped(ctx) },
		passed: func(n int) {
			st.bytes.Add(int64(n))
			s.metrics.bytes.WithLabelValues(contentData).Add(float64(n))
		},
		ended: func(err error) error { return s.end(st, err) },
	}
}

// stopped says why nothing is to be read any more.
func (s *Source) stopped(ctx context.Context) error {
	select {
	case <-s.done:
		return ErrClosed
	case <-ctx.Done():
		return context.Cause(ctx)
	default:
		return nil
	}
}

// end takes in how the bytes of a stream ended, and returns what its reader is
// told.
func (s *Source) end(st *sourceStream, err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	st.report.ClosedAt = time.Now()
	if errors.Is(err, ErrChanged) {
		s.metrics.changed.WithLabelValues(contentData).Inc()
	}
	if !errors.Is(err, io.EOF) {
		return err
	}
	if s.closing {
		return ErrClosed
	}
	if st.report.Intrusion != "" {
		return fmt.Errorf("stream %s: %w: %s", st.report.StreamID, ErrIntrusion, st.report.Intrusion)
	}
	st.report.Complete++
	return err
}

// Report implements [backup.Source]; it includes the streams that were found.
func (s *Source) Report() []backup.StreamReport {
	s.mu.Lock()
	defer s.mu.Unlock()
	reports := make([]backup.StreamReport, 0, len(s.streams))
	for _, st := range s.streams {
		r := st.report
		r.Bytes = st.bytes.Load()
		r.Written = s.written(st)
		reports = append(reports, r)
	}
	return reports
}

// written is the size of the file of a stream at this moment.
func (s *Source) written(st *sourceStream) int64 {
	size := st.file.Size
	if st.name == "" || s.closing {
		return size
	}
	for _, name := range []string{"." + st.name, st.name} {
		if e, err := s.dir.look(name); err == nil && e.exists && s.dir.refusal(e) == "" {
			return e.Size
		}
	}
	return size
}

// Files are the finished ones, for [Remove].
func (s *Source) Files() []File {
	s.mu.Lock()
	defer s.mu.Unlock()
	var files []File
	for _, st := range s.streams {
		if st.over && st.err == nil {
			files = append(files, st.file)
		}
	}
	return files
}

// Close implements [backup.Source]. Every file stays where it is.
func (s *Source) Close() error {
	s.closeOnce.Do(func() {
		s.mu.Lock()
		s.closing = true
		events, dir := s.events, s.dir
		// Prepare has started nothing if it failed: announce closes found.
		if !s.started {
			close(s.found)
		}
		s.mu.Unlock()
		close(s.done)

		var err error
		if events != nil {
			err = events.close()
		}
		s.wg.Wait()
		if dir != nil {
			err = errors.Join(err, dir.close())
		}
		s.closeErr = err
	})
	return s.closeErr
}
