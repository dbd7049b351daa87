package job

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// watchInterval is the longest time between two looks at the streams.
const watchInterval = 5 * time.Second

// movement is how long a stream has stood still. It counts looks and not time:
// a process that was stopped, or a machine that slept, is no reason to fail.
type movement struct {
	bytes, stored, written int64
	looks                  int
}

func (m *movement) look(c *counter) (moved bool) {
	now := movement{bytes: c.bytes.Load(), stored: c.stored.Load(), written: c.written.Load(), looks: m.looks}
	if *m == now {
		m.looks++
		return false
	}
	now.looks = 0
	*m = now
	return true
}

// movements remembers the streams from one look to the next.
type movements map[*transfer]*movement

func (m movements) of(t *transfer) *movement {
	if m[t] == nil {
		m[t] = new(movement)
	}
	return m[t]
}

// watchProgress runs while HANA writes. It raises an alarm for each stream that
// stands still for StallTimeout and names the side that it waits for, and it
// fails when nothing at all moves for longer than anything may take.
func (r *backupRun) watchProgress(ctx context.Context) *Error {
	interval := max(min(r.config.StallTimeout, r.config.OpenTimeout, r.config.IdleTimeout, r.config.StoreTimeout)/20, time.Millisecond)
	interval = min(interval, watchInterval)
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	defer r.metrics.stalled.DeletePartialMatch(map[string]string{"database": r.plan.Database})
	seen := make(movements)
	still := 0 // looks since the last movement of any stream
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		still++
		r.lookAtFiles()
		for _, t := range r.transfers() {
			m := seen.of(t)
			if m.look(t.counter) {
				still = 0
			}
			r.alarm(t, time.Duration(m.looks)*interval)
		}
		r.countStalled()
		if err := r.standstill(time.Duration(still) * interval); err != nil {
			return err
		}
	}
}

// lookAtFiles notes how much HANA has written to files that nobody reads yet.
func (r *backupRun) lookAtFiles() {
	written := r.source.written()
	for _, t := range r.transfers() {
		t.counter.written.Store(written[t.stream.StreamID])
	}
}

// alarm tells that a stream stands still, and that it moves again.
func (r *backupRun) alarm(t *transfer, still time.Duration) {
	c := t.counter
	stalled := still >= r.config.StallTimeout && c.bytes.Load() > 0 && !c.done.Load()
	if c.stalled.Swap(stalled) == stalled {
		return
	}
	_, side := c.clock.read()
	fields := []zap.Field{zap.Stringer("stream", t.stream.StreamID), zap.String("waiting_for", string(side)), zap.Int64("bytes", c.bytes.Load())}
	if !stalled {
		r.log.Info("a stalled stream moves again or has ended", fields...)
		return
	}
	r.log.Warn("a stream is stalled", append(fields, zap.Duration("for", still), zap.String("store_error", c.store.text()))...)
	t.note(side, "nothing has moved for %s", still.Round(time.Second))
}

// countStalled shows the alarms as a metric.
func (r *backupRun) countStalled() {
	count := map[Side]int{SideHANA: 0, SideStore: 0}
	for _, t := range r.transfers() {
		if _, side := t.counter.clock.read(); t.counter.stalled.Load() {
			count[side]++
		}
	}
	for side, n := range count {
		r.metrics.stalled.WithLabelValues(r.plan.Database, string(side)).Set(float64(n))
	}
}

// standing is who does not move.
type standing struct {
	unopened, open []string // streams without an end: before and after their first byte
	first          backup.StreamID
	forStore       bool
}

func (r *backupRun) standing() standing {
	var s standing
	for _, t := range r.transfers() {
		switch {
		case t.counter.done.Load():
			continue
		case t.counter.bytes.Load()+t.counter.written.Load() == 0:
			s.unopened = append(s.unopened, t.stream.String())
		default:
			s.open = append(s.open, t.stream.String())
			s.forStore = s.forStore || !t.counter.clock.waitsFor(SideHANA)
		}
		if len(s.unopened)+len(s.open) == 1 {
			s.first = t.stream.StreamID
		}
	}
	return s
}

// standstill fails when nothing has moved for as long as the slower of those
// that are waited for may take.
func (r *backupRun) standstill(still time.Duration) *Error {
	s, limits := r.standing(), &r.config
	switch {
	case len(s.open) > 0 && s.forStore:
		if still >= limits.StoreTimeout {
			return streamError(StageStream, s.first, CodeUpload, fmt.Errorf(
				"the store has taken nothing for %s; unfinished: %s", limits.StoreTimeout, strings.Join(s.open, ", ")))
		}
	case len(s.open) > 0:
		if still >= limits.IdleTimeout {
			return streamError(StageStream, s.first, CodeIdle, fmt.Errorf(
				"HANA has written nothing for %s; without an end: %s", limits.IdleTimeout, strings.Join(s.open, ", ")))
		}
	case still < limits.OpenTimeout:
	case len(s.unopened) == len(r.transfers()):
		return newError(StageStream, CodeUnopened, fmt.Errorf("HANA wrote to no stream within %s", limits.OpenTimeout))
	case len(s.unopened) > 0:
		return streamError(StageStream, s.first, CodeUnopened, fmt.Errorf(
			"the other streams have ended and HANA has written nothing for %s; without a byte: %s", limits.OpenTimeout, strings.Join(s.unopened, ", ")))
	}
	return nil
}

// watchEnding runs once HANA has answered. It fails when a stream then stays
// without a byte and without an end: what is in a pipe at that moment arrives
// at once, and a slow store is not HANA's fault.
func (r *backupRun) watchEnding(ctx context.Context) *Error {
	ticker := time.NewTicker(r.config.EndTimeout / 10)
	defer ticker.Stop()
	seen := make(movements)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		for _, t := range r.transfers() {
			m := seen.of(t)
			if m.look(t.counter) || t.counter.done.Load() || !t.counter.clock.waitsFor(SideHANA) {
				m.looks = 0
			}
			if m.looks < 10 {
				continue
			}
			if m.bytes == 0 {
				return streamError(StageStream, t.stream.StreamID, CodeUnopened, errors.New("HANA has answered but never wrote to it"))
			}
			return streamError(StageStream, t.stream.StreamID, CodeUnfinished,
				fmt.Errorf("HANA has answered but the stream has no end after %d bytes", m.bytes))
		}
	}
}
