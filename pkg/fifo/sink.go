package fifo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

var _ backup.Sink = (*Sink)(nil)

// Sink hands the streams of one backup to HANA through pipes. It serves one
// plan. Its methods may be called from several goroutines.
//
// Readers that open the same name between two looks of the Sink (2 ms, 20 ms
// after two idle seconds) share a pipe and tear its bytes apart, and the kernel
// gives no way to tell them apart; later ones, overlapping or not, get a pipe
// and a stream of their own. HANA is not known to open a file twice at once.
type Sink struct {
	cfg     Config
	log     *zap.Logger
	metrics *Metrics

	done      chan struct{} // closed by Close
	closeOnce sync.Once
	closeErr  error

	// mu guards everything below and every use of dir.
	mu       sync.Mutex
	prepared bool
	closing  bool
	dir      *directory
	streams  []*sinkStream
}

// sinkStream is one stream of the plan, guarded by Sink.mu.
type sinkStream struct {
	report backup.StreamReport
	name   string
	// fresh is the temporary name of every pipe before it takes name.
	fresh string
	// waiting stands at name and has not been opened. Its descriptor is O_PATH,
	// so that we count neither as its reader nor as its writer.
	waiting *pipe
	serving bool
	// opening counts as report.Opens; it says whose bytes report.Bytes are.
	opening int
}

// NewSink returns a Sink. A nil log or metrics is replaced by one that leads
// nowhere.
func NewSink(cfg Config, log *zap.Logger, metrics *Metrics) *Sink {
	if log == nil {
		log = zap.NewNop()
	}
	if metrics == nil {
		metrics = NewMetrics(nil)
	}
	return &Sink{
		cfg: cfg.withDefaults(), log: log.Named("fifo"), metrics: metrics, done: make(chan struct{}),
	}
}

// Prepare implements [backup.Sink]. It refuses names that are taken, with an
// error that names them and wraps unix.EEXIST. After an error the Sink is
// closed.
func (s *Sink) Prepare(ctx context.Context, plan backup.Plan) error {
	if err := s.prepare(ctx, plan); err != nil {
		return errors.Join(err, s.Close())
	}
	return nil
}

func (s *Sink) prepare(ctx context.Context, plan backup.Plan) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing || s.prepared {
		return errors.New("prepare pipes: a Sink serves one plan")
	}
	s.prepared = true
	var err error
	if s.dir, err = prepareDirectory(s.cfg, plan, s.log); err != nil {
		return err
	}
	for _, stream := range plan.Streams {
		if ctx.Err() != nil {
			return fmt.Errorf("prepare pipes: %w", context.Cause(ctx))
		}
		st := &sinkStream{
			report: backup.StreamReport{StreamID: stream.StreamID},
			name:   plan.FileName(stream.StreamID), fresh: temporaryName(plan.FileName(stream.StreamID), 0),
		}
		p, err := s.createWaiting(st)
		if err != nil {
			return err
		}
		st.waiting = p
		s.streams = append(s.streams, st)
		if err := s.dir.place(st.fresh, st.name); err != nil {
			return err
		}
	}
	return nil
}

// createWaiting makes a pipe at st.fresh and keeps it with an O_PATH descriptor.
func (s *Sink) createWaiting(st *sinkStream) (*pipe, error) {
	p, err := s.dir.create(st.fresh, s.cfg.Mode)
	if err != nil {
		return nil, err
	}
	file, err := p.reopen(unix.O_PATH)
	if err = errors.Join(err, p.file.Close()); err != nil {
		return nil, errors.Join(err, unix.Unlinkat(s.dir.fd, st.fresh, 0))
	}
	return &pipe{id: p.id, file: file}, nil
}

// renew puts a fresh pipe at the name of st in place of the one that HANA has
// opened.
func (s *Sink) renew(st *sinkStream) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return ErrClosed
	}
	fresh, err := s.createWaiting(st)
	if err != nil {
		return err
	}
	swapped, err := s.dir.swap(st.fresh, st.name, st.waiting.id)
	if err == nil && !swapped {
		err = s.intrude(st)
	}
	if err != nil {
		_, removeErr := s.dir.remove(st.fresh, func(e entry) bool { return e.is(fresh.id) })
		return errors.Join(err, removeErr, fresh.file.Close())
	}
	old := st.waiting
	st.waiting = fresh
	return old.file.Close()
}

// check makes sure that the pipe that waits can still be found by its name.
func (s *Sink) check(st *sinkStream) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return ErrClosed
	}
	e, err := s.dir.look(st.name)
	if err != nil || e.is(st.waiting.id) {
		return err
	}
	return s.intrude(st)
}

// intrude records that something else than the waiting pipe stands at the name.
func (s *Sink) intrude(st *sinkStream) error {
	e, err := s.dir.look(st.name)
	if err != nil {
		return err
	}
	what := fmt.Sprintf("where a pipe stood, %s/%s is %s", s.dir.path, st.name, e)
	if st.report.Intrusion == "" {
		st.report.Intrusion = what
		s.metrics.intrusions.WithLabelValues(directionRestore).Inc()
	}
	return fmt.Errorf("%w: %s", ErrIntrusion, what)
}

// Report implements [backup.Sink].
func (s *Sink) Report() []backup.StreamReport {
	s.mu.Lock()
	defer s.mu.Unlock()
	reports := make([]backup.StreamReport, 0, len(s.streams))
	for _, st := range s.streams {
		reports = append(reports, st.report)
	}
	return reports
}

// Pipes gives the pipes of the plan, for the journal: what [Sweep] needs should
// this process die. The inode is 0, because another pipe takes the name at
// every opening.
func (s *Sink) Pipes() []PipeID {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ids []PipeID
	for _, st := range s.streams {
		ids = append(
			ids,
			PipeID{Name: st.name, Dev: st.waiting.id.Dev},
			PipeID{Name: st.fresh, Dev: st.waiting.id.Dev},
		)
	}
	return ids
}

// Close implements [backup.Sink]. A reader that waits in open(2) gets an empty
// stream, one that is being served gets a short one. It takes about 20 ms;
// calls of Serve return soon after.
func (s *Sink) Close() error {
	s.closeOnce.Do(func() {
		close(s.done)
		s.mu.Lock()
		s.closing = true
		var errs []error
		var held []*os.File
		for _, st := range s.streams {
			// Both ends open, then the name away, then close: see hold.
			f, err := st.waiting.reopen(unix.O_RDWR | unix.O_NONBLOCK)
			errs = append(errs, err)
			if err == nil {
				held = append(held, f)
			}
			for _, name := range []string{st.name, st.fresh} {
				_, err := s.dir.remove(name, func(e entry) bool { return e.is(st.waiting.id) })
				errs = append(errs, err)
			}
			held = append(held, st.waiting.file)
		}
		s.mu.Unlock()
		if len(held) > 0 {
			time.Sleep(linger)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, f := range held {
			errs = append(errs, f.Close())
		}
		if s.dir != nil {
			errs = append(errs, s.dir.close())
		}
		s.closeErr = errors.Join(errs...)
	})
	return s.closeErr
}
