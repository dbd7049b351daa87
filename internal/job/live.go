package job

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// errCancelRequested is the cause of a context that a user cancelled.
var errCancelRequested = errors.New("cancelled on request")

// publishInterval is how often a running job tells its subscribers how far it
// is.
const publishInterval = 250 * time.Millisecond

// live is a job that this process runs, or remembers from the journal.
type live struct {
	request string // what was asked for, to compare idempotent requests
	cancel  context.CancelCauseFunc
	// audience is the conductor's; nil until the job is admitted.
	audience *audience
	// tolerance is how long the store is asked again, 0 where that is not known.
	tolerance time.Duration

	mu          sync.Mutex
	record      Record
	omitted     int // events of its history
	counters    []*counter
	subscribers map[chan Record]struct{}
	done        chan struct{}
}

// counter follows one stream; nobody waits in its hot path.
type counter struct {
	bytes   atomic.Int64
	stored  atomic.Int64
	written atomic.Int64 // by HANA, to a file that is not read yet
	read    atomic.Int64 // of a restore: by HANA, in all openings together
	done    atomic.Bool
	stalled atomic.Bool
	clock   stopwatch
	store   trouble
}

func newLive(record Record, request string, cancel context.CancelCauseFunc) *live {
	return &live{
		record: record, request: request, cancel: cancel,
		subscribers: make(map[chan Record]struct{}), done: make(chan struct{}),
	}
}

// follow sets the streams whose counters the record shows from now on.
func (j *live) follow(streams []backup.Stream) []*counter {
	counters := make([]*counter, len(streams))
	progress := make([]Progress, len(streams))
	for i, s := range streams {
		counters[i] = new(counter)
		progress[i] = Progress{Stream: s}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.counters, j.record.Streams = counters, progress
	return counters
}

// add shows one more stream.
func (j *live) add(s backup.Stream) *counter {
	c := new(counter)
	j.mu.Lock()
	defer j.mu.Unlock()
	j.counters = append(slices.Clip(j.counters), c)
	j.record.Streams = append(slices.Clip(j.record.Streams), Progress{Stream: s})
	return c
}

// warn adds what the operator should know though nothing failed.
func (j *live) warn(text string) {
	j.update(func(record *Record) { record.Warnings = append(slices.Clip(record.Warnings), text) })
}

// snapshot is the record as of now, safe to keep.
func (j *live) snapshot() Record {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.snapshotLocked()
}

func (j *live) snapshotLocked() Record {
	r := j.record
	r.History = slices.Clip(j.record.History) // what is there is never changed
	r.Streams = append([]Progress(nil), j.record.Streams...)
	for i, c := range j.counters {
		c.show(&r.Streams[i], j.tolerance)
	}
	return r
}

// show fills in where the stream is now.
func (c *counter) show(p *Progress, tolerance time.Duration) {
	p.Bytes, p.Stored, p.Done = c.bytes.Load(), c.stored.Load(), c.done.Load()
	p.Written = c.written.Load()
	p.Waits, p.WaitingFor = c.clock.read()
	// Of a stream that has ended neither is true any more.
	p.Stalled, p.StoreError, p.StoreErrorSince, p.StoreErrorUntil = false, "", time.Time{}, time.Time{}
	if p.WaitingFor != "" {
		p.Stalled = c.stalled.Load() && p.WaitingFor != SideDaemon
		p.StoreError, p.StoreErrorSince = c.store.now()
		if tolerance > 0 && !p.StoreErrorSince.IsZero() {
			p.StoreErrorUntil = p.StoreErrorSince.Add(tolerance)
		}
	}
}

// update changes the record and tells the subscribers.
func (j *live) update(change func(*Record)) {
	j.mu.Lock()
	defer j.mu.Unlock()
	before := j.record.Stage
	change(&j.record)
	if now := j.record.Stage; now != before {
		j.record.Stages = append(slices.Clip(j.record.Stages), StageBegin{now, time.Now().UTC()})
	}
	j.publishLocked()
}

// finish makes the record terminal, tells the subscribers and lets them go.
func (j *live) finish(change func(*Record)) Record {
	j.mu.Lock()
	defer j.mu.Unlock()
	change(&j.record)
	j.record = j.snapshotLocked()
	j.counters = nil
	j.publishLocked()
	for channel := range j.subscribers {
		close(channel)
	}
	clear(j.subscribers)
	close(j.done)
	return j.record
}

// publish tells the subscribers how far the job is.
func (j *live) publish() Record {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.publishLocked()
}

// publishLocked leaves the newest record with every subscriber; one that has
// not read the previous record finds it replaced, so nobody slows the job.
func (j *live) publishLocked() Record {
	r := j.snapshotLocked()
	for channel := range j.subscribers {
		select {
		case <-channel:
		default:
		}
		channel <- r
	}
	if j.audience != nil {
		j.audience.tell(r)
	}
	return r
}

// subscribe returns a channel that holds the current record and then each
// newer one; it is closed after the last one. The function ends it early.
func (j *live) subscribe() (<-chan Record, func()) {
	channel := make(chan Record, 1)
	j.mu.Lock()
	defer j.mu.Unlock()
	channel <- j.snapshotLocked()
	if j.record.State.Terminal() || j.record.Suspended {
		close(channel)
		return channel, func() {}
	}
	j.subscribers[channel] = struct{}{}
	return channel, func() {
		j.mu.Lock()
		defer j.mu.Unlock()
		if _, subscribed := j.subscribers[channel]; subscribed {
			delete(j.subscribers, channel)
			close(channel)
		}
	}
}

// publishUntil publishes progress at intervals until the job ends, and shows
// it to each.
func (j *live) publishUntil(ended <-chan struct{}, each func(Record)) {
	ticker := time.NewTicker(publishInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ended:
			return
		case <-ticker.C:
			each(j.publish())
		}
	}
}
