package logship

import (
	"context"
	"time"
)

// Look is what Run does now and then; Wait is for the shippers that it started.
func (f *Fleet) Look(ctx context.Context) { f.look(ctx) }

func (f *Fleet) Wait() { f.running.Wait() }

// AskAgain lets the next look ask HANA which databases it has.
func (f *Fleet) AskAgain() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hana.asked = time.Time{}
}

// Backdate has the Fleet look after its volume for longer than it does.
func (f *Fleet) Backdate(by time.Duration) { f.parts.arrivals.began = f.parts.arrivals.began.Add(-by) }
