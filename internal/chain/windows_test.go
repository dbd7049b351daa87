package chain_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipestreamer/pipestreamer/internal/chain"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

func TestWindows(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		history chain.History
		want    []chain.Window
		point   time.Time
	}{
		"nothing":                  {chain.History{}, nil, time.Time{}},
		"all there":                {week(), []chain.Window{{at(2), at(90)}}, at(90)},
		"data alone is no span":    {chain.History{Backups: week().Backups}, nil, at(0)},
		"log before the end of it": {chain.History{Backups: []*backup.Manifest{complete(0, redo{2: 1})}, Logs: []backup.LogFile{log(2, 1, 9, 1), catalog(9)}}, nil, at(0)},
		"log up to the end of it":  {chain.History{Backups: []*backup.Manifest{complete(0, redo{2: 1})}, Logs: []backup.LogFile{log(2, 1, 9, 2), catalog(9)}}, []chain.Window{{at(2), at(2)}}, at(2)},
		"a log backup is missing":  {without(week(), log(2, 400, 500, 60)), []chain.Window{{at(2), at(45)}, {at(72), at(90)}}, at(90)},
		"spans that overlap are one": {
			chain.History{
				Backups: []*backup.Manifest{complete(0, redo{2: 1}), complete(10, redo{2: 50})},
				Logs:    []backup.LogFile{log(2, 1, 20, 15), log(2, 50, 90, 30), catalog(31)},
			}, []chain.Window{{at(2), at(30)}}, at(30),
		},
		"the newest one is missing": {without(week(), log(3, 60, 70, 90)), []chain.Window{{at(2), at(75)}}, at(75)},
		"no complete one is left":   {without(week(), complete(0, redo{2: 1})), nil, time.Time{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(test.want, chain.Windows(test.history)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if got := chain.RecoveryPoint(test.history); !got.Equal(test.point) {
				t.Errorf("recovery point %s, expected %s", got, test.point)
			}
		})
	}
}

func TestGaps(t *testing.T) {
	t.Parallel()
	before, lost, behind := log(2, 300, 400, 45), log(2, 400, 500, 60), log(2, 500, 600, 75)
	wide := log(2, 380, 500, 50)
	gap := chain.Gap{
		VolumeID: 2, After: 400, Before: 500, AfterFile: before.Name, BeforeFile: behind.Name, From: at(45), To: at(75),
	}
	missing := gap
	missing.Missing = []string{lost.Name}
	all := gap
	all.Missing = []string{wide.Name, lost.Name}
	for name, test := range map[string]struct {
		history chain.History
		want    []chain.Gap
	}{
		"none":                     {week(), nil},
		"a file that nobody knows": {chain.History{Backups: []*backup.Manifest{complete(0, redo{2: 300})}, Logs: []backup.LogFile{behind, before}}, []chain.Gap{gap}},
		"a missing object":         {without(week(), lost), []chain.Gap{missing}},
		"a file that HANA never confirmed": {
			chain.History{Logs: []backup.LogFile{behind, unconfirmed(lost), before}},
			[]chain.Gap{{
				VolumeID: gap.VolumeID, After: gap.After, Before: gap.Before, AfterFile: gap.AfterFile, BeforeFile: gap.BeforeFile,
				From: gap.From, To: gap.To, Unconfirmed: []string{lost.Name},
			}},
		},
		"several missing objects": {
			without(chain.History{Logs: []backup.LogFile{behind, lost, wide, before}}, lost, wide), []chain.Gap{all},
		},
		"repeated log closes it": {
			without(chain.History{Logs: append(week().Logs, log(2, 390, 510, 76))}, lost), nil,
		},
		"the newest file is missing": {without(week(), log(2, 600, 700, 90)), nil},
		"an interruption explains it": {
			chain.History{Logs: []backup.LogFile{behind, before}, Breaks: []backup.Break{{At: at(60)}}}, nil,
		},
		"positions begin again behind an interruption": {
			chain.History{
				Logs:   []backup.LogFile{log(2, 100, 900, 10), before, behind},
				Breaks: []backup.Break{{At: at(20)}},
			}, []chain.Gap{gap},
		},
		"before the oldest complete backup": {
			chain.History{Backups: []*backup.Manifest{complete(76, redo{2: 1})}, Logs: []backup.LogFile{behind, before}}, nil,
		},
		"between the complete backup and the first log": {
			chain.History{Backups: []*backup.Manifest{complete(0, redo{2: 250, 3: 1})}, Logs: []backup.LogFile{log(2, 200, 240, 5), before, log(3, 1, 20, 15)}},
			[]chain.Gap{{VolumeID: 2, After: 250, Before: before.Parsed().First, BeforeFile: before.Name, From: at(0), To: at(45)}},
		},
		"between the complete backup after an interruption and the first log": {
			chain.History{
				Backups: []*backup.Manifest{complete(0, redo{2: 300}), complete(30, redo{2: 250})},
				Logs:    []backup.LogFile{log(2, 300, 600, 10), before}, Breaks: []backup.Break{{At: at(20)}},
			},
			[]chain.Gap{{VolumeID: 2, After: 250, Before: before.Parsed().First, BeforeFile: before.Name, From: at(30), To: at(45)}},
		},
		"in each volume": {
			without(week(), lost, log(3, 20, 30, 30)),
			[]chain.Gap{missing, {
				VolumeID: 3, After: 20, Before: 30, AfterFile: log(3, 5, 20, 15).Name, BeforeFile: log(3, 30, 40, 45).Name,
				From: at(15), To: at(45), Missing: []string{log(3, 20, 30, 30).Name},
			}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(test.want, chain.Gaps(test.history)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// year is a log backup every quarter of an hour, the catalog after every eighth, a
// complete backup each week and an incremental one on each other day.
func year() chain.History {
	var h chain.History
	base := 0
	for minute := 0; minute < 365*24*60; minute += 15 {
		position := int64(minute + 1)
		h.Logs = append(h.Logs, log(2, position, position+15, minute+15))
		if minute%120 == 0 {
			h.Logs = append(h.Logs, catalog(minute+16))
		}
		if minute%(24*60) != 30 {
			continue
		}
		m := complete(minute, redo{2: position})
		if minute%(7*24*60) != 30 {
			m = incremental(minute, base, redo{2: position})
		}
		base = minute
		h.Backups = append(h.Backups, m)
	}
	return h
}

func BenchmarkYear(b *testing.B) {
	h := year()
	end := 365 * 24 * 60
	broken := without(h, log(2, 300, 315, 300))
	for name, ask := range map[string]func(){
		"plan the newest point": func() { _, _ = chain.Plan(h, until(end-200)) },
		"plan the oldest point": func() { _, _ = chain.Plan(h, until(100)) },
		"plan the latest point": func() { _, _ = chain.Plan(h, latest()) },
		"refuse":                func() { _, _ = chain.Plan(broken, until(end+100)) },
		"windows":               func() { chain.Windows(h) },
		"gaps":                  func() { chain.Gaps(broken) },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportMetric(float64(len(h.Logs)), "files")
			for b.Loop() {
				ask()
			}
		})
	}
}
