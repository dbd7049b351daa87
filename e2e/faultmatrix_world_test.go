package e2e

import (
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pipestreamer/pipestreamer/e2e/faultys3"
	"github.com/pipestreamer/pipestreamer/e2e/hanasim"
	"github.com/pipestreamer/pipestreamer/internal/httpapi"
	"github.com/pipestreamer/pipestreamer/internal/job"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

const (
	// tolerance is store.outageTolerance in the matrix.
	tolerance = 2 * time.Second
	// largeVolume is the one whose stream has several parts.
	largeVolume     = 2
	largeVolumeSize = 24 * mebibyte
)

// faultCase is a world with something between its parts that can be broken:
//
//	daemon - storeLine - store (fault proxy) - S3 server
//	daemon - hanaLine - HANA's SQL port
type faultCase struct {
	*world

	phase  phase
	client *httpapi.Client
	// store lets chosen requests go wrong.
	store *faultys3.Server
	// storeLine and hanaLine break connections.
	storeLine, hanaLine *line
	// rules are those of add. Each has to be applied.
	rules []*faultys3.Rule
	// held keeps the commit back in the phase duringCommit.
	held *faultys3.Rule
	// job is the id of the job, known once a phase is reached.
	job string
}

func newFaultCase(t *testing.T, lines *toxiproxy, row *faultRow, p phase) *faultCase {
	t.Helper()
	config := hanasim.Config{
		Databases: []hanasim.Database{systemDB(), {Name: "HXE", Volumes: volumes(largeVolumeSize, mebibyte)}},
		Profile:   hanasim.Dotname, WriteSize: 256 << 10,
	}
	if row.hana != nil {
		row.hana(&config)
	}
	c := &faultCase{phase: p}
	c.world = &world{t: t, depot: openS3(t), backups: directory(t), hana: startHANA(t, config)}
	c.store = startFaultyS3(t, c.depot.server)
	c.storeLine = lines.open(t, c.store.Address())
	c.hanaLine = lines.open(t, c.hana.Addr(backup.SystemDB))
	c.log.showOnFailure(t, "the daemon")
	c.configure(overlay(c.settings(), row.config))
	c.startDaemon()
	c.client = c.world.client()
	return c
}

// settings make the daemon use the lines and lose its patience early.
func (c *faultCase) settings() map[string]any {
	c.t.Helper()
	host, text, err := net.SplitHostPort(c.hanaLine.address)
	if err != nil {
		c.t.Fatal(err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		c.t.Fatal(err)
	}
	return map[string]any{
		"hana": map[string]any{"host": host, "port": port},
		"store": map[string]any{
			"options":         map[string]any{"endpoint": "http://" + c.storeLine.address},
			"outageTolerance": tolerance.String(), "stallTimeout": "2s", "streams": 4,
		},
		"memoryBudget":  "64MiB",
		"shutdownGrace": "1s",
		"timeouts":      map[string]any{"open": "5s", "answer": "5s", "end": "1s", "commit": "6s", "clean": "3s"},
	}
}

func startFaultyS3(t *testing.T, server string) *faultys3.Server {
	t.Helper()
	proxy, err := faultys3.Start(t.Context(), server)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := proxy.Close(); err != nil {
			t.Error(err)
		}
	})
	return proxy
}

// add is a rule of the store, which has to be applied before the job ends.
func (c *faultCase) add(match faultys3.Match, answer faultys3.Answer) *faultys3.Rule {
	rule := c.store.Add(match, answer)
	c.rules = append(c.rules, rule)
	return rule
}

// pace makes HANA slow where the phase is, and holds the commit back for the
// last one.
func (c *faultCase) pace() {
	c.t.Helper()
	switch c.phase {
	case beforeOpen:
		c.hana.set("delay-open", "1500ms")
	case firstBytes, middle:
		c.hana.set("delay-write", "20ms")
	case afterEOF:
		c.hana.set("delay-answer", "1500ms")
	case duringCommit:
		c.held = c.store.Hold(faultys3.Match{Kinds: []faultys3.Kind{faultys3.Complete}, Key: "/data/"})
	}
}

// reach returns when the job is in its phase.
func (c *faultCase) reach() {
	c.t.Helper()
	c.job = c.awaitJob(c.client)
	if c.phase == duringCommit {
		select {
		case <-c.held.Reached():
		case <-time.After(patience):
			c.t.Fatal("nothing is committed")
		}
		return
	}
	eventually(c.t, "the phase "+string(c.phase), func() bool {
		record, err := c.client.Job(c.t.Context(), c.job)
		if err != nil {
			c.t.Fatal(err)
		}
		if record.State.Terminal() {
			c.t.Fatalf("the job ended %s before the phase was reached: %+v", record.State, record.Error)
		}
		reached, missed := c.phase.of(&record, c.hanaRuns)
		if missed {
			c.t.Fatalf("the phase has passed unseen: %+v", record)
		}
		return reached
	})
}

// of tells whether a job that runs has reached the phase, or is beyond it.
func (p phase) of(record *job.Record, hanaRuns func() bool) (reached, missed bool) {
	var bytes int64
	ended := 0
	var large job.Progress
	for i := range record.Streams {
		s := &record.Streams[i]
		bytes += s.Bytes
		if s.Done {
			ended++
		}
		if s.VolumeID == largeVolume {
			large = *s
		}
	}
	switch p {
	case beforeOpen:
		return bytes == 0 && hanaRuns(), bytes > 0
	case firstBytes:
		return bytes > 0, large.Stored > 0
	case middle:
		return large.Stored > 0, large.Done
	case afterEOF:
		return len(record.Streams) > 0 && ended == len(record.Streams), false
	default:
		return true, false
	}
}

// hanaRuns tells whether HANA has taken the statement.
func (c *faultCase) hanaRuns() bool {
	for _, row := range c.hana.catalog("HXE") {
		if row.State == "running" {
			return true
		}
	}
	return false
}

// proceed lets a commit go on that was held back.
func (c *faultCase) proceed() {
	if c.held != nil {
		c.held.Remove()
	}
}

// end ends the fault and makes sure that there was one.
func (c *faultCase) end(row *faultRow) {
	c.t.Helper()
	for _, rule := range c.rules {
		if rule.Hits() == 0 {
			c.t.Error("the fault did not happen: no request met it")
		}
	}
	c.store.Clear()
	c.storeLine.mend()
	c.hanaLine.mend()
	if row.lift != nil {
		row.lift(c)
	}
}

// expectHANAIdle checks that HANA runs no backup, and that nothing of it waits
// for a reader: the simulator is in this process, so its files are ours.
func (c *faultCase) expectHANAIdle() {
	c.t.Helper()
	eventually(c.t, "HANA runs no backup", func() bool {
		for _, row := range c.hana.catalog("HXE") {
			if row.State == "running" || row.State == "cancel pending" {
				return false
			}
		}
		return true
	})
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		c.t.Fatal(err)
	}
	for _, entry := range open {
		// One that was closed meanwhile cannot be read.
		name, err := os.Readlink("/proc/self/fd/" + entry.Name())
		if err == nil && strings.HasPrefix(name, c.backups+"/") {
			c.t.Errorf("HANA still has %s open", name)
		}
	}
}
