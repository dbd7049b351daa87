package e2e

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// TestBreakThatNoManifestKnows restores a tenant to an earlier time; the complete
// backup after that is another tool's, and HANA goes on to write log: nothing past
// the recovery can be restored, and nobody says otherwise.
func TestBreakThatNoManifestKnows(t *testing.T) {
	t.Parallel()
	d := openS3(t)
	p := newPast(t, d, nil)
	p.backUpKind(backup.KindComplete)
	p.live(5)
	p.remember()
	p.live(5)
	p.awaitShipped()
	p.run("restore", "--database", "HXE", "--until", p.moments[0].at.UTC().Format(time.DateTime)).expect(t, 0)
	p.expectPoints("restore", p.moments[0].points)
	p.later()
	foreign := `BACKUP DATA FOR "HXE" USING FILE ('` + directory(t) + `/FOREIGN')`
	if _, err := p.hana.system.ExecContext(context.WithoutCancel(t.Context()), foreign); err != nil {
		t.Fatal(err)
	}
	p.later()
	p.live(5)
	p.remember()
	p.live(1)
	p.awaitShipped()
	late := p.moments[1].at.UTC()
	eventually(t, "the break is told", func() bool {
		status := p.awaitShipped()
		return status.Broken != nil && status.RecoveryPoint.Before(late)
	})
	r, err := p.client().Recovery(t.Context(), "HXE")
	if err != nil || r.Point.After(late) || len(r.Windows) == 0 {
		t.Errorf("%+v, %v", r, err)
	}
	for _, w := range r.Windows {
		if !w.To.Before(late) {
			t.Errorf("it is said that %s can be restored", w.To)
		}
	}
	points := p.hana.Points("HXE")
	refused := p.run("restore", "--database", "HXE", "--until", late.Format(time.DateTime)).expect(t, 1).record(t)
	if refused.Error == nil || !strings.Contains(refused.Error.Message, "interrupted") || refused.TenantStopped {
		t.Errorf("%+v", refused.Error)
	}
	p.expectPoints("a restore that was refused", points)
	p.stopDaemon()
}
