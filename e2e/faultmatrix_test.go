package e2e

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim"
	"github.com/pipestreamer/pipestreamer/internal/job"
)

// phase is a moment in the life of a backup at which a fault begins.
type phase string

// The phases, in order.
const (
	// atPlan is before the job is asked for.
	atPlan phase = "at plan"
	// beforeOpen is when HANA runs the backup and has opened no pipe.
	beforeOpen phase = "before open"
	// firstBytes is when HANA has begun to write and the store has no part of
	// the large stream.
	firstBytes phase = "first bytes"
	// middle is when the store has taken parts of a stream that HANA still
	// writes.
	middle phase = "middle"
	// afterEOF is when every stream has ended, HANA's catalog calls the backup
	// successful, and its answer is still to come.
	afterEOF phase = "after EOF"
	// duringCommit is when the verdict is good and every object is about to be
	// completed.
	duringCommit phase = "during commit"
)

func phases() []phase {
	return []phase{atPlan, beforeOpen, firstBytes, middle, afterEOF, duringCommit}
}

// faultRow is one fault, and what has to come of it in each phase. docs/faults.md
// shows what is checked here, and nothing else.
type faultRow struct {
	// fault says in a few words what goes wrong; it names the tests too.
	fault string
	// where it is injected: one of the places below.
	where string
	// outcomes by the phases that apply.
	outcomes map[phase]outcome
	// config is laid over the daemon's configuration, hana changes the
	// simulated system; both may be nil.
	config map[string]any
	hana   func(*hanasim.Config)
	// arrange prepares before the job starts; may be nil.
	arrange func(c *faultCase)
	// inject brings the fault about. It is called when the phase is reached and
	// may end it again. Without it arrange has to do everything, and the phase
	// is not waited for.
	inject func(c *faultCase)
	// lift ends the fault once the job has ended. Rules of the fault proxy and
	// everything on the lines are ended by themselves. May be nil.
	lift func(c *faultCase)
	// check looks at what is special; may be nil.
	check func(c *faultCase, record job.Record)
}

// The places where faults are injected.
const (
	atStore     = "the store's answers"
	onStoreLine = "the connection to the store"
	onHANALine  = "the connection to HANA"
	inHANA      = "HANA"
	inDaemon    = "the daemon"
	onDisk      = "the disks"
)

// outcome is what has to come of a fault in one phase.
type outcome struct {
	state job.State
	// code of the cause, empty when the job succeeds.
	code string
	// words are in the cause's message.
	words string
	// leftover says that something may stay in the store that no manifest names.
	// The job has to name it.
	leftover bool
	// believed says that HANA takes the backup for a good one although the job
	// has only failed, because HANA could not be asked.
	believed bool
	// files are the endings of regular files of HANA's that stay in the backup
	// directory.
	files []string
}

// absorbed is the outcome of a fault that a backup survives.
func absorbed() outcome { return outcome{state: job.StateSucceeded} }

// everyPhase gives one outcome to several phases.
func everyPhase(o outcome, in ...phase) map[phase]outcome {
	all := make(map[phase]outcome)
	for _, p := range in {
		all[p] = o
	}
	return all
}

// faultRows are all faults. A file with more of them adds a line.
func faultRows() []faultRow {
	return slices.Concat(
		storeFaults(),
		storeLineFaults(),
		hanaLineFaults(),
		hanaFaults(),
	)
}

// TestFaultMatrix runs every fault in each of its phases against the compiled
// daemon, the simulated HANA and a real S3 server, and checks that the job ends
// as the table says and that the invariants hold.
func TestFaultMatrix(t *testing.T) {
	t.Parallel()
	type oneCase struct {
		faultRow
		phase phase
	}
	var cases []oneCase
	for _, row := range faultRows() {
		for _, p := range phases() {
			if _, applies := row.outcomes[p]; applies {
				cases = append(cases, oneCase{row, p})
			}
		}
	}
	lines := startToxiproxy(t)
	name := func(one oneCase) string { return one.fault + ", " + string(one.phase) }
	runAtOnce(t, 8, cases, name, func(t *testing.T, one oneCase) {
		t.Helper()
		runCase(t, lines, &one.faultRow, one.phase, one.outcomes[one.phase])
	})
}

// runAtOnce runs a subtest for each case, several at once. They wait most of
// their time, so there can be more of them than processors, which parallel
// subtests are not.
func runAtOnce[T any](t *testing.T, several int, cases []T, name func(T) string, run func(*testing.T, T)) {
	t.Helper()
	var running sync.WaitGroup
	var ran atomic.Int64
	places := make(chan struct{}, several)
	for _, one := range cases {
		places <- struct{}{}
		running.Go(func() {
			defer func() { <-places }()
			t.Run(name(one), func(t *testing.T) {
				ran.Add(1)
				run(t, one)
			})
		})
	}
	running.Wait()
	t.Logf("%d cases", ran.Load())
}

// exitStatus is that of the command line for each state.
func exitStatus(state job.State) int {
	return map[job.State]int{job.StateSucceeded: 0, job.StateFailed: 1, job.StateLost: 4, job.StateCanceled: 130}[state]
}

