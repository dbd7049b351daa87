package job

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap/zaptest"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// TestRestartFindsOutWhatBecameOfABackup starts a conductor on a journal that
// says that a backup was streaming when the daemon died.
func TestRestartFindsOutWhatBecameOfABackup(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		// died changes what the dead daemon left.
		died func(t *testing.T, w whole, record Record)
		// restart changes what the next one finds.
		restart  func(*Parts)
		state    State
		visible  bool
		mentions string
	}{
		{
			name:  "after its manifest",
			died:  func(*testing.T, whole, Record) {},
			state: StateSucceeded, visible: true,
		},
		{
			name: "before its manifest and HANA believes in it",
			died: func(t *testing.T, w whole, record Record) {
				t.Helper()
				if err := w.parts.Store.Remove(t.Context(), record.Manifest); err != nil {
					t.Fatal(err)
				}
			},
			state: StateLost,
		},
		{
			name: "before its manifest and HANA cannot be asked",
			died: func(t *testing.T, w whole, record Record) {
				t.Helper()
				if err := w.parts.Store.Remove(t.Context(), record.Manifest); err != nil {
					t.Fatal(err)
				}
			},
			restart: func(p *Parts) {
				p.Trigger = &faultyTrigger{Trigger: p.Trigger, entry: func(backup.CatalogEntry, error) (backup.CatalogEntry, error) {
					return backup.CatalogEntry{}, backup.ErrNotSent
				}}
			},
			state: StateFailed, mentions: CodeCatalogMissing,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := startWhole(t, func(_ *hanasim.Config, _ *Parts, c *Config) { c.AnswerTimeout = 500 * time.Millisecond })
			record := w.backupOf(t, "HXE")
			if record.State != StateSucceeded {
				t.Fatal(record.Error)
			}
			w.Close()
			test.died(t, w, record)
			undone := record
			undone.State, undone.Stage, undone.FinishedAt = StateRunning, StageStream, time.Time{}
			undone.Manifest, undone.BackupID = "", 0
			if err := w.journal.save(entry{Record: undone}); err != nil {
				t.Fatal(err)
			}
			parts := w.parts
			if test.restart != nil {
				test.restart(&parts)
			}
			c, err := NewConductor(w.config, parts, zaptest.NewLogger(t), NewMetrics(prometheus.NewRegistry()))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			// It is cancelled already; that somebody asks once more ends nothing.
			if err := c.Cancel(record.ID); err != nil && !errors.Is(err, ErrFinished) {
				t.Fatal(err)
			}
			got := await(t, c, record.ID)
			if got.OutcomeUnknown != (test.mentions == CodeCatalogMissing) {
				t.Errorf("the outcome is unknown: %t", got.OutcomeUnknown)
			}
			if got.State != test.state || (test.state == StateSucceeded) != (got.Error == nil) {
				t.Fatalf("got %s because of %v", got.State, got.Error)
			}
			if got.Error != nil && got.Error.Code != CodeInterrupted {
				t.Errorf("got cause %+v", got.Error)
			}
			if test.state == StateSucceeded && (got.Manifest != record.Manifest || got.BackupID != record.BackupID) {
				t.Errorf("got manifest %q of backup %d", got.Manifest, got.BackupID)
			}
			if told := strings.Join(got.Consequences, "\n"); test.mentions == CodeCatalogMissing && !strings.Contains(told, "the catalog was asked") {
				t.Errorf("the consequences are %q", told)
			}
			if visible := len(names(t, w.bucket)) > 0; visible != test.visible {
				t.Errorf("objects are visible: %t", visible)
			}
			if again, err := c.StartBackup(t.Context(), BackupRequest{Database: "HXE"}, ""); err != nil {
				t.Errorf("the next backup gave %+v, %v", again, err)
			} else if again = await(t, c, again.ID); test.restart == nil && again.State != StateSucceeded {
				t.Errorf("the next backup %s because of %v", again.State, again.Error)
			}
		})
	}
}
