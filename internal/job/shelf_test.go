package job

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
	"github.com/pipestreamer/pipestreamer/pkg/spool"
)

// muteRecoverer answers RECOVER with an error of HANA, or not at all when that is nil.
type muteRecoverer struct {
	backup.Recoverer

	answer error
	asked  chan struct{}
}

func (m *muteRecoverer) RecoverTo(ctx context.Context, _ backup.Recovery) error {
	close(m.asked)
	<-ctx.Done()
	if m.answer != nil {
		return m.answer
	}
	return context.Cause(ctx)
}

// What HANA may still be reading stays: without it a recovery stops early, without
// a word.
func TestShelfOfCanceledRestore(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		answer error
		stays  bool
	}{
		"HANA does not answer":       {nil, true},
		"HANA has had its last word": {&backup.HANAError{Code: 448, Text: "recovery could not be completed", Statement: "RECOVER DATABASE"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := startWhole(t, func(s *hanasim.Config, p *Parts, c *Config) {
				throughDoor(DoorAuto, hanasim.Dotname)(s, p, c)
				c.AnswerTimeout = time.Second
			})
			w.mustBackUp(t, backup.KindComplete)
			for range 2 {
				w.work(t)
				if err := w.system.LogBackup(t.Context(), "HXE"); err != nil {
					t.Fatal(err)
				}
			}
			w.ship(t)
			mute := &muteRecoverer{Recoverer: w.parts.Recoverer, answer: test.answer, asked: make(chan struct{})}
			w.parts.Recoverer = mute
			record, err := w.StartRestore(t.Context(), RestoreRequest{Database: "HXE", Until: "latest"}, "")
			if err != nil {
				t.Fatal(err)
			}
			<-mute.asked
			if err := w.Cancel(record.ID); err != nil {
				t.Fatal(err)
			}
			record = await(t, w.Conductor, record.ID)
			path := spool.ShelfPath(w.pipes, record.ID)
			left, err := os.ReadDir(path)
			if stays := err == nil && len(left) > 0; stays != test.stays {
				t.Errorf("%d files in %s, %v", len(left), path, err)
			}
			told := strings.Contains(strings.Join(record.Warnings, "\n"), path)
			if record.State != StateCanceled || !record.TenantStopped || told != test.stays {
				t.Errorf("%s, tenant stopped %v, warnings %q", record.State, record.TenantStopped, record.Warnings)
			}
			again := "Restore HXE again: it is stopped and not usable until a restore succeeds (pipestreamer restore --database HXE --until latest)."
			if record.Error.Hint != again {
				t.Errorf("hint %q", record.Error.Hint)
			}
			known, err := KnownStopped(w.state)
			if diff := cmp.Diff(map[string]string{"HXE": record.ID}, known); diff != "" || err != nil {
				t.Errorf("%v, stopped (-want +got):\n%s", err, diff)
			}
			refused := w.backupOf(t, "HXE")
			if e := refused.Error; e == nil || e.Code != CodePlan || !strings.Contains(e.Hint, record.ID) || !strings.HasSuffix(e.Hint, again) {
				t.Errorf("a backup afterwards: %+v", refused.Error)
			}
		})
	}
}
