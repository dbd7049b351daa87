package job

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim"
	"github.com/pipestreamer/pipestreamer/internal/chain"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// A break that was recorded counts although no manifest knows of it.
func TestRecordedBreak(t *testing.T) {
	t.Parallel()
	w := startWhole(t, throughDoor(DoorAuto, hanasim.Dotname))
	w.mustBackUp(t, backup.KindComplete)
	for range 3 {
		w.work(t)
		if err := w.system.LogBackup(t.Context(), "HXE"); err != nil {
			t.Fatal(err)
		}
	}
	w.ship(t)
	before, err := w.Recovery(t.Context(), "HXE")
	if err != nil || len(before.Windows) != 1 {
		t.Fatalf("%+v, %v", before, err)
	}
	window := before.Windows[0]
	at := window.To.Add(-window.To.Sub(window.From) / 2)
	record := backup.BreakRecord{Version: backup.BreakVersion, SID: "HXE", Database: "HXE", Break: backup.Break{At: at, Reason: "RECOVERY"}}
	text, err := record.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if err := writeObject(t.Context(), w.parts.Store, backup.BreakKey("HXE", "HXE", at), text, time.Second); err != nil {
		t.Fatal(err)
	}
	after, err := w.Recovery(t.Context(), "HXE")
	if err != nil || after.Point.After(at) || len(after.Windows) > 0 && after.Windows[0].To.After(at) {
		t.Errorf("%+v, %v", after, err)
	}
	if _, err := w.archive().plan(t.Context(), "HXE", chain.Target{Until: window.To}); err == nil || !strings.Contains(err.Error(), "RECOVERY") {
		t.Errorf("%v", err)
	}
}

// deafHistorian does not answer at first.
type deafHistorian struct {
	backup.Historian

	refusals atomic.Int64
}

func (d *deafHistorian) Breaks(ctx context.Context, database string) ([]backup.Break, error) {
	if d.refusals.Add(-1) >= 0 {
		return nil, errors.New("refused")
	}
	return d.Historian.Breaks(ctx, database)
}

// A HANA that does not tell of breaks when a backup begins is asked again.
func TestBreakIsAskedAgain(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		refusals int64
		told     bool
	}{"once": {1, true}, "at the end as well": {2, true}, "for ever": {1000, false}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := startWhole(t, throughDoor(DoorAuto, hanasim.Dotname))
			w.mustBackUp(t, backup.KindComplete)
			w.expectRestored(t, RestoreRequest{Database: "HXE", Backup: Latest})
			deaf := &deafHistorian{Historian: w.parts.Historian}
			deaf.refusals.Store(test.refusals)
			w.parts.Historian = deaf
			record := w.mustBackUp(t, backup.KindComplete)
			m, err := w.Backup(t.Context(), "HXE", Latest)
			if err != nil || (m.Broken != nil) != test.told || (len(record.Warnings) == 0) != test.told {
				t.Errorf("broken %v, warnings %q, %v", m.Broken, record.Warnings, err)
			}
		})
	}
}
