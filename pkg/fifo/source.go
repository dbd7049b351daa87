package fifo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

var _ backup.Source = (*Source)(nil)

// Source receives the streams of one backup through pipes. It serves one plan.
// Its methods may be called from several goroutines.
type Source struct {
	cfg     Config
	log     *zap.Logger
	metrics *Metrics

	done      chan struct{} // closed by Close
	intruded  chan struct{} // closed by the first intrusion
	wg        sync.WaitGroup
	closeOnce sync.Once
	closeErr  error

	// mu guards everything below and every use of dir: a scan sees no half
	// finished swap, and no call meets a closed descriptor. No descriptor of a
	// pipe is closed under it.
	mu        sync.Mutex
	prepared  bool
	closing   bool
	dir       *directory
	events    *os.File // inotify
	ours      func(name string) bool
	streams   []*sourceStream
	intrusion error
}

// sourceStream is one stream of the plan, guarded by Source.mu but for its
// counter of bytes.
type sourceStream struct {
	report        backup.StreamReport
	final, hidden string
	// atHidden was armed at the hidden name; HANA may rename it to the final one.
	atHidden *pipe
	// spare takes the place of the first pipe that gets bytes.
	spare *pipe
	// live are the pipes whose read end is open.
	live []*pipe
	// current is the pipe that got the first bytes; begun is closed with it.
	current *pipe
	begun   chan struct{}
	opened  bool
	// refusing is set when no writer is wanted any more; rearmed counts the
	// names that had to be taken again since.
	refusing bool
	rearmed  int
	openings openings

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
		cfg: cfg.withDefaults(), log: log.Named("fifo"), metrics: metrics,
		done: make(chan struct{}), intruded: make(chan struct{}),
	}
}

// Prepare implements [backup.Source]. It refuses a directory in which any file
// of the plan's prefix stands, with an error that names it and wraps
// unix.EEXIST. After an error the Source is closed.
func (s *Source) Prepare(ctx context.Context, plan backup.Plan) error {
	if err := s.prepare(ctx, plan); err != nil {
		return errors.Join(err, s.Close())
	}
	return nil
}

func (s *Source) prepare(ctx context.Context, plan backup.Plan) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing || s.prepared {
		return errors.New("prepare pipes: a Source serves one plan")
	}
	s.prepared = true
	var err error
	if s.dir, err = prepareDirectory(s.cfg, plan, s.log); err != nil {
		return err
	}
	marker := plan.Prefix + "_databackup_"
	s.ours = func(name string) bool { return strings.HasPrefix(strings.TrimPrefix(name, "."), marker) }
	stale, err := s.dir.list(s.ours)
	if err != nil {
		return err
	}
	if len(stale) > 0 {
		return fmt.Errorf("prepare pipes in %s: %w: %s", s.dir.path, unix.EEXIST, strings.Join(stale, ", "))
	}
	for _, stream := range plan.Streams {
		if ctx.Err() != nil {
			return fmt.Errorf("prepare pipes: %w", context.Cause(ctx))
		}
		if err := s.arm(plan, stream.StreamID); err != nil {
			return err
		}
	}
	if err := s.follow(); err != nil {
		return err
	}
	return s.intrusion
}

// openPlan checks a plan and opens its directory.
func openPlan(cfg Config, plan backup.Plan) (*directory, error) {
	if err := backup.CheckPrefix(plan.Prefix); err != nil {
		return nil, fmt.Errorf("prepare pipes: %w", err)
	}
	seen := make(map[backup.StreamID]bool, len(plan.Streams))
	for _, stream := range plan.Streams {
		if seen[stream.StreamID] {
			return nil, fmt.Errorf("prepare pipes: the plan names stream %s twice", stream.StreamID)
		}
		seen[stream.StreamID] = true
	}
	if len(seen) == 0 {
		return nil, errors.New("prepare pipes: the plan has no streams")
	}
	return openDirectory(cfg.Directory, plan.Directory)
}

// prepareDirectory opens and checks the directory of a plan.
func prepareDirectory(cfg Config, plan backup.Plan, log *zap.Logger) (*directory, error) {
	dir, err := openPlan(cfg, plan)
	if err != nil {
		return nil, err
	}
	hint, err := dir.check()
	if err != nil {
		return nil, errors.Join(err, dir.close())
	}
	if hint != "" {
		log.Warn(hint, zap.String("directory", dir.path))
	}
	return dir, nil
}

