package job

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// modelTenant is a backup.Recoverer: one tenant that can be recovered.
type modelTenant struct {
	w *modelWorld

	mu       sync.Mutex
	spec     *restoreSpec
	sinks    []*modelSink
	stopped  bool
	touched  bool // RECOVER has begun to replace its data
	whole    bool // and has replaced all of it with what was backed up
	sent     int  // RECOVERs
	started  int  // Starts after a RECOVER that failed
	succeeds bool // RECOVER has answered success
}

func (m *modelTenant) sink() *modelSink {
	m.mu.Lock()
	defer m.mu.Unlock()
	k := newModelSink(m.w, m.spec)
	m.sinks = append(m.sinks, k)
	return k
}

// CheckRecovery changes nothing.
func (m *modelTenant) CheckRecovery(ctx context.Context, _ backup.Plan) error {
	if err := m.w.pause(ctx, m.spec.delay); err != nil {
		return err
	}
	return m.spec.checkErr
}

// Stop stops the tenant; an answer that gets lost does not undo that.
func (m *modelTenant) Stop(ctx context.Context, _ backup.Plan) error {
	if err := m.w.pause(ctx, m.spec.delay); err != nil {
		return err
	}
	if m.spec.stopErr != nil {
		return m.spec.stopErr
	}
	m.mu.Lock()
	m.stopped = true
	m.mu.Unlock()
	return m.w.pause(ctx, m.spec.delay)
}

// Recover reads all files: their headers first, then everything.
func (m *modelTenant) Recover(ctx context.Context, plan backup.Plan) error {
	m.mu.Lock()
	m.sent++
	sink := m.sinks[len(m.sinks)-1]
	ok := m.stopped
	m.mu.Unlock()
	if !ok {
		return &backup.HANAError{Code: 448, Text: "the database is online", Statement: "RECOVER DATA"}
	}
	if m.spec.recovery == recoverNotSent {
		return fmt.Errorf("RECOVER DATA: %w", backup.ErrNotSent)
	}
	if m.spec.recovery == recoverRefused {
		return &backup.HANAError{Code: 448, Text: "recovery could not be completed", Statement: "RECOVER DATA"}
	}
	ended := make(chan error, 1)
	m.w.actors.Go(func() { ended <- m.perform(sink, plan) })
	switch m.spec.recovery {
	case recoverNever:
		return m.w.hang(ctx)
	case recoverLost:
		if err := m.w.pause(ctx, m.spec.lostAfter); err != nil {
			return err
		}
		return errModelConnection
	default:
	}
	select {
	case err := <-ended:
		if err == nil {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.succeeds = true
		}
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// RecoverTo is what no restore of the model's asks for.
func (m *modelTenant) RecoverTo(context.Context, backup.Recovery) error {
	return fmt.Errorf("RECOVER DATABASE: %w", errors.ErrUnsupported)
}

func (m *modelTenant) perform(sink *modelSink, plan backup.Plan) error {
	m.mu.Lock()
	m.touched, m.whole = true, false
	m.mu.Unlock()
	good := true
	for i, s := range plan.Streams {
		if m.spec.recovery == recoverUnread && i == len(plan.Streams)-1 {
			continue
		}
		if m.spec.headers {
			sink.read(i, 1, m.spec.pause)
		}
		text := sink.read(i, 1<<30, m.spec.pause)
		good = good && modelHash(text) == m.spec.hashes[s.StreamID]
	}
	m.w.sleep(m.spec.delay)
	m.mu.Lock()
	defer m.mu.Unlock()
	if !good || m.spec.recovery == recoverFails {
		return &backup.HANAError{Code: 448, Inner: []int{2000004}, Text: "recovery could not be completed", Statement: "RECOVER DATA"}
	}
	m.whole = m.spec.recovery != recoverUnread
	m.stopped = !m.spec.startsItself
	return nil
}

// Start starts the tenant, if its data allows that.
func (m *modelTenant) Start(ctx context.Context, _ backup.Plan) error {
	if err := m.w.pause(ctx, m.spec.delay); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.spec.startErr != nil:
		return m.spec.startErr
	case m.touched && !m.whole && m.spec.recovery != recoverUnread:
		m.started++
		return &backup.HANAError{Code: 2, Text: "the database needs recovery", Statement: "ALTER SYSTEM START DATABASE"}
	}
	m.stopped = false
	return nil
}
