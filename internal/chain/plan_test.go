package chain_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipestreamer/pipestreamer/internal/chain"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// week has a complete backup, one differential and two incremental ones on it, log
// of two volumes every quarter of an hour, and the catalog after it.
func week() chain.History {
	return chain.History{
		Backups: []*backup.Manifest{
			complete(0, redo{2: 100, 3: 10}),
			incremental(20, 0, redo{2: 230, 3: 23}),
			data(backup.KindDifferential, 40, 0, redo{2: 350, 3: 35}),
			incremental(70, 40, redo{2: 530, 3: 53}),
		},
		Logs: []backup.LogFile{
			log(2, 50, 200, 15), log(2, 200, 300, 30), log(2, 300, 400, 45), log(2, 400, 500, 60), log(2, 500, 600, 75), log(2, 600, 700, 90),
			log(3, 5, 20, 15), log(3, 20, 30, 30), log(3, 30, 40, 45), log(3, 40, 50, 60), log(3, 50, 60, 75), log(3, 60, 70, 90),
			catalog(16), catalog(31), catalog(46), catalog(61), catalog(76), catalog(91),
		},
	}
}

func until(minute int) chain.Target { return chain.Target{Until: at(minute)} }
func by(minute int) chain.Target    { return chain.Target{BackupID: id(minute)} }

func latest() chain.Target { return chain.Target{Latest: true} }

// outcome is what a table looks at: backups and logs by the minute of their start.
type outcome struct {
	Data    []int64
	Logs    []string
	Catalog string
	Reaches time.Time
}

func see(c chain.Chain) outcome {
	o := outcome{Data: ids(c.Data()), Logs: names(c.Logs), Reaches: c.Reaches}
	if c.Catalog != nil {
		o.Catalog = c.Catalog.Name
	}
	return o
}

// parts adds rows of volume 2 with other positions.
func parts(m *backup.Manifest, positions ...int64) *backup.Manifest {
	for _, p := range positions {
		m.Catalog.Files = append(m.Catalog.Files, backup.CatalogFile{VolumeID: 2, SourceType: backup.SourceVolume, RedoLogPosition: p})
	}
	return m
}

func minutes(starts ...int) []int64 {
	var all []int64
	for _, start := range starts {
		all = append(all, id(start))
	}
	return all
}

