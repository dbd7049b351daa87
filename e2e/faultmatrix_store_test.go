package e2e

import (
	"net/http"

	"github.com/pipestreamer/pipestreamer/e2e/faultys3"
	"github.com/pipestreamer/pipestreamer/internal/job"
)

// storeFaults are what a store may answer.
func storeFaults() []faultRow {
	return []faultRow{
		{
			fault: "503 SlowDown, 4 times", where: atStore,
			inject: func(c *faultCase) {
				c.add(faultys3.Match{Key: "/data/", Count: 4}, faultys3.Refuse(http.StatusServiceUnavailable, "SlowDown"))
			},
			outcomes: everyPhase(absorbed(), beforeOpen, firstBytes, middle, afterEOF, duringCommit),
		},
		{
			fault: "AccessDenied at completion", where: atStore,
			inject: func(c *faultCase) {
				c.add(faultys3.Match{Kinds: []faultys3.Kind{faultys3.Complete}, Key: "/data/"}, faultys3.Refuse(http.StatusForbidden, "AccessDenied"))
			},
			outcomes: everyPhase(outcome{state: job.StateLost, code: job.CodeCommit, words: "AccessDenied"}, duringCommit),
		},
	}
}

// storeLineFaults are what the network to the store may do.
func storeLineFaults() []faultRow { return nil }

// hanaLineFaults are what the network to HANA may do.
func hanaLineFaults() []faultRow { return nil }
