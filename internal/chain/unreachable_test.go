package chain_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipestreamer/pipestreamer/internal/chain"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

func TestUnreachable(t *testing.T) {
	t.Parallel()
	one := func(logs ...backup.LogFile) chain.History {
		return chain.History{Backups: []*backup.Manifest{complete(0, redo{2: 100})}, Logs: append(logs, catalog(70))}
	}
	base := data(backup.KindComplete, 0, -1, redo{2: 100})
	base.DatabaseUUID = "A"
	foreign := incremental(20, 0, redo{2: 200})
	foreign.DatabaseUUID = "B"
	for name, test := range map[string]struct {
		history chain.History
		target  chain.Target
		want    string
	}{
		"a catalog from while the delta was made": {
			chain.History{Backups: []*backup.Manifest{complete(0, redo{2: 1}), incremental(20, 0, redo{2: 2})}, Logs: []backup.LogFile{catalog(21)}},
			by(20),
			"backup 1767313200000 cannot be restored: the newest backup of the catalog that is there, log_backup_0_0_0_0.1767313260000, " +
				"began at 2026-01-02T00:21:00Z, before incremental backup 1767313200000 ended: it does not know it; " +
				"what can be restored instead is backup 1767312000000, the state of 2026-01-02T00:00:00Z",
		},
		"nothing at all": {
			chain.History{},
			latest(),
			"the latest point cannot be restored: there is no data backup; no point in time can be restored",
		},
		"no data backup": {
			chain.History{Logs: []backup.LogFile{log(2, 1, 2, 5)}},
			until(5),
			"the point 2026-01-02T00:05:00Z cannot be restored: there is no data backup; no point in time can be restored",
		},
		"before the oldest backup": {
			week(),
			chain.Target{Until: at(-30)},
			"the point 2026-01-01T23:30:00Z cannot be restored: 2026-01-01T23:30:00Z is before the end of the oldest data backup, " +
				"complete backup 1767312000000, at 2026-01-02T00:02:00Z; " +
				"what can be restored instead is backup 1767312000000, the state of 2026-01-02T00:00:00Z",
		},
		"after the newest log": {
			one(log(2, 100, 200, 15)), until(16),
			"the point 2026-01-02T00:16:00Z cannot be restored: " +
				"volume 2: the log ends at position 200 with log_backup_2_0_100_200.1767312900000, which reaches 2026-01-02T00:15:00Z; " +
				"the nearest point that can be restored is 2026-01-02T00:15:00Z",
		},
		"a gap": {
			one(log(2, 100, 200, 15), log(2, 300, 400, 45)), until(40),
			"the point 2026-01-02T00:40:00Z cannot be restored: " +
				"volume 2: no log backup has the log positions 200 to 300, from 2026-01-02T00:15:00Z to 2026-01-02T00:45:00Z, " +
				"between log_backup_2_0_100_200.1767312900000 and log_backup_2_0_300_400.1767314700000; " +
				"the nearest point that can be restored is 2026-01-02T00:15:00Z",
		},
		"a gap right after the backup": {
			one(log(2, 150, 200, 15)), until(15),
			"the point 2026-01-02T00:15:00Z cannot be restored: " +
				"volume 2: no log backup has the log positions 100 to 150, from no further than complete backup 1767312000000 to 2026-01-02T00:15:00Z, " +
				"between complete backup 1767312000000 and log_backup_2_0_150_200.1767312900000; " +
				"what can be restored instead is backup 1767312000000, the state of 2026-01-02T00:00:00Z",
		},
		"a log backup's object is missing": {
			without(one(log(2, 100, 200, 15), log(2, 200, 300, 30)), log(2, 200, 300, 30)), until(30),
			"the point 2026-01-02T00:30:00Z cannot be restored: " +
				"volume 2: log_backup_2_0_200_300.1767313800000 (log positions 200 to 300) is not in the store, " +
				"its object HXE/HXE/log/log_backup_2_0_200_300.1767313800000 is missing; the log before it reaches 2026-01-02T00:15:00Z; " +
				"the nearest point that can be restored is 2026-01-02T00:15:00Z",
		},
		"a log backup that HANA never confirmed": {
			one(log(2, 100, 200, 15), unconfirmed(log(2, 200, 300, 30)), log(2, 300, 400, 45)), until(30),
			"the point 2026-01-02T00:30:00Z cannot be restored: " +
				"volume 2: log_backup_2_0_200_300.1767313800000 (log positions 200 to 300) was never confirmed by HANA's catalog and may be cut off; " +
				"the log before it reaches 2026-01-02T00:15:00Z; " +
				"the nearest point that can be restored is 2026-01-02T00:15:00Z",
		},
		"no log of one volume": {
			chain.History{
				Backups: []*backup.Manifest{complete(0, redo{2: 100, 3: 7})},
				Logs:    []backup.LogFile{log(2, 100, 200, 15), catalog(16)},
			},
			until(15),
			"the point 2026-01-02T00:15:00Z cannot be restored: volume 3: there is no log backup after complete backup 1767312000000; " +
				"what can be restored instead is backup 1767312000000, the state of 2026-01-02T00:00:00Z",
		},
		"no catalog": {
			chain.History{Backups: []*backup.Manifest{complete(0, redo{2: 100})}, Logs: []backup.LogFile{log(2, 100, 200, 15)}},
			until(15),
			"the point 2026-01-02T00:15:00Z cannot be restored: " +
				"there is no backup of the catalog, without which HANA does not find backup 1767312000000 and its log; " +
				"what can be restored instead is backup 1767312000000, the state of 2026-01-02T00:00:00Z",
		},
		"the catalog is older than the log": {
			chain.History{
				Backups: []*backup.Manifest{complete(0, redo{2: 100})},
				Logs:    []backup.LogFile{log(2, 100, 200, 15), log(2, 200, 300, 30), catalog(16)},
			},
			until(30),
			"the point 2026-01-02T00:30:00Z cannot be restored: volume 2: the newest backup of the catalog, of id 1767312960000, " +
				"is too old to know log_backup_2_0_200_300.1767313800000; the log before it reaches 2026-01-02T00:15:00Z; " +
				"the nearest point that can be restored is 2026-01-02T00:15:00Z",
		},
		"the log was interrupted": {
			chain.History{
				Backups: []*backup.Manifest{complete(0, redo{2: 100})},
				Logs:    []backup.LogFile{log(2, 100, 200, 15), log(2, 200, 300, 30), catalog(70)},
				Breaks:  []backup.Break{{At: at(20)}},
			},
			until(30),
			"the point 2026-01-02T00:30:00Z cannot be restored: the log was interrupted at 2026-01-02T00:20:00Z (no reason known): " +
				"nothing that builds on complete backup 1767312000000 goes past it; " +
				"the nearest point that can be restored is 2026-01-02T00:15:00Z",
		},
		"no such backup": {
			week(), by(33),
			"backup 1767313980000 cannot be restored: there is no manifest of backup 1767313980000; " +
				"what can be restored instead is backup 1767313200000, the state of 2026-01-02T00:20:00Z",
		},
		"an object of the complete backup is missing": {
			without(week(), complete(0, redo{2: 1})), by(70),
			"backup 1767316200000 cannot be restored: complete backup 1767312000000 needs the object HXE/HXE/data/p0/2_1, " +
				"which the store does not have; no point in time can be restored",
		},
		"the base is not there": {
			chain.History{Backups: []*backup.Manifest{incremental(20, 0, redo{2: 1})}},
			by(20),
			"backup 1767313200000 cannot be restored: incremental backup 1767313200000 builds on backup 1767312000000, " +
				"of which there is no manifest; no point in time can be restored",
		},
		"a differential backup on an incremental one": {
			chain.History{Backups: []*backup.Manifest{complete(0, redo{2: 1}), incremental(20, 0, redo{2: 1}), data(backup.KindDifferential, 40, 20, redo{2: 1})}},
			by(40),
			"backup 1767314400000 cannot be restored: differential backup 1767314400000 builds on incremental backup 1767313200000, " +
				"which is not a complete one; what can be restored instead is backup 1767312000000, the state of 2026-01-02T00:00:00Z",
		},
		"a base from before a recovery": {
			chain.History{Backups: []*backup.Manifest{base, foreign}, Logs: []backup.LogFile{catalog(70)}},
			by(20),
			"backup 1767313200000 cannot be restored: incremental backup 1767313200000 builds on complete backup 1767312000000, " +
				"but that one is of another database (A, not B); what can be restored instead is backup 1767312000000, the state of 2026-01-02T00:00:00Z",
		},
		"a delta without a catalog": {
			chain.History{Backups: []*backup.Manifest{complete(0, redo{2: 1}), incremental(20, 0, redo{2: 1})}, Logs: []backup.LogFile{catalog(10)}},
			by(20),
			"backup 1767313200000 cannot be restored: " +
				"the newest backup of the catalog that is there, log_backup_0_0_0_0.1767312600000, is older than backup 1767313200000; " +
				"what can be restored instead is backup 1767312000000, the state of 2026-01-02T00:00:00Z",
		},
		"a backup of the topology alone": {
			chain.History{Backups: []*backup.Manifest{complete(0, nil)}, Logs: []backup.LogFile{catalog(10)}},
			until(5),
			"the point 2026-01-02T00:05:00Z cannot be restored: complete backup 1767312000000 has no volume with a log; " +
				"what can be restored instead is backup 1767312000000, the state of 2026-01-02T00:00:00Z",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(test.want, unreachable(t, test.history, test.target).Error()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// Every older backup may fail for a reason of its own; the first ones say most.
func TestUnreachableIsReadable(t *testing.T) {
	t.Parallel()
	var h chain.History
	h.Missing = make(map[string]bool)
	for i := range 20 {
		m := complete(10*i, redo{2: 1})
		h.Backups = append(h.Backups, m)
		h.Missing[m.Streams[0].Objects[0].Key] = true
	}
	e := unreachable(t, h, until(500))
	text := e.Error()
	if len(e.Reasons) != 20 || !strings.Contains(text, "and 15 more") || len(text) > 1000 {
		t.Errorf("%d reasons: %s", len(e.Reasons), text)
	}
	if !strings.Contains(e.Reasons[0], complete(190, nil).Prefix) {
		t.Errorf("the first reason is not the newest backup's: %s", e.Reasons[0])
	}
}

func TestUnreachableOffersWhatCanBePlanned(t *testing.T) {
	t.Parallel()
	h := without(week(), log(2, 500, 600, 75), data(backup.KindDifferential, 40, 0, redo{2: 1}))
	e := unreachable(t, h, until(80))
	if want := at(60); !e.Nearest.Equal(want) || e.NearestBackup != 0 {
		t.Errorf("offers %s (backup %d), expected %s", e.Nearest, e.NearestBackup, want)
	}
	plan(t, h, chain.Target{Until: e.Nearest})
}

func TestTargetNames(t *testing.T) {
	t.Parallel()
	for want, target := range map[string]chain.Target{
		"the latest point":               {Latest: true},
		"backup 17":                      {BackupID: 17},
		"the point 2026-01-02T00:00:01Z": {Until: day.Add(time.Second)},
	} {
		if got := target.String(); got != want {
			t.Errorf("%q, expected %q", got, want)
		}
	}
}
