package e2e

import (
	"strings"
	"time"

	"github.com/pipestreamer/pipestreamer/internal/job"
)

// storeLineFaults are what the network to the store may do.
func storeLineFaults() []faultRow {
	return []faultRow{
		{
			fault: "connections are refused until a request was tried again", where: onStoreLine,
			inject:   forAWhile((*line).cut),
			outcomes: everyPhase(absorbed(), beforeOpen, firstBytes, middle, afterEOF, duringCommit),
		},
		{
			fault: "connections are refused for 25 s, with `store.outageTolerance: 1m`", where: onStoreLine,
			config: patient(),
			inject: func(c *faultCase) {
				c.storeLine.cut()
				c.proceed()
				time.Sleep(25 * time.Second)
				c.storeLine.mend()
			},
			outcomes: everyPhase(absorbed(), middle, afterEOF, duringCommit),
		},
		{
			fault: "connections are refused for longer than `store.outageTolerance`", where: onStoreLine,
			config: brief(),
			inject: func(c *faultCase) { c.storeLine.cut() },
			outcomes: with(outage("connection refused", "connection refused"),
				atPlan, unusable("connection refused")),
		},
		{
			fault: "connections are reset until a request was tried again", where: onStoreLine,
			config:   map[string]any{"store": map[string]any{"outageTolerance": "15s"}, "timeouts": map[string]any{"commit": "20s"}},
			inject:   forAWhile((*line).resetPeers),
			outcomes: everyPhase(absorbed(), beforeOpen, firstBytes, middle, afterEOF, duringCommit),
		},
		{
			fault: "connections are reset for longer than `store.outageTolerance`", where: onStoreLine,
			config:   brief(),
			inject:   func(c *faultCase) { c.storeLine.resetPeers() },
			outcomes: outage("operation error S3", "operation error S3"),
		},
		{
			fault: "nothing passes until a request was tried again", where: onStoreLine,
			config:   map[string]any{"store": map[string]any{"stallTimeout": "1s", "outageTolerance": "10s"}, "timeouts": map[string]any{"commit": "20s"}},
			inject:   forAWhile((*line).swallow),
			outcomes: everyPhase(absorbed(), beforeOpen, firstBytes, middle, afterEOF, duringCommit),
		},
		{
			fault: "nothing passes for longer than `store.outageTolerance`", where: onStoreLine,
			config:   brief(),
			inject:   func(c *faultCase) { c.storeLine.swallow() },
			outcomes: outage("silent", "silent"),
		},
		{
			fault: "each connection ends after 3 MiB", where: onStoreLine,
			inject:   func(c *faultCase) { c.storeLine.limit("upstream", 3*mebibyte) },
			outcomes: uploading(named(refused("part"))),
		},
		{
			fault: "each connection ends after 8 MiB", where: onStoreLine,
			inject:   func(c *faultCase) { c.storeLine.limit("upstream", 8*mebibyte) },
			outcomes: uploading(absorbed()),
		},
		{
			fault: "answers take 200 ms and 8 MB/s pass", where: onStoreLine,
			inject:   func(c *faultCase) { c.storeLine.slow(200, 8000) },
			outcomes: everyPhase(absorbed(), atPlan, middle, duringCommit),
		},
	}
}

// with adds the outcome of one phase more.
func with(outcomes map[phase]outcome, p phase, o outcome) map[phase]outcome {
	outcomes[p] = o
	return outcomes
}

// goesOn makes the simulator carry on with a backup whose client has gone; what
// HANA does is not known.
func goesOn(c *faultCase) { c.hana.set("client-gone", "continue") }

// cutOnce ends the connections to HANA and refuses others until the daemon has
// missed HANA's answer.
func cutOnce(c *faultCase) {
	c.hanaLine.cut()
	c.awaitMissed()
	c.hanaLine.mend()
}

func (c *faultCase) awaitMissed() {
	c.t.Helper()
	eventually(c.t, "the daemon misses HANA's answer", func() bool {
		return strings.Contains(c.log.String(), "answer got lost")
	})
}

// hanaLineFaults are what the network to HANA may do.
func hanaLineFaults() []faultRow {
	unknown := outcome{state: job.StateFailed, code: job.CodeAnswerUnknown, believed: true}
	return []faultRow{
		{
			fault: "connections are refused", where: onHANALine,
			inject: func(c *faultCase) { c.hanaLine.cut() },
			outcomes: map[phase]outcome{
				atPlan:       {state: job.StateFailed, code: job.CodePlan, words: "connection refused"},
				duringCommit: absorbed(),
			},
		},
		{
			fault: "connections are cut once, and HANA cancels the backup", where: onHANALine,
			inject:   cutOnce,
			outcomes: everyPhase(outcome{state: job.StateFailed, code: job.CodeCatalog, words: "cancel"}, beforeOpen, firstBytes, middle),
		},
		{
			fault: "connections are cut once, and HANA goes on", where: onHANALine,
			arrange:  goesOn,
			inject:   cutOnce,
			outcomes: everyPhase(absorbed(), beforeOpen, firstBytes, middle, afterEOF),
		},
		{
			fault: "the connection is reset when HANA answers", where: onHANALine,
			inject: func(c *faultCase) {
				c.hanaLine.resetPeers()
				c.proceed()
				c.awaitMissed()
				c.hanaLine.mend()
			},
			outcomes: everyPhase(absorbed(), afterEOF),
		},
		{
			fault: "connections are cut for good, and HANA goes on", where: onHANALine,
			arrange:  goesOn,
			inject:   func(c *faultCase) { c.hanaLine.cut() },
			outcomes: everyPhase(unknown, beforeOpen, firstBytes, middle, afterEOF),
		},
		{
			fault: "nothing passes, and HANA goes on", where: onHANALine,
			arrange: goesOn,
			inject:  func(c *faultCase) { c.hanaLine.swallow() },
			outcomes: with(everyPhase(unknown, beforeOpen, firstBytes, middle, afterEOF),
				atPlan, outcome{state: job.StateFailed, code: job.CodePlan, words: "no answer from HANA"}),
		},
	}
}
