package job

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// lateRow is a catalog in which a running backup is not found at first.
type lateRow struct {
	backup.Trigger

	asked atomic.Int64
}

func (l *lateRow) Cancel(ctx context.Context, plan backup.Plan) error {
	if l.asked.Add(1) == 1 {
		return nil // no such backup
	}
	return l.Trigger.Cancel(ctx, plan)
}

// TestCancelIsRepeated cancels a backup that HANA has not yet entered into its
// catalog, and in which it opens nothing: only a cancel ends it.
func TestCancelIsRepeated(t *testing.T) {
	t.Parallel()
	w := startWhole(t, func(_ *hanasim.Config, _ *Parts, c *Config) { c.AnswerTimeout = 20 * time.Second })
	row := &lateRow{Trigger: w.parts.Trigger}
	w.parts.Trigger = row
	for _, volume := range []string{"0", "2", "3"} {
		if err := w.system.Set("fail", "stall-open:"+volume); err != nil {
			t.Fatal(err)
		}
	}
	record, err := w.StartBackup(t.Context(), BackupRequest{Database: "HXE"}, "")
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); w.system.Stalled() < 3; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("HANA does not stall")
		}
	}
	started := time.Now()
	if err := w.Cancel(record.ID); err != nil {
		t.Fatal(err)
	}
	record = await(t, w.Conductor, record.ID)
	if record.State != StateCanceled || row.asked.Load() < 2 || time.Since(started) > 10*time.Second {
		t.Errorf("got %s because of %v after %s and %d attempts", record.State, record.Error, time.Since(started), row.asked.Load())
	}
	if next := w.backupOf(t, "HXE"); next.State != StateSucceeded {
		t.Errorf("the next backup %s because of %v", next.State, next.Error)
	}
}
