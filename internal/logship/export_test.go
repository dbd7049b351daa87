package logship

import "context"

// Look is what Run does now and then; Wait is for the shippers that it started.
func (f *Fleet) Look(ctx context.Context) { f.look(ctx) }

func (f *Fleet) Wait() { f.running.Wait() }
