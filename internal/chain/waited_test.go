package chain_test

import (
	"testing"
	"time"

	"github.com/pipestreamer/pipestreamer/internal/chain"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

func withCommit(f backup.LogFile, commit time.Time) backup.LogFile {
	f.LastCommit = commit
	return f
}

// Closed segments wait until HANA can write again: then the first of them is
// written late, without the commits of the others.
func TestPlanDoesNotTrustLogThatWaited(t *testing.T) {
	t.Parallel()
	first, second := withCommit(log(2, 100, 200, 60), at(10)), withCommit(log(2, 200, 300, 61), at(40))
	again := withCommit(log(2, 100, 200, 60), time.Time{})
	once := withCommit(log(2, 100, 200, 15), time.Time{})
	for name, test := range map[string]struct {
		logs    []backup.LogFile
		lost    backup.LogFile
		reaches time.Time
	}{
		"all there":                               {[]backup.LogFile{first, second}, backup.LogFile{}, at(61)},
		"the second is lost":                      {[]backup.LogFile{first, second}, second, at(10)},
		"the first was written again":             {[]backup.LogFile{again, once}, backup.LogFile{}, at(15)},
		"written again, and the next one is lost": {[]backup.LogFile{withCommit(again, at(9)), log(2, 200, 300, 30)}, log(2, 200, 300, 30), at(9)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := chain.History{
				Backups: []*backup.Manifest{complete(0, redo{2: 100})},
				Logs:    append(test.logs, catalog(70)),
			}
			if test.lost.Name != "" {
				h = without(h, test.lost)
			}
			if got := plan(t, h, latest()).Reaches; !got.Equal(test.reaches) {
				t.Errorf("reaches %s, expected %s", got, test.reaches)
			}
			_ = unreachable(t, h, chain.Target{Until: test.reaches.Add(time.Millisecond)})
			plan(t, h, chain.Target{Until: test.reaches})
		})
	}
}

// The log backup of minute 30 says that it has everything up to then. When it had
// waited since its last commit, the next one has the rest.
func TestPlanTakesLogUpToACommitBehindThePoint(t *testing.T) {
	t.Parallel()
	never := time.Time{}
	for name, test := range map[string]struct {
		commits []time.Time // of the log backups of minutes 15, 30, 45 and 60
		files   int
	}{
		"a commit in the file itself":        {[]time.Time{at(14), at(26), at(44), at(59)}, 0},
		"the next commit is in the next one": {[]time.Time{at(14), at(20), at(44), at(59)}, 1},
		"idle for a while":                   {[]time.Time{at(14), at(20), at(20), at(59)}, 2},
		"HANA did not tell":                  {[]time.Time{never, never, never, never}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := chain.History{Backups: []*backup.Manifest{complete(0, redo{2: 100})}, Logs: []backup.LogFile{catalog(61)}}
			for i, commit := range test.commits {
				position := int64(100 * (i + 1))
				h.Logs = append(h.Logs, withCommit(log(2, position, position+100, 15*(i+1)), commit))
			}
			c := plan(t, h, until(25))
			if len(c.Logs) != 2 || len(c.Further) != test.files || len(c.Notes) > 0 {
				t.Errorf("log %v and %v, notes %q, expected %d further files", names(c.Logs), names(c.Further), c.Notes, test.files)
			}
		})
	}
}
