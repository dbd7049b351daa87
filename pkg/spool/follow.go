package spool

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// Acknowledger is what the reader of [Source.Open] also is in follow mode.
type Acknowledger interface {
	// Acknowledge says that the store has every byte before offset for good. With
	// Config.Punch the blocks before it are freed by the next Read, and nobody can
	// read them again. It does not block.
	Acknowledge(offset int64)
}

var _ Acknowledger = (*follower)(nil)

// follower reads a file while HANA writes it. It opens the file only when there
// is something to read before its end: a small file is read when it is finished.
// When anything is in doubt it waits for the finished file, too, reads it from
// the start and compares what it has delivered; it cannot do that any more once
// it has freed a block.
type follower struct {
	source *Source
	stream *sourceStream
	hooks  readerHooks
	ended  <-chan struct{} // of the context of Open
	acked  atomic.Int64
	gone   chan struct{} // closed by Close

	// mu keeps the descriptors open while a Read uses them; it is not held while
	// a Read waits. It is taken before Source.mu.
	mu     sync.Mutex
	closed bool
	err    error // sticky
	// file is nil until there is something to read of it, as is puncher where
	// nothing is to be freed.
	file, puncher *os.File
	unable        bool // to free anything
	last          File // how it was at the last look
	limit         int64
	offset        int64
	cached        int64 // what is before it was given back to the kernel
	punched       int64 // from Config.Head to here nothing is left
	head, all     maphash.Hash
	tail          []byte // the last bytes that were delivered, at most a block
	doubt         string
	over          bool // HANA has finished the file as it is in last
	rest          *reader
}

func (s *Source) newFollower(ctx context.Context, st *sourceStream) *follower {
	f := &follower{
		source: s, stream: st, hooks: s.hooks(ctx, st), ended: ctx.Done(),
		gone: make(chan struct{}), punched: s.cfg.Head,
	}
	f.all.SetSeed(f.head.Seed())
	return f
}

// Acknowledge implements [Acknowledger].
func (f *follower) Acknowledge(offset int64) {
	for {
		before := f.acked.Load()
		if offset <= before || f.acked.CompareAndSwap(before, offset) {
			return
		}
	}
}

// Read waits for bytes that HANA has written for good. Its io.EOF means what it
// means for a finished file, and that the first bytes are still those that were
// delivered: otherwise the error wraps [backup.ErrCorrupt].
func (f *follower) Read(b []byte) (int, error) {
	for {
		n, err := f.step(b)
		if n > 0 || err != nil || len(b) == 0 {
			return n, err
		}
		f.wait()
	}
}

// wait returns when there may be something to read, or nothing any more.
func (f *follower) wait() {
	timer := time.NewTimer(f.source.cfg.FollowPoll)
	defer timer.Stop()
	var finished <-chan struct{}
	if !f.over {
		finished = f.stream.ready
	}
	select {
	case <-timer.C:
	case <-finished:
	case <-f.ended:
	case <-f.gone:
	case <-f.source.done:
	}
}

// step reads what there is now.
func (f *follower) step(b []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.closed:
		return 0, ErrClosed
	case f.err != nil:
		return 0, f.err
	case f.rest != nil:
		return f.rest.Read(b)
	}
	n, err := f.advance(b)
	if err != nil && f.rest == nil {
		f.err = f.hooks.ended(err)
		err = f.err
	}
	return n, err
}

func (f *follower) advance(b []byte) (int, error) {
	if err := f.hooks.stopped(); err != nil {
		return 0, err
	}
	finished, over, err := f.source.outcome(f.stream)
	if err == nil {
		err = f.prepare(finished, over)
	}
	switch {
	case err != nil:
		return 0, err
	case f.doubt != "" && f.freed() > 0, f.unread() && over:
		return f.fallBack(b)
	case f.unread():
		return 0, nil
	case f.over && f.offset == f.limit:
		return 0, f.end()
	}
	n, err := f.read(b)
	if err == nil {
		err = f.free()
	}
	return n, err
}

// unread reports whether only the finished file will be read.
func (f *follower) unread() bool { return f.file == nil || f.doubt != "" }

// prepare finds out what may be read.
func (f *follower) prepare(finished File, over bool) error {
	switch {
	case f.doubt != "", f.over, f.file == nil && over:
		return nil
	case f.file == nil:
		return f.begin()
	case over:
		return f.conclude(finished)
	case f.offset == f.limit:
		return f.extend()
	}
	return nil
}

// outcome is the finished file of a stream, or why there is none.
func (s *Source) outcome(st *sourceStream) (file File, over bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return st.file, st.over, st.err
}

// begin opens the file if there is something to read before its end.
func (f *follower) begin() error {
	s, st := f.source, f.stream
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return ErrClosed
	}
	s.catchUp(false)
	p, err := s.pair(st.name)
	if err != nil || st.over {
		return err
	}
	at := p.hidden
	if !at.exists {
		at = p.final
	}
	if !at.exists || at.Size <= s.cfg.FollowLag {
		return nil
	}
	if err = f.open(at.Name); err == nil && f.file != nil {
		s.overlook(st, f.last)
	}
	return err
}

