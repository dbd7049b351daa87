package job

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
	"github.com/pipestreamer/pipestreamer/pkg/fifo"
)

// modelDoors are the front doors of all jobs of one world, as HANA finds them
// in the backup directory.
type modelDoors struct {
	w *modelWorld

	mu       sync.Mutex
	spec     *doorSpec
	byPrefix map[string]*modelDoor
	all      []*modelDoor
	// blocked counts HANA's threads that cannot go on before somebody reads.
	blocked atomic.Int64
}

func (d *modelDoors) heal(spec *doorSpec) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.spec = spec
}

func (d *modelDoors) open() *modelDoor {
	d.mu.Lock()
	defer d.mu.Unlock()
	door := &modelDoor{doors: d, w: d.w, spec: d.spec, closed: make(chan struct{}), intruded: make(chan struct{})}
	d.all = append(d.all, door)
	return door
}

// openForWriting is what HANA does with a name.
func (d *modelDoors) openForWriting(plan backup.Plan, id backup.StreamID) *modelPipe {
	d.mu.Lock()
	door := d.byPrefix[plan.Prefix]
	d.mu.Unlock()
	if door == nil {
		return &modelPipe{file: true, gone: make(chan struct{})}
	}
	return door.openForWriting(id)
}

// openDirect is what HANA does with O_DIRECT: a pipe refuses it.
func (d *modelDoors) openDirect(plan backup.Plan, id backup.StreamID) {
	d.mu.Lock()
	door := d.byPrefix[plan.Prefix]
	d.mu.Unlock()
	if door == nil {
		return
	}
	door.mu.Lock()
	defer door.mu.Unlock()
	for _, s := range door.streams {
		if s.report.StreamID == id {
			s.report.EmptyOpens++
			s.report.DirectOpens++
		}
	}
}

// modelDoor is a Source.
type modelDoor struct {
	doors *modelDoors
	w     *modelWorld
	spec  *doorSpec

	mu       sync.Mutex
	plan     backup.Plan
	streams  []*modelStream
	armed    bool
	closed   chan struct{}
	armedAt  time.Time
	closedAt time.Time
	intruded chan struct{}
	intruder error
}

// modelStream is one stream of a door, with one pipe for each opening by HANA.
type modelStream struct {
	report backup.StreamReport
	begun  chan struct{} // closed with the first byte
	pipes  []*modelPipe
}

// modelPipe is one opening by HANA. A few pieces fit into it; then HANA waits.
type modelPipe struct {
	door   *modelDoor
	stream *modelStream
	file   bool // a plain file: everything fits and nobody reads it
	pieces chan []byte
	end    chan struct{} // HANA has closed it
	gone   chan struct{} // nobody reads it any more
	leftAt time.Time     // since then
}

func (d *modelDoor) Names(plan backup.Plan) ([]fifo.PipeID, error) {
	if d.spec.namesErr != nil {
		return nil, d.spec.namesErr
	}
	var ids []fifo.PipeID
	for _, s := range plan.Streams {
		ids = append(ids, fifo.PipeID{Name: plan.FileName(s.StreamID)})
	}
	return ids, nil
}

func (d *modelDoor) Pipes() []fifo.PipeID {
	d.mu.Lock()
	defer d.mu.Unlock()
	var ids []fifo.PipeID
	for _, s := range d.plan.Streams {
		ids = append(ids, fifo.PipeID{Name: d.plan.FileName(s.StreamID), Dev: 1, Ino: 1})
	}
	return ids
}