// runCase runs one fault in one phase.
func runCase(t *testing.T, lines *toxiproxy, row *faultRow, p phase, expected outcome) {
	t.Helper()
	c := newFaultCase(t, lines, row, p)
	c.pause()
	if row.arrange != nil {
		row.arrange(c)
	}
	if p == atPlan && row.inject != nil {
		row.inject(c)
	}
	v := c.beginProcess("backup", "--database", "HXE")
	if p != atPlan && row.inject != nil {
		c.reach()
		row.inject(c)
		c.proceed()
	}
	ended := v.finish()
	c.end(row)
	record := ended.expect(t, exitStatus(expected.state)).record(t)
	c.expectOutcome(record, expected)
	if row.check != nil {
		row.check(c, record)
	}
	c.expectInvariants(record, expected)
	c.expectNext(record)
	c.stopDaemon()
}

// expectOutcome compares how the job ended with the table.
func (c *faultCase) expectOutcome(record job.Record, expected outcome) {
	c.t.Helper()
	if expected.state == job.StateSucceeded {
		if record.State != expected.state || record.Error != nil {
			c.t.Fatalf("the job ended %s with %+v, expected that it succeeds (consequences: %q)", record.State, record.Error, record.Consequences)
		}
		return
	}
	expectCause(c.t, record, expected.state, expected.code)
	i := slices.IndexFunc(job.Codes(), func(info job.CodeInfo) bool { return info.Code == record.Error.Code })
	if i < 0 {
		c.t.Fatalf("the code %q is in no list", record.Error.Code)
	}
	ofTheStore := []string{job.CodeStoreUnusable, job.CodeUpload, job.CodeCommit, job.CodeUnwritten}
	if want := job.Codes()[i].Action; slices.Contains(ofTheStore, record.Error.Code) && record.Error.Hint != want {
		c.t.Errorf("the hint is not the one of %s, %q, but %q", record.Error.Code, want, record.Error.Hint)
	}
	if !strings.Contains(record.Error.Message, expected.words) {
		c.t.Errorf("the message does not say %q: %s", expected.words, record.Error.Message)
	}
}

// expectInvariants checks what holds after every fault, whatever it was
// (fault or not): a manifest means a backup that is good in HANA, in the store
// and in a restore; without one nothing is left that could be taken for it.
func (c *faultCase) expectInvariants(record job.Record, expected outcome) {
	c.t.Helper()
	c.expectHANAIdle()
	if record.State == job.StateSucceeded {
		c.expectAgreement(record)
		if uploads := c.uploads(); len(uploads) > 0 {
			c.t.Errorf("multipart uploads are left: %v", uploads)
		}
		c.destroyAndRestore(record)
		return
	}
	for _, row := range c.hana.catalog(record.Database) {
		believed := expected.believed || record.State == job.StateLost
		if row.Comment == record.ID && believed != (row.State == "successful") {
			c.t.Errorf("HANA's catalog calls the backup %s, the job is %s", row.State, record.State)
		}
		if row.Comment == record.ID && expected.believed && !record.OutcomeUnknown {
			c.t.Error("HANA's catalog calls the backup successful, and the record does not say that it could not be asked")
		}
	}
	c.expectLeft(expected.files)
	if expected.leftover {
		c.removeLeftovers(record)
	} else if uploads := c.uploads(); len(uploads) > 0 {
		c.t.Errorf("multipart uploads are left: %v (consequences: %q)", uploads, record.Consequences)
	}
	c.expectNothingStored()
}

// expectNext makes a backup in the same world, a small one, which has to be good.
func (c *faultCase) expectNext(record job.Record) {
	c.t.Helper()
	for _, delay := range []string{"delay-open", "delay-write", "delay-answer"} {
		c.hana.set(delay, "0s")
	}
	c.hana.statement("SIM RESIZE 'HXE' %d '1MiB'", largeVolume)
	if record.State != job.StateSucceeded {
		c.expectAgreement(c.backUp("HXE"))
		return
	}
	first := c.manifest(record.Database, record.BackupID)
	c.expectAgreement(c.backUp("HXE"), first)
}

// describe gives the outcome as docs/faults.md shows it.
func (o *outcome) describe() (verdict, code, sees string) {
	verdict = fmt.Sprintf("%#q, exit status %d", o.state, exitStatus(o.state))
	if o.code != "" {
		code = "`" + o.code + "`"
	}
	var seen []string
	if o.words != "" {
		seen = append(seen, "the message says “"+o.words+"”")
	}
	if o.leftover {
		seen = append(seen, "what may have stayed in the store is named")
	}
	if o.believed {
		seen = append(seen, "HANA's catalog, which could not be asked, calls it successful")
	}
	if len(o.files) > 0 {
		seen = append(seen, "HANA's own files stay in the backup directory: `*"+strings.Join(o.files, "`, `*")+"`")
	}
	return verdict, code, strings.Join(seen, "; ")
}
