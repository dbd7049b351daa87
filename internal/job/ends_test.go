package job

import (
	"errors"
	"strconv"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap/zaptest"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// TestFailureEnds: a failure ends when something succeeds that proves more or the
// same: a delta that succeeds says nothing about complete backups. It is so after a
// restart, too.
func TestFailureEnds(t *testing.T) {
	t.Parallel()
	const (
		complete     = backup.KindComplete
		differential = backup.KindDifferential
		incremental  = backup.KindIncremental
	)
	type step struct {
		action    Action
		kind      backup.Kind
		state     State
		failing   float64 // afterwards
		recovered bool
	}
	for name, steps := range map[string][]step{
		"complete": {
			{ActionBackup, complete, StateFailed, 1, false},
			{ActionBackup, complete, StateSucceeded, 0, true},
		},
		"a delta after a complete one": {
			{ActionBackup, complete, StateFailed, 1, false},
			{ActionBackup, incremental, StateSucceeded, 1, false},
			{ActionBackup, differential, StateSucceeded, 1, false},
			{ActionBackup, complete, StateSucceeded, 0, true},
		},
		"a complete one ends all": {
			{ActionBackup, differential, StateFailed, 1, false},
			{ActionBackup, complete, StateLost, 1, false},
			{ActionBackup, incremental, StateFailed, 1, false},
			{ActionBackup, complete, StateSucceeded, 0, true},
			{ActionBackup, differential, StateSucceeded, 0, false},
		},
		"a delta after one of the other kind": {
			{ActionBackup, complete, StateSucceeded, 0, false},
			{ActionBackup, differential, StateFailed, 1, false},
			{ActionBackup, incremental, StateSucceeded, 0, true},
		},
		"a delta, while complete ones fail": {
			{ActionBackup, differential, StateFailed, 1, false},
			{ActionBackup, complete, StateFailed, 1, false},
			{ActionBackup, differential, StateSucceeded, 1, false},
		},
		"a restore has no kinds of its own": {
			{ActionRestore, incremental, StateFailed, 1, false},
			{ActionRestore, differential, StateSucceeded, 0, true},
			{ActionRestore, "", StateFailed, 1, false}, // it did not come so far
			{ActionRestore, incremental, StateSucceeded, 0, true},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := Config{Tool: "test", SID: "HXE", Directory: t.TempDir(), StateDirectory: t.TempDir()}
			var mu sync.Mutex
			told := make(map[string]bool)
			parts := Parts{Ended: func(e Ending) {
				mu.Lock()
				defer mu.Unlock()
				told[e.Record.ID] = e.Recovered
			}}
			done := make(chan struct{})
			close(done)
			for n, step := range steps {
				c, err := NewConductor(config, parts, zaptest.NewLogger(t), NewMetrics(prometheus.NewRegistry()))
				if err != nil {
					t.Fatal(err)
				}
				v := verdict{state: step.state}
				if step.state != StateSucceeded {
					v.cause = newError(StageStream, CodeUpload, errors.New("away"))
				}
				record, err := c.start(Record{Action: step.action, Database: "HXE", Kind: step.kind}, strconv.Itoa(n), until(done, v))
				if err != nil {
					t.Fatal(err)
				}
				await(t, c, record.ID)
				c.Close() // the end is told after it is shown
				if got := value(c.metrics.failing, string(step.action), "HXE"); got != step.failing {
					t.Errorf("after step %d last_failed is %v", n, got)
				}
				mu.Lock()
				if told[record.ID] != step.recovered {
					t.Errorf("step %d is told as recovered: %t", n, told[record.ID])
				}
				mu.Unlock()
			}
		})
	}
}
