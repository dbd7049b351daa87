package main

import (
	"testing"

	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/internal/job"
)

// refusals counts how often jobs were refused.
type refusals int

func (r *refusals) Refuse() []job.Record { *r++; return []job.Record{{ID: "j"}} }

// TestGate: a drain that came before there were jobs holds when there are.
func TestGate(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name                string
		drainsBefore, after int
		refused             refusals
		running             int
	}{
		{name: "no drain"},
		{name: "before there are jobs", drainsBefore: 2, refused: 1},
		{name: "after that", after: 1, refused: 1, running: 1},
		{name: "both", drainsBefore: 1, after: 1, refused: 2, running: 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			g := gate{log: zap.NewNop()}
			for range test.drainsBefore {
				if running := g.drain(); len(running) != 0 {
					t.Errorf("running before there are jobs: %+v", running)
				}
			}
			var refused refusals
			g.open(&refused)
			for range test.after {
				if running := g.drain(); len(running) != test.running {
					t.Errorf("running: %+v, expected %d", running, test.running)
				}
			}
			if closed := !g.since().IsZero(); closed != (test.refused > 0) {
				t.Errorf("closed since %s", g.since())
			}
			if refused != test.refused {
				t.Errorf("refused %d times, expected %d", refused, test.refused)
			}
		})
	}
}

func TestStartup(t *testing.T) {
	t.Parallel()
	var s startup
	if err := s.started(); err == nil {
		t.Error("started before it began")
	}
	s.at("locks the state directory")
	if err := s.started(); err == nil || err.Error() != "starting: locks the state directory" {
		t.Errorf("got %v", err)
	}
	s.done()
	if err := s.started(); err != nil {
		t.Errorf("not started at the end: %v", err)
	}
}
