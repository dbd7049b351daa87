package e2e

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim"
	"github.com/pipestreamer/pipestreamer/internal/job"
	"github.com/pipestreamer/pipestreamer/internal/logship"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// past is a database with a history, and what it held at some moments of it.
type past struct {
	*world

	ahead   time.Duration // of HANA's clock
	moments []moment
}

// moment is a point in time, in whole seconds, and where the logs stood then.
type moment struct {
	at     time.Time
	points map[int]hanasim.Point
}

// newPast starts a world whose daemon ships the log.
func newPast(t *testing.T, d *depot, changes map[string]any) *past {
	t.Helper()
	w := newShippingWorld(t, d, changes)
	return &past{world: w}
}

func newShippingWorld(t *testing.T, d *depot, changes map[string]any) *world {
	t.Helper()
	w := newWorld(t, hanasim.Config{
		Databases: []hanasim.Database{systemDB(), {Name: "HXE", Volumes: volumes(mebibyte, 300_000)}}, Profile: hanasim.Dotname,
	}, d, nil)
	w.stopDaemon()
	w.configure(overlay(map[string]any{"logs": map[string]any{"directory": w.hana.logs}}, changes))
	w.startDaemon()
	return w
}

// later lets HANA's time pass.
func (p *past) later() {
	p.t.Helper()
	p.ahead += 3 * time.Second
	p.hana.set("clock", p.ahead.String())
}

// live works and backs up the log, n times.
func (p *past) live(n int) {
	p.t.Helper()
	for range n {
		if err := p.hana.Work("HXE", 2); err != nil {
			p.t.Fatal(err)
		}
		if err := p.hana.LogBackup(p.t.Context(), "HXE"); err != nil {
			p.t.Fatal(err)
		}
	}
}

// remember notes what the database holds now: nothing happens in the second
// before and in the second after.
func (p *past) remember() {
	p.t.Helper()
	p.later()
	at := time.Now().Add(p.ahead - time.Second).Truncate(time.Second)
	p.moments = append(p.moments, moment{at, p.hana.Points("HXE")})
	p.later()
}

func (p *past) backUpKind(kind backup.Kind) job.Record {
	p.t.Helper()
	record := p.run("backup", "--database", "HXE", "--kind", string(kind)).expect(p.t, 0).record(p.t)
	p.later()
	return record
}

// awaitShipped waits until no log backup waits on the volume.
func (w *world) awaitShipped() logship.Status {
	w.t.Helper()
	client := w.client()
	var status logship.Status
	eventually(w.t, "the log is shipped", func() bool {
		list, err := client.Logs(w.t.Context())
		i := slices.IndexFunc(list.Logs, func(s logship.Status) bool { return s.Database == "HXE" })
		if err != nil || i < 0 {
			return false
		}
		status = list.Logs[i]
		left, err := os.ReadDir(filepath.Join(w.hana.logs, "DB_HXE"))
		return err == nil && len(left) == 0 && status.WaitingFiles == 0
	})
	return status
}

// expectPoints compares where the logs stand.
func (w *world) expectPoints(what string, want map[int]hanasim.Point) {
	w.t.Helper()
	if diff := gocmp.Diff(want, w.hana.Points("HXE")); diff != "" {
		w.t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// TestHistory makes a complete backup, two incremental ones, a differential one
// and 200 log backups, and restores to five times: by the daemon, on a host that
// has never seen any of it, and by hand from plain files.
func TestHistory(t *testing.T) {
	t.Parallel()
	d := openS3(t)
	p := newPast(t, d, nil)
	complete := p.backUpKind(backup.KindComplete)
	p.live(20)
	p.remember()
	p.live(20)
	first := p.backUpKind(backup.KindIncremental)
	p.live(10)
	p.remember()
	second := p.backUpKind(backup.KindIncremental)
	p.live(20)
	p.remember()
	p.live(1)
	differential := p.backUpKind(backup.KindDifferential)
	p.live(10)
	p.remember()
	p.live(18)
	p.remember()
	p.live(1)
	status := p.awaitShipped()
	if len(status.Gaps) > 0 || status.ConflictFiles+status.ProblemFiles+status.UnconfirmedFiles > 0 || status.RecoveryPoint.IsZero() {
		t.Errorf("log shipping: %+v", status)
	}
	logs := slices.DeleteFunc(slices.Collect(maps.Keys(d.objects(t))), func(key string) bool {
		return !strings.Contains(key, "/log/log_backup_") || strings.Contains(key, "/log_backup_0_")
	})
	if len(logs) != 200 {
		t.Errorf("%d log backups in the store, expected 200", len(logs))
	}

	plans := [][]int64{nil, {first.BackupID}, {first.BackupID, second.BackupID}, {differential.BackupID}, {differential.BackupID}}
	for i, m := range p.moments {
		if err := p.hana.Destroy("HXE"); err != nil {
			t.Fatal(err)
		}
		record := p.run("restore", "--database", "HXE", "--until", m.at.UTC().Format(time.DateTime)).expect(t, 0).record(t)
		p.expectPoints(fmt.Sprintf("restore to moment %d", i), m.points)
		if diff := gocmp.Diff(plans[i], record.Plan.Deltas); diff != "" || record.Plan.Complete != complete.BackupID {
			t.Errorf("moment %d: plan %+v (-want +got):\n%s", i, record.Plan, diff)
		}
		p.expectNoPipes()
	}
	p.stopDaemon()
	elsewhere(t, d, p.moments[2])
	byHand(t, p, p.moments[4])
}

// elsewhere restores on a host that has nothing but the bucket.
func elsewhere(t *testing.T, d *depot, m moment) {
	t.Helper()
	w := newShippingWorld(t, d, nil)
	until := m.at.UTC().Format(time.RFC3339)
	dry := w.run("restore", "--database", "HXE", "--until", until, "--dry-run").expect(t, 0).record(t)
	if dry.Action != job.ActionPlan || dry.Plan == nil || dry.Plan.Reaches.Before(m.at) {
		t.Errorf("the plan is %+v", dry.Plan)
	}
	w.run("restore", "--database", "HXE", "--until", until).expect(t, 0)
	w.expectPoints("restore on another host", m.points)
	w.stopDaemon()
}

// byHand writes plain files without a daemon, and recovers from them with the
// statement that is printed.
func byHand(t *testing.T, p *past, m moment) {
	t.Helper()
	dir := directory(t)
	out := p.run("restore", "--database", "HXE", "--until", m.at.UTC().Format(time.RFC3339), "--to-path", dir, "--config", p.config).expect(t, 0)
	written := decode[struct {
		Statement string `json:"statement"`
		Files     []struct {
			Path string `json:"path"`
		} `json:"files"`
	}](t, out.stdout)
	for _, f := range written.Files {
		if _, err := os.Stat(f.Path); err != nil {
			t.Error(err)
		}
	}
	for _, statement := range []string{`ALTER SYSTEM STOP DATABASE "HXE"`, written.Statement} {
		if _, err := p.hana.system.ExecContext(context.WithoutCancel(t.Context()), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	p.expectPoints("recovery by hand", m.points)
}