func TestPlan(t *testing.T) {
	t.Parallel()
	newest := catalog(91).Name
	late := complete(100, redo{2: 900, 3: 90})
	for name, test := range map[string]struct {
		history chain.History
		target  chain.Target
		want    outcome
	}{
		"a complete backup by its id needs neither log nor catalog": {
			week(), by(0),
			outcome{Data: minutes(0), Reaches: at(0)},
		},
		"an incremental one by its id needs all under it and the newest catalog": {
			week(), by(70),
			outcome{Data: minutes(0, 40, 70), Catalog: newest, Reaches: at(70)},
		},
		"a differential one by its id needs its complete one": {
			week(), by(40),
			outcome{Data: minutes(0, 40), Catalog: newest, Reaches: at(40)},
		},
		"the newest data backup that had ended, and log up to the point in each volume": {
			week(), until(72),
			outcome{
				minutes(0, 40, 70),
				names([]backup.LogFile{log(2, 500, 600, 75), log(3, 50, 60, 75)}),
				newest, at(72),
			},
		},
		"a backup that had not ended is not begun with": {
			week(), until(71),
			outcome{
				minutes(0, 40),
				names([]backup.LogFile{
					log(2, 300, 400, 45), log(2, 400, 500, 60), log(2, 500, 600, 75),
					log(3, 30, 40, 45), log(3, 40, 50, 60), log(3, 50, 60, 75),
				}),
				newest, at(71),
			},
		},
		"the begin of the last log backup can be reached": {
			week(), until(90),
			outcome{
				minutes(0, 40, 70),
				names([]backup.LogFile{log(2, 500, 600, 75), log(2, 600, 700, 90), log(3, 50, 60, 75), log(3, 60, 70, 90)}),
				newest, at(90),
			},
		},
		"the latest point is what all volumes have": {
			week(), latest(),
			outcome{
				minutes(0, 40, 70),
				names([]backup.LogFile{log(2, 500, 600, 75), log(2, 600, 700, 90), log(3, 50, 60, 75), log(3, 60, 70, 90)}),
				newest, at(90),
			},
		},
		"an object of the newest delta is missing: the one before it and more log": {
			without(week(), incremental(70, 40, redo{2: 1})), until(80),
			outcome{
				minutes(0, 40),
				names([]backup.LogFile{
					log(2, 300, 400, 45), log(2, 400, 500, 60), log(2, 500, 600, 75), log(2, 600, 700, 90),
					log(3, 30, 40, 45), log(3, 40, 50, 60), log(3, 50, 60, 75), log(3, 60, 70, 90),
				}),
				newest, at(80),
			},
		},
		"a gap before the newest data backup harms nothing after it": {
			without(week(), log(2, 400, 500, 60), log(3, 5, 20, 15)), until(80),
			outcome{
				minutes(0, 40, 70),
				names([]backup.LogFile{log(2, 500, 600, 75), log(2, 600, 700, 90), log(3, 50, 60, 75), log(3, 60, 70, 90)}),
				newest, at(80),
			},
		},
		"the newest catalog is missing: the one before it, when it is new enough": {
			without(week(), catalog(91)), until(75),
			outcome{
				minutes(0, 40, 70),
				names([]backup.LogFile{log(2, 500, 600, 75), log(3, 50, 60, 75)}),
				catalog(76).Name, at(75),
			},
		},
		"what the catalog does not know is not promised": {
			without(week(), catalog(91)), latest(),
			outcome{
				minutes(0, 40, 70),
				names([]backup.LogFile{log(2, 500, 600, 75), log(3, 50, 60, 75)}),
				catalog(76).Name, at(75),
			},
		},
		"without a catalog a complete backup is the latest point": {
			without(week(), catalog(16), catalog(31), catalog(46), catalog(61), catalog(76), catalog(91)), latest(),
			outcome{Data: minutes(0), Reaches: at(0)},
		},
		"a complete backup without log after it is the latest point when log reaches less": {
			chain.History{Backups: append(week().Backups, late), Logs: week().Logs},
			latest(),
			outcome{Data: minutes(100), Reaches: at(100)},
		},
		"the log of another backup reaches more than the state of the newest one": {
			chain.History{
				Backups: []*backup.Manifest{complete(0, redo{2: 100}), complete(100, redo{2: 900})},
				Logs:    []backup.LogFile{log(2, 100, 800, 101), catalog(110)},
			},
			latest(),
			outcome{Data: minutes(0), Logs: names([]backup.LogFile{log(2, 100, 800, 101)}), Catalog: catalog(110).Name, Reaches: at(101)},
		},
		"overlapping and repeated files are all handed over, each once": {
			chain.History{
				Backups: []*backup.Manifest{complete(0, redo{2: 100})},
				Logs: []backup.LogFile{
					log(2, 200, 300, 30), log(2, 100, 200, 15), log(2, 150, 300, 31), log(2, 100, 200, 16), catalog(40), log(2, 100, 200, 15),
				},
			},
			until(30),
			outcome{
				minutes(0),
				names([]backup.LogFile{log(2, 100, 200, 15), log(2, 100, 200, 16), log(2, 150, 300, 31), log(2, 200, 300, 30)}),
				catalog(40).Name, at(30),
			},
		},
		"log that breaks off at once in one volume is not begun with": {
			chain.History{
				Backups: []*backup.Manifest{complete(0, redo{2: 100, 3: 10})},
				Logs:    []backup.LogFile{log(2, 100, 200, 15), log(3, 15, 20, 15), catalog(50)},
			},
			latest(),
			outcome{Data: minutes(0), Reaches: at(0)},
		},
		"of several parts of a volume the first position counts": {
			chain.History{
				Backups: []*backup.Manifest{parts(complete(0, redo{2: 300}), 0, 100, 200)},
				Logs:    []backup.LogFile{log(2, 100, 200, 15), log(2, 200, 300, 15), log(2, 300, 400, 30), catalog(50)},
			},
			until(16),
			outcome{
				minutes(0), names([]backup.LogFile{log(2, 100, 200, 15), log(2, 200, 300, 15), log(2, 300, 400, 30)}),
				catalog(50).Name, at(16),
			},
		},
		"an unknown position takes all log since the backup began": {
			chain.History{
				Backups: []*backup.Manifest{complete(20, redo{2: 0})},
				Logs:    []backup.LogFile{log(2, 0, 200, 15), log(2, 200, 300, 30), log(2, 300, 400, 45), catalog(50)},
			},
			until(45),
			outcome{Data: minutes(20), Logs: names([]backup.LogFile{log(2, 200, 300, 30), log(2, 300, 400, 45)}), Catalog: catalog(50).Name, Reaches: at(45)},
		},
		"a data backup whose position is the end of the log needs none of it": {
			chain.History{
				Backups: []*backup.Manifest{complete(0, redo{2: 100})},
				Logs:    []backup.LogFile{log(2, 50, 100, 15), log(2, 10, 50, -15), catalog(50)},
			},
			until(15),
			outcome{Data: minutes(0), Catalog: catalog(50).Name, Reaches: at(15)},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(test.want, see(plan(t, test.history, test.target))); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// HANA may want the log of a volume that came after the data backup, but not of one
// that was gone by then.
func TestPlanAddsLogOfNewVolumes(t *testing.T) {
	t.Parallel()
	h := chain.History{
		Backups: []*backup.Manifest{complete(20, redo{2: 100})},
		Logs: []backup.LogFile{
			log(2, 50, 200, 30), log(5, 10, 20, 46), log(5, 1, 10, 31), log(5, 20, 30, 61), log(4, 1, 9, 15), catalog(70),
		},
	}
	for name, test := range map[string]struct {
		target chain.Target
		want   []backup.LogFile
	}{
		"up to the point":  {until(25), []backup.LogFile{log(5, 1, 10, 31)}},
		"as far as it may": {latest(), []backup.LogFile{log(5, 1, 10, 31), log(5, 10, 20, 46), log(5, 20, 30, 61)}},
	} {
		c := plan(t, h, test.target)
		if diff := cmp.Diff(names(test.want), names(c.Further)); diff != "" || len(c.Logs) != 1 {
			t.Errorf("%s: log %v, further (-want +got):\n%s", name, names(c.Logs), diff)
		}
	}
}

func TestPlanOfAnInterruptedLog(t *testing.T) {
	t.Parallel()
	h := chain.History{
		Backups: []*backup.Manifest{complete(0, redo{2: 100}), incremental(50, 0, redo{2: 350}), complete(60, redo{2: 380})},
		Logs: []backup.LogFile{
			log(2, 100, 200, 15), log(2, 200, 300, 30), log(2, 300, 390, 65), log(2, 390, 500, 75), catalog(80),
		},
		Breaks: []backup.Break{{At: at(25), Reason: "LOG MODE OVERWRITE"}},
	}
	if got := see(plan(t, h, until(15))).Data; !cmp.Equal(got, minutes(0)) {
		t.Errorf("before the interruption: began with %v", got)
	}
	got := see(plan(t, h, until(70)))
	want := outcome{
		minutes(60), names([]backup.LogFile{log(2, 300, 390, 65), log(2, 390, 500, 75)}), catalog(80).Name, at(70),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("after the next complete backup (-want +got):\n%s", diff)
	}
	e := unreachable(t, h, until(55))
	if e.NearestBackup != id(50) || !e.Nearest.Equal(at(50)) || !strings.Contains(e.Error(), "LOG MODE OVERWRITE") {
		t.Errorf("on a delta from behind the interruption: %v", e)
	}
	if c := plan(t, h, by(50)); len(c.Notes) != 1 || !strings.Contains(c.Notes[0], "interrupted") {
		t.Errorf("the delta by its id: notes %q", c.Notes)
	}
}

// After a recovery HANA gives positions again that it had given before.
func TestPlanKeepsHistoriesApart(t *testing.T) {
	t.Parallel()
	h := chain.History{
		Backups: []*backup.Manifest{complete(0, redo{2: 100}), complete(60, redo{2: 250})},
		Logs: []backup.LogFile{
			log(2, 100, 300, 15), log(2, 300, 400, 30), log(2, 240, 300, 75), log(2, 300, 350, 90), catalog(95),
		},
		Breaks: []backup.Break{{At: at(50), Reason: "RECOVERY"}},
	}
	for minute, want := range map[int][]backup.LogFile{
		20: {log(2, 100, 300, 15), log(2, 300, 400, 30)},
		70: {log(2, 240, 300, 75)},
		90: {log(2, 240, 300, 75), log(2, 300, 350, 90)},
	} {
		if diff := cmp.Diff(names(want), names(plan(t, h, until(minute)).Logs)); diff != "" {
			t.Errorf("minute %d (-want +got):\n%s", minute, diff)
		}
	}
}

func TestPlanRefusesUnclearTargets(t *testing.T) {
	t.Parallel()
	for _, target := range []chain.Target{
		{},
		{Until: at(1), Latest: true},
		{Until: at(1), BackupID: 1},
		{Latest: true, BackupID: 1},
	} {
		_, err := chain.Plan(week(), target)
		if err == nil || !strings.Contains(err.Error(), "exactly one") {
			t.Errorf("%+v: %v", target, err)
		}
	}
}

// A catalog that gave no times, and the same backup told twice.
func TestPlanWithoutTimesOfTheCatalog(t *testing.T) {
	t.Parallel()
	m := complete(0, redo{2: 100})
	m.FinishedAt, m.Catalog.StartedAt, m.Catalog.EndedAt = at(5), time.Time{}, time.Time{}
	again := complete(0, redo{2: 300})
	other := data(backup.KindLog, 3, -1, redo{2: 100})
	h := chain.History{Backups: []*backup.Manifest{m, again, other}, Logs: []backup.LogFile{log(2, 100, 200, 4), log(2, 200, 300, 6), catalog(9)}}
	_ = unreachable(t, h, chain.Target{Until: at(4)})
	if c := plan(t, h, until(6)); c.Complete != m || len(c.Logs) != 2 {
		t.Errorf("began with %v, log %v", ids(c.Data()), names(c.Logs))
	}
	if c := plan(t, h, by(0)); !c.Reaches.Equal(at(0)) {
		t.Errorf("the state is that of %s", c.Reaches)
	}
	_ = unreachable(t, h, by(3))
}

func TestSkipped(t *testing.T) {
	t.Parallel()
	c := plan(t, without(week(), data(backup.KindDifferential, 40, 0, redo{2: 1})), until(80))
	if diff := cmp.Diff(minutes(40, 70), c.Skipped); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestNeeds(t *testing.T) {
	t.Parallel()
	c := plan(t, week(), until(80))
	want := chain.Needs{DataFiles: 9, DataBytes: 9000, StagedFiles: 5, StagedBytes: 50, Objects: 14}
	if diff := cmp.Diff(want, c.Needs()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if got := c.Last().BackupID; got != id(70) {
		t.Errorf("the last data backup is %d", got)
	}
	staged := names(c.Staged())
	if got := staged[len(staged)-1]; got != catalog(91).Name {
		t.Errorf("staged last is %s", got)
	}
}
