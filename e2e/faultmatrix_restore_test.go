package e2e

import (
	"net/http"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/pipestreamer/pipestreamer/e2e/faultys3"
	"github.com/pipestreamer/pipestreamer/internal/job"
)

// restoreRow is a fault of the store while HANA recovers from it.
type restoreRow struct {
	fault string
	where string
	// inject is called before the restore begins, or when its third read is
	// held back by the fault proxy.
	inject func(c *faultCase)
	held   bool
	// outcome without a code is a restore that gives back every byte. After any
	// other the tenant is stopped, unless untouched.
	outcome   outcome
	untouched bool
}

var reads = faultys3.Match{Kinds: []faultys3.Kind{faultys3.Get}, Key: "/data/"}

// restoreFaults are all of them.
func restoreFaults() []restoreRow {
	unreadable := func(words string) outcome {
		return outcome{state: job.StateFailed, code: job.CodeObject, words: words}
	}
	return []restoreRow{
		{
			fault: "`503 SlowDown`, 4 times", where: atStore, outcome: absorbed(),
			inject: answer(first(4, reads), faultys3.Refuse(http.StatusServiceUnavailable, "SlowDown")),
		},
		{
			fault: "the connection breaks off in the middle of a read, 3 times", where: atStore, outcome: absorbed(),
			inject: answer(first(3, reads), faultys3.BreakOff),
		},
		{
			fault: "a read comes in small pieces", where: atStore, outcome: absorbed(),
			inject: answer(first(2, reads), faultys3.SlowBody(64<<10, 20*time.Millisecond)),
		},
		{
			fault: "a read is damaged on its way, once", where: atStore, outcome: absorbed(),
			inject: answer(first(1, reads), faultys3.Damage),
		},
		{
			fault: "every read is damaged", where: atStore, outcome: unreadable("does not match"),
			inject: answer(reads, faultys3.Damage),
		},
		{
			fault: "every read breaks off in its middle", where: atStore, outcome: unreadable("part"),
			inject: answer(reads, faultys3.BreakOff),
		},
		{
			fault: "`503 SlowDown` for longer than `store.outageTolerance`", where: atStore, outcome: unreadable("SlowDown"),
			inject: answer(reads, faultys3.Refuse(http.StatusServiceUnavailable, "SlowDown")),
		},
		{
			fault: "half a list of objects", where: atStore, untouched: true,
			outcome: outcome{state: job.StateFailed, code: job.CodeStoreUnusable, words: "list"},
			inject:  answer(lists, faultys3.Truncate),
		},
		{
			fault: "connections are reset until a request was tried again", where: onStoreLine, outcome: absorbed(), held: true,
			inject: forAWhile((*line).resetPeers),
		},
		{
			fault: "connections are refused until a request was tried again", where: onStoreLine, outcome: absorbed(), held: true,
			inject: forAWhile((*line).cut),
		},
		{
			fault: "each connection ends after 8 MiB", where: onStoreLine, outcome: absorbed(),
			inject: func(c *faultCase) { c.storeLine.limit("downstream", 8*mebibyte) },
		},
		{
			fault: "each connection ends after 3 MiB", where: onStoreLine, outcome: unreadable("part"),
			inject: func(c *faultCase) { c.storeLine.limit("downstream", 3*mebibyte) },
		},
		{
			fault: "connections are reset for longer than `store.outageTolerance`", where: onStoreLine, outcome: unreadable("part"), held: true,
			inject: func(c *faultCase) { c.storeLine.resetPeers() },
		},
	}
}

// TestRestoreFaults restores a good backup while the store or the way to it
// fails: HANA gets every byte, or the restore fails, says why, and leaves the
// tenant stopped. Once the fault is over, the restore succeeds.
func TestRestoreFaults(t *testing.T) {
	t.Parallel()
	lines := startToxiproxy(t)
	name := func(row restoreRow) string { return row.fault }
	runAtOnce(t, 4, restoreFaults(), name, func(t *testing.T, row restoreRow) {
		t.Helper()
		c := newFaultCase(t, lines, &faultRow{}, atPlan)
		record := c.backUp("HXE")
		before := c.hana.Content("HXE")
		if err := c.hana.Destroy("HXE"); err != nil {
			t.Fatal(err)
		}
		if row.held {
			match := reads
			match.After = 2
			c.held = c.store.Hold(match)
		} else {
			row.inject(c)
		}
		v := c.beginProcess("restore", "--database", "HXE", "--backup", "latest")
		if row.held {
			await(t, "the restore reads", c.held.Reached())
			row.inject(c)
			c.proceed()
		}
		ended := v.finish()
		c.end(&faultRow{})
		restored := ended.expect(t, exitStatus(row.outcome.state)).record(t)
		c.expectOutcome(restored, row.outcome)
		c.expectNoPipes()
		if row.outcome.state != job.StateSucceeded {
			if c.online("HXE") != row.untouched {
				t.Errorf("the tenant is online: %v, expected %v", !row.untouched, row.untouched)
			}
			again := c.run("restore", "--database", "HXE", "--backup", "latest").expect(t, 0).record(t)
			if again.BackupID != record.BackupID {
				t.Errorf("backup %d was restored, expected %d", again.BackupID, record.BackupID)
			}
		}
		if diff := gocmp.Diff(before, c.hana.Content("HXE")); diff != "" {
			t.Errorf("content (-before +restored):\n%s", diff)
		}
		c.stopDaemon()
	})
}