func (d *modelDoor) Prepare(ctx context.Context, plan backup.Plan) error {
	if err := d.w.pause(ctx, d.spec.prepareDelay); err != nil {
		return err
	}
	if d.spec.prepareErr != nil {
		return d.spec.prepareErr
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.plan, d.armed, d.armedAt = plan, true, time.Now()
	for _, s := range plan.Streams {
		d.streams = append(d.streams, &modelStream{report: backup.StreamReport{StreamID: s.StreamID}, begun: make(chan struct{})})
	}
	d.doors.mu.Lock()
	defer d.doors.mu.Unlock()
	d.doors.byPrefix[plan.Prefix] = d
	if d.spec.intrusion > 0 {
		d.w.actors.Go(func() {
			if d.w.sleep(d.spec.intrusion, d.closed) {
				d.intrude(d.spec.intrudes%len(plan.Streams), "a regular file stands where a pipe was")
			}
		})
	}
	return nil
}

// intrude records what happened to one stream; Watch tells of it, unless it is
// slower than everything else.
func (d *modelDoor) intrude(i int, what string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.streams[i]
	s.report.Intrusion = what
	if d.intruder == nil {
		d.intruder = fmt.Errorf("stream %s: %s", s.report.StreamID, what)
		if !d.spec.watchSleeps {
			close(d.intruded)
		}
	}
}

func (d *modelDoor) openForWriting(id backup.StreamID) *modelPipe {
	d.mu.Lock()
	defer d.mu.Unlock()
	i := slices.IndexFunc(d.streams, func(s *modelStream) bool { return s.report.StreamID == id })
	if isClosed(d.closed) || !d.armed || i < 0 {
		return &modelPipe{file: true, gone: make(chan struct{})}
	}
	p := &modelPipe{
		door: d, stream: d.streams[i], pieces: make(chan []byte, d.spec.capacity),
		end: make(chan struct{}), gone: make(chan struct{}),
	}
	p.stream.pipes = append(p.stream.pipes, p)
	return p
}

// write is HANA's write(2).
func (p *modelPipe) write(piece []byte) error {
	if p.file {
		return nil
	}
	if isClosed(p.gone) {
		return syscall.EPIPE
	}
	p.arrive()
	p.door.doors.blocked.Add(1)
	defer p.door.doors.blocked.Add(-1)
	select {
	case p.pieces <- piece:
		return nil
	case <-p.gone:
		return syscall.EPIPE
	case <-p.door.w.over:
		return syscall.EINTR
	}
}

// arrive notes the first byte of an opening.
func (p *modelPipe) arrive() {
	p.door.mu.Lock()
	defer p.door.mu.Unlock()
	s := p.stream
	switch {
	case s.pipes[0] != p:
		if s.report.Opens == 1 {
			s.report.Opens = 2
			if p.door.spec.seesSecond && p.door.intruder == nil {
				p.door.intruder = fmt.Errorf("stream %s: a second writer", s.report.StreamID)
				close(p.door.intruded)
			}
		}
	case s.report.Opens == 0:
		s.report.Opens, s.report.OpenedAt = 1, time.Now()
		s.report.Path = p.door.plan.Directory + "/" + p.door.plan.FileName(s.report.StreamID)
		close(s.begun)
	}
}

// closeWriter is HANA's close(2).
func (p *modelPipe) closeWriter() {
	if p.file {
		return
	}
	p.door.mu.Lock()
	defer p.door.mu.Unlock()
	if !isClosed(p.end) {
		close(p.end)
		if p.stream.report.Opens == 0 {
			p.stream.report.EmptyOpens++
			p.stream.pipes = nil // the next opening may still be the first
		}
	}
}

// Open waits for the first byte of a stream.
func (d *modelDoor) Open(ctx context.Context, s backup.Stream) (io.ReadCloser, error) {
	d.mu.Lock()
	i := slices.IndexFunc(d.streams, func(have *modelStream) bool { return have.report.StreamID == s.StreamID })
	d.mu.Unlock()
	if i < 0 {
		return nil, fmt.Errorf("stream %s is not armed", s.StreamID)
	}
	stream := d.streams[i]
	select {
	case <-stream.begun:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-d.closed:
		return nil, fifo.ErrClosed
	}
	if d.spec.openErr != nil && d.spec.breaks == i {
		return nil, d.spec.openErr
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return &modelReader{ctx: ctx, pipe: stream.pipes[0], index: i}, nil
}

// Watch tells of an intrusion.
func (d *modelDoor) Watch(ctx context.Context) error {
	select {
	case <-d.intruded:
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.intruder
	case <-ctx.Done():
	case <-d.closed:
	}
	return nil
}

func (d *modelDoor) Report() []backup.StreamReport {
	d.mu.Lock()
	defer d.mu.Unlock()
	var reports []backup.StreamReport
	for _, s := range d.streams {
		reports = append(reports, s.report)
	}
	return reports
}

// Close lets go of HANA: whoever writes gets EPIPE.
func (d *modelDoor) Close() error {
	d.mu.Lock()
	if !isClosed(d.closed) {
		d.closedAt = time.Now()
		close(d.closed)
		for _, s := range d.streams {
			for _, p := range s.pipes {
				p.leave()
			}
		}
	}
	d.mu.Unlock()
	d.w.sleep(d.spec.closeDelay)
	return d.spec.closeErr
}

// leave is the end of reading, under the door's lock.
func (p *modelPipe) leave() {
	if !isClosed(p.gone) {
		p.leftAt = time.Now()
		close(p.gone)
	}
}

// modelReader is the reading end of a pipe.
type modelReader struct {
	ctx   context.Context //nolint:containedctx // Open's ctx ends Reads, says the contract
	pipe  *modelPipe
	index int
	rest  []byte
	ended bool
}

func (r *modelReader) Read(into []byte) (int, error) {
	d := r.pipe.door
	if d.spec.readErr != nil && d.spec.breaks == r.index && r.passed() > d.spec.breaksAt {
		return 0, d.spec.readErr
	}
	if err := r.next(); err != nil {
		return 0, err
	}
	n := copy(into, r.rest)
	r.rest = r.rest[n:]
	d.mu.Lock()
	defer d.mu.Unlock()
	r.pipe.stream.report.Bytes += int64(n)
	return n, nil
}

func (r *modelReader) passed() int64 {
	r.pipe.door.mu.Lock()
	defer r.pipe.door.mu.Unlock()
	return r.pipe.stream.report.Bytes
}

// next waits for a piece, unless one is at hand.
func (r *modelReader) next() error {
	if len(r.rest) > 0 {
		return nil
	}
	select {
	case r.rest = <-r.pipe.pieces:
		return nil
	default:
	}
	select {
	case r.rest = <-r.pipe.pieces:
		return nil
	case <-r.pipe.end:
	case <-r.ctx.Done():
		return context.Cause(r.ctx)
	case <-r.pipe.gone:
		return fifo.ErrClosed
	}
	select {
	case r.rest = <-r.pipe.pieces: // what HANA wrote before it closed
		return nil
	default:
	}
	r.pipe.door.mu.Lock()
	defer r.pipe.door.mu.Unlock()
	if !r.ended {
		r.ended = true
		r.pipe.stream.report.Complete++
		r.pipe.stream.report.ClosedAt = time.Now()
	}
	return io.EOF
}

func (r *modelReader) Close() error {
	r.pipe.door.mu.Lock()
	defer r.pipe.door.mu.Unlock()
	r.pipe.leave()
	if r.pipe.door.spec.readerErr != nil && r.pipe.door.spec.breaks == r.index {
		return r.pipe.door.spec.readerErr
	}
	return nil
}
