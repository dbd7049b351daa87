package job

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// catalogOf answers each question about the catalog alike.
type catalogOf struct {
	backup.Trigger

	entry backup.CatalogEntry
	err   error
}

func (c catalogOf) Entry(context.Context, backup.Plan) (backup.CatalogEntry, error) {
	return c.entry, c.err
}

// TestPatienceWithTheCatalog: only a HANA that cannot be asked, while the daemon
// drains, is given up early.
func TestPatienceWithTheCatalog(t *testing.T) {
	t.Parallel()
	const patience = 5 * time.Minute
	refused := catalogOf{err: errors.New("connection refused")}
	running := catalogOf{entry: backup.CatalogEntry{State: backup.CatalogRunning}}
	for name, test := range map[string]struct {
		hana     catalogOf
		draining bool
		atLeast  time.Duration
	}{
		"cannot be asked":                  {refused, false, patience},
		"cannot be asked while draining":   {refused, true, goneAfter},
		"still writes":                     {running, false, patience},
		"still writes while it is drained": {running, true, patience},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := &Conductor{draining: test.draining, parts: Parts{Trigger: test.hana}}
				begin := time.Now()
				if _, err := c.pollCatalog(t.Context(), backup.Plan{}, patience, nil); err == nil {
					t.Error("no error")
				}
				// Between two questions are up to 5 s, and half as much more.
				if took := time.Since(begin); took < test.atLeast || took > test.atLeast+20*time.Second {
					t.Errorf("given up after %s, expected %s", took, test.atLeast)
				}
			})
		})
	}
}
