package chain_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pipestreamer/pipestreamer/internal/chain"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

func TestNotes(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		history chain.History
		target  chain.Target
		want    []string
	}{
		"nothing to say": {week(), until(80), nil},
		"no position": {
			chain.History{Backups: []*backup.Manifest{complete(0, redo{2: 0})}, Logs: []backup.LogFile{log(2, 100, 200, 15), catalog(16)}},
			until(15),
			[]string{"volume 2: HANA did not say from which log position complete backup 1767312000000 has to be replayed: all log backups since its start are used"},
		},
		"a catalog that was never confirmed": {
			chain.History{Backups: []*backup.Manifest{complete(0, redo{2: 100})}, Logs: []backup.LogFile{log(2, 100, 200, 15), unconfirmed(catalog(22))}},
			until(15),
			[]string{"the newest backup of the catalog, log_backup_0_0_0_0.1767313320000, was never confirmed by HANA"},
		},
		"a newer catalog that was never confirmed, and one that will do": {
			chain.History{
				Backups: []*backup.Manifest{complete(0, redo{2: 100})},
				Logs:    []backup.LogFile{log(2, 100, 200, 15), catalog(16), unconfirmed(catalog(22))},
			},
			until(15),
			[]string{"the newer backup of the catalog, log_backup_0_0_0_0.1767313320000, was never confirmed by HANA and is not used"},
		},
		"a newer catalog that was never confirmed, and leads further": {
			chain.History{
				Backups: []*backup.Manifest{complete(0, redo{2: 100})},
				Logs:    []backup.LogFile{log(2, 100, 200, 15), catalog(16), log(2, 200, 300, 20), unconfirmed(catalog(22))},
			},
			latest(),
			[]string{
				"the newest backup of the catalog, log_backup_0_0_0_0.1767313320000, was never confirmed by HANA",
				"the newest that was confirmed, log_backup_0_0_0_0.1767312960000, leads to 2026-01-02T00:15:00Z",
			},
		},
		"log that the catalog does not know": {
			without(week(), catalog(91)), latest(),
			[]string{
				"the newest backup of the catalog, log_backup_0_0_0_0.1767316560000, does not know 2 newer log backups, log_backup_2_0_600_700.1767317400000 to log_backup_2_0_600_700.1767317400000",
			},
		},
		"log that may have waited, and the next one is lost": {
			without(chain.History{
				Backups: []*backup.Manifest{complete(0, redo{2: 100})},
				Logs:    []backup.LogFile{withCommit(log(2, 100, 200, 30), at(10)), log(2, 200, 300, 45), log(2, 300, 400, 60), catalog(61)},
			}, log(2, 200, 300, 45)), until(20),
			[]string{
				"commits shortly before 2026-01-02T00:20:00Z may be lost, when HANA wrote its log late: volume 2: log_backup_2_0_200_300.1767314700000 (log positions 200 to 300) is not in the store, its object HXE/HXE/log/log_backup_2_0_200_300.1767314700000 is missing; the log before it reaches 2026-01-02T00:30:00Z",
			},
		},
		"newer backups that HANA would ask for": {
			without(week(), data(backup.KindDifferential, 40, 0, redo{2: 1})), until(80),
			[]string{"newer data backups cannot be used for this: 1767314400000, 1767316200000"},
		},
		"a volume that was idle": {
			chain.History{
				Backups: []*backup.Manifest{complete(0, redo{2: 100, 3: 7})},
				Logs:    []backup.LogFile{log(2, 100, 200, 15), catalog(16)},
			},
			latest(),
			[]string{"volume 3: there is no log backup after complete backup 1767312000000; if it was idle, more is reached than can be promised"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(test.want, plan(t, test.history, test.target).Notes); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}