// arm makes the three pipes of a stream, each with a reader, and puts two of
// them under the names that HANA may open.
func (s *Source) arm(plan backup.Plan, id backup.StreamID) error {
	st := &sourceStream{
		report: backup.StreamReport{StreamID: id},
		final:  plan.FileName(id), hidden: plan.TemporaryName(id),
		begun: make(chan struct{}),
	}
	s.streams = append(s.streams, st)
	for n := range sourcePipes {
		p, err := s.dir.create(temporaryName(st.final, n), s.cfg.Mode)
		if err != nil {
			return err
		}
		st.live = append(st.live, p)
	}
	st.atHidden, st.spare = st.live[1], st.live[2]
	for i, name := range []string{st.final, st.hidden} {
		if err := s.dir.place(st.live[i].id.Name, name); err != nil {
			return err
		}
		st.live[i].id.Name = name
	}
	return nil
}

// Open implements [backup.Source]. A stream is opened once. With Config.Rescue
// the error wraps backup.ErrBypassed as soon as HANA writes a file instead.
func (s *Source) Open(ctx context.Context, stream backup.Stream) (io.ReadCloser, error) {
	st := s.find(stream.StreamID)
	if st == nil {
		return nil, fmt.Errorf("open stream %s: it is not in the plan", stream.StreamID)
	}
	select {
	case <-st.begun:
	case <-ctx.Done():
		return nil, fmt.Errorf("open stream %s: %w", stream.StreamID, context.Cause(ctx))
	case <-s.done:
		return nil, fmt.Errorf("open stream %s: %w", stream.StreamID, ErrClosed)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closing:
		return nil, fmt.Errorf("open stream %s: %w", stream.StreamID, ErrClosed)
	case st.opened:
		return nil, fmt.Errorf("open stream %s: it was opened before", stream.StreamID)
	case st.report.Bypass != "":
		return nil, fmt.Errorf("open stream %s: %w: %s", stream.StreamID, backup.ErrBypassed, st.report.Bypass)
	}
	st.opened = true
	return newReader(ctx, s, st), nil
}

func (s *Source) find(id backup.StreamID) *sourceStream {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, st := range s.streams {
		if st.report.StreamID == id {
			return st
		}
	}
	return nil
}

// Report implements [backup.Source].
func (s *Source) Report() []backup.StreamReport {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.catchUp()
	reports := make([]backup.StreamReport, 0, len(s.streams))
	for _, st := range s.streams {
		r := st.report
		r.Bytes, r.Door = st.bytes.Load(), backup.DoorFIFO
		r.EmptyOpens, r.DirectOpens = st.openings.empty, st.openings.direct
		reports = append(reports, r)
	}
	return reports
}

// Pipes gives the names of the pipes of the plan, for the journal: what
// [Release] and [Sweep] need should this process die. The inode is 0, because
// several pipes take a name in turn.
func (s *Source) Pipes() []PipeID {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ids []PipeID
	for _, st := range s.streams {
		for _, name := range sourceNames(st.final, st.hidden) {
			ids = append(ids, PipeID{Name: name, Dev: st.atHidden.id.Dev})
		}
	}
	return ids
}

// Close implements [backup.Source]. It removes our pipes and nothing else; an
// error names what it could not remove. It takes about 20 ms.
func (s *Source) Close() error {
	s.closeOnce.Do(func() {
		s.mu.Lock()
		s.catchUp()
		s.closing = true
		watch, dir := s.events, s.dir
		s.mu.Unlock()
		close(s.done)

		err := s.release()
		if watch != nil {
			err = errors.Join(err, watch.Close())
		}
		s.wg.Wait()
		if dir != nil {
			s.mu.Lock()
			err = errors.Join(err, dir.close())
			s.mu.Unlock()
		}
		s.closeErr = err
	})
	return s.closeErr
}

// release takes all streams out of service so that nobody stays blocked: a
// writer meets EPIPE at once; names go while every read end is still open, so
// that no opener of a name can be left alone with its pipe (a plain unlink(2)
// leaves an opener blocked for ever).
func (s *Source) release() error {
	var errs []error
	var rest []*pipe
	s.mu.Lock()
	for _, st := range s.streams {
		names := []string{st.hidden, st.final}
		for _, p := range st.live {
			names = append(names, p.id.Name)
		}
		for _, name := range names {
			_, err := s.dir.remove(name, func(e entry) bool { return e.isOneOf(st.live) })
			errs = append(errs, err)
		}
		rest = append(rest, st.live...)
		st.live = nil
	}
	s.mu.Unlock()
	if len(rest) > 0 {
		time.Sleep(linger)
	}
	for _, p := range rest {
		errs = append(errs, ignoreClosed(p.file.Close()))
	}
	return errors.Join(errs...)
}

func ignoreClosed(err error) error {
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}
