package chain_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pipestreamer/pipestreamer/internal/chain"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// TestLogOfAnEarlierLife: a tenant was dropped and made anew under its name, so
// that its log counts positions from the start again. The log backups of its old
// life bridge no gap in the new one.
func TestLogOfAnEarlierLife(t *testing.T) {
	t.Parallel()
	const days = 24 * 60 // minutes
	for name, test := range map[string]struct {
		begun int
		want  []string
	}{
		"of last month":           {begun: -30 * days},
		"of just over a day ago":  {begun: -days - 1},
		"of a day ago: it may be": {begun: -days, want: []string{log(2, 100, 200, 15).Name, log(2, 200, 300, -days).Name, log(2, 300, 400, 45).Name}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := chain.History{
				Backups: []*backup.Manifest{complete(0, redo{2: 100}), incremental(50, 0, redo{2: 390})},
				Logs:    []backup.LogFile{log(2, 100, 200, 15), log(2, 200, 300, test.begun), log(2, 300, 400, 45), log(2, 400, 500, 55), catalog(60)},
			}
			if test.want == nil {
				if got := unreachable(t, h, until(40)).Nearest; !got.Equal(at(15)) {
					t.Errorf("the nearest point is %v, expected %v", got, at(15))
				}
			} else if diff := cmp.Diff(test.want, names(plan(t, h, until(40)).Logs)); diff != "" {
				t.Errorf("log (-want +got):\n%s", diff)
			}
			// from the delta on nothing is missing
			if diff := cmp.Diff([]string{log(2, 300, 400, 45).Name, log(2, 400, 500, 55).Name}, names(plan(t, h, until(54)).Logs)); diff != "" {
				t.Errorf("log behind the delta (-want +got):\n%s", diff)
			}
		})
	}
}

// TestFailedLogBackup: HANA called a log backup failed and made it again, and the
// daemon has forgotten that since. What failed is no proof, what came later is.
func TestFailedLogBackup(t *testing.T) {
	t.Parallel()
	failed := unconfirmed(log(2, 200, 300, 30))
	history := func(more ...backup.LogFile) chain.History {
		logs := append([]backup.LogFile{log(2, 100, 200, 15), failed, catalog(60)}, more...)
		return chain.History{Backups: []*backup.Manifest{complete(0, redo{2: 100})}, Logs: logs}
	}
	for name, h := range map[string]chain.History{
		"not made again yet": history(), "with later log": history(log(2, 300, 400, 45)),
	} {
		if got := unreachable(t, h, until(25)).Nearest; !got.Equal(at(15)) {
			t.Errorf("%s: the nearest point is %v, expected %v", name, got, at(15))
		}
		if got := chain.RecoveryPoint(h); !got.Equal(at(15)) {
			t.Errorf("%s: the recovery point is %v, expected %v", name, got, at(15))
		}
	}
	again := log(2, 200, 300, 40)
	if diff := cmp.Diff([]string{log(2, 100, 200, 15).Name, again.Name}, names(plan(t, history(again), until(30)).Logs)); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
}