func (f *follower) open(name string) error {
	file, e, err := f.source.dir.open(name, unix.O_RDONLY)
	if errors.Is(err, unix.ENOENT) {
		return nil // renamed meanwhile
	}
	if err != nil {
		return err
	}
	f.file, f.last = file, e.File
	if f.source.cfg.Punch {
		f.puncher = f.source.openPuncher(e)
	}
	if err := unix.Fadvise(int(file.Fd()), 0, 0, unix.FADV_SEQUENTIAL); err != nil {
		return fmt.Errorf("follow %s: %w", file.Name(), err)
	}
	return nil
}

// overlook takes back what the events of our own opening say: HANA may have
// closed the file before, and does not say so again.
func (s *Source) overlook(st *sourceStream, opened File) {
	closed := s.trail(st.name).closed
	s.catchUp(false)
	p, err := s.pair(st.name)
	if closed && err == nil && p.holds(opened) {
		s.trail(st.name).closed = true
		s.examine(st.name, false)
		s.catchUp(false)
	}
}

// extend moves the limit of what may be read: at least Config.FollowLag before
// the end, and not beyond the first hole, which ext4, xfs and tmpfs show where a
// write has not completed. Bytes before it are assumed to stay.
func (f *follower) extend() error {
	e, err := f.look()
	if err != nil || f.doubt != "" {
		return err
	}
	safe := roundDown(e.Size - f.source.cfg.FollowLag)
	if safe <= f.offset {
		return nil
	}
	hole, err := unix.Seek(int(f.file.Fd()), f.offset, unix.SEEK_HOLE)
	if err != nil {
		f.distrust(fmt.Sprintf("the file system does not show holes: %v", err))
		return nil
	}
	f.limit = max(f.limit, roundDown(min(safe, hole)))
	return nil
}

// read delivers bytes before the limit.
func (f *follower) read(b []byte) (int, error) {
	b = b[:min(int64(len(b)), f.limit-f.offset)]
	if len(b) == 0 {
		return 0, nil
	}
	n, err := f.file.ReadAt(b, f.offset)
	switch {
	case errors.Is(err, io.EOF): // whose error must not look like the end of the stream
		return 0, fmt.Errorf("follow %s: %w: it ends after %d bytes", f.file.Name(), ErrChanged, f.offset+int64(n))
	case err != nil:
		return 0, fmt.Errorf("read %s: %w", f.file.Name(), err)
	}
	f.remember(b[:n])
	f.offset += int64(n)
	f.hooks.passed(n)
	if f.offset-f.cached >= cacheStep {
		if err := unix.Fadvise(int(f.file.Fd()), f.cached, f.offset-f.cached, unix.FADV_DONTNEED); err != nil {
			return n, fmt.Errorf("read %s: %w", f.file.Name(), err)
		}
		f.cached = f.offset
	}
	return n, nil
}

// conclude goes on with the finished file, if it is the one that was followed.
func (f *follower) conclude(finished File) error {
	e, err := f.look()
	if err != nil || f.doubt != "" {
		return err
	}
	e.Name = finished.Name
	switch {
	case e.Size != finished.Size, f.freed() == 0 && !e.is(finished):
		f.distrust("it was written again after it was finished")
	default:
		// Freeing blocks has changed its time, and ends here.
		f.last, f.limit, f.over = e.File, e.Size, true
		f.source.setFile(f.stream, f.last)
	}
	return nil
}

func (s *Source) setFile(st *sourceStream, file File) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st.file = file
}

// end decides about the last byte.
func (f *follower) end() error {
	want := f.last
	if _, err := f.look(); err != nil {
		return err
	}
	if f.doubt != "" {
		return fmt.Errorf("follow %s: %w: %s", f.file.Name(), ErrChanged, f.doubt)
	}
	size := min(f.source.cfg.Head, f.offset)
	same, err := equal(io.NewSectionReader(f.file, 0, size), size, &f.head)
	if err != nil {
		return fmt.Errorf("read %s again: %w", f.file.Name(), err)
	}
	if !same {
		return fmt.Errorf("follow %s: the first %d bytes changed after they were read: %w", f.file.Name(), size, backup.ErrCorrupt)
	}
	f.source.mu.Lock()
	defer f.source.mu.Unlock()
	if f.source.closing {
		return ErrClosed
	}
	if err := checkUnchanged(f.source.dir, f.file, want); err != nil {
		return err
	}
	return io.EOF
}

// Close leaves the file where it is.
func (f *follower) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil
	}
	f.closed = true
	close(f.gone)
	var errs []error
	for _, file := range []*os.File{f.file, f.puncher} {
		if file != nil {
			errs = append(errs, file.Close())
		}
	}
	if f.rest != nil {
		errs = append(errs, f.rest.Close())
	}
	return errors.Join(errs...)
}
