package job

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// deafRecoverer loses the connection as soon as RECOVER is sent, or before.
type deafRecoverer struct {
	backup.Recoverer

	sent    bool
	running *sync.WaitGroup
}

func (d *deafRecoverer) Recover(ctx context.Context, plan backup.Plan) error {
	if d.sent {
		d.running.Go(func() { _ = d.Recoverer.Recover(context.WithoutCancel(ctx), plan) })
	}
	return errors.New("connection reset by peer")
}

// TestRecoveryWithoutAnswer loses HANA's answer to RECOVER. A HANA that goes on
// reading is served to the end, and the tenant runs; one that does not read is
// given up.
func TestRecoveryWithoutAnswer(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		sent  bool
		state State
	}{
		{"HANA goes on", true, StateSucceeded},
		{"HANA never began", false, StateFailed},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := startWhole(t, func(_ *hanasim.Config, _ *Parts, c *Config) {
				c.EndTimeout, c.AnswerTimeout = 200*time.Millisecond, 2*time.Second
			})
			if saved := w.backupOf(t, "HXE"); saved.State != StateSucceeded {
				t.Fatal(saved.Error)
			}
			before := w.system.Content("HXE")
			if err := w.system.Destroy("HXE"); err != nil {
				t.Fatal(err)
			}
			var running sync.WaitGroup
			w.parts.Recoverer = &deafRecoverer{Recoverer: w.parts.Recoverer, sent: test.sent, running: &running}
			record, err := w.StartRestore(t.Context(), RestoreRequest{Database: "HXE", Backup: Latest}, "")
			if err != nil {
				t.Fatal(err)
			}
			record = await(t, w.Conductor, record.ID)
			running.Wait()
			if record.State != test.state || record.TenantStopped != (test.state == StateFailed) {
				t.Errorf("got %s because of %v, the tenant is stopped: %t", record.State, record.Error, record.TenantStopped)
			}
			if test.state == StateFailed && record.Error.Code != CodeAnswerUnknown {
				t.Errorf("the cause is %+v", record.Error)
			}
			if restored := cmp.Equal(before, w.system.Content("HXE")); restored != (test.state == StateSucceeded) {
				t.Errorf("the content is that of the backup: %t", restored)
			}
			expectHistory(t, record, []string{"pipestreamer: sends RECOVER DATA", "hana: its answer got lost"})
		})
	}
}
