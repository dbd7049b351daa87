package e2e

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"regexp"
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
	// largeVolume is the one whose stream has several parts of 5 MiB,
	// and more than the daemon may keep in memory, so that HANA has to wait for
	// the store.
	largeVolume     = 2
	largeVolumeSize = 20 * mebibyte
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
	// secrets is the directory with the keys of the store.
	secrets string
	// stalls is how many of HANA's threads wait in the phase.
	stalls int
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
	c.secrets = directory(c.t)
	c.putSecrets("first", s3Access, s3Secret)
	for _, name := range []string{accessFile, secretFile} {
		if err := os.Symlink(filepath.Join(currentSecrets, name), filepath.Join(c.secrets, name)); err != nil {
			c.t.Fatal(err)
		}
	}
	c.depot.settings = map[string]any{
		"type": "s3", "root": "bucket/" + c.depot.root,
		"options": map[string]any{"provider": "Other", "endpoint": "http://" + c.storeLine.address},
		"secrets": map[string]any{
			"access_key_id":     filepath.Join(c.secrets, accessFile),
			"secret_access_key": filepath.Join(c.secrets, secretFile),
		},
	}
	return map[string]any{
		"hana": map[string]any{"host": host, "port": port},
		"store": map[string]any{
			"outageTolerance": tolerance.String(), "stallTimeout": "5s", "streams": 4, "concurrency": 1,
		},
		"memoryBudget":  "48MiB",
		"shutdownGrace": "1s",
		"timeouts":      map[string]any{"open": "5s", "answer": "5s", "end": "1s", "commit": "20s", "clean": "20s"},
	}
}

// The files of a secret, and the link that leads to those that hold now.
const (
	accessFile     = "access-key"
	secretFile     = "secret-key"
	currentSecrets = "..data"
)

// putSecrets gives the daemon other keys, all at once, as kubelet does with a
// mounted secret.
func (c *faultCase) putSecrets(version, access, secret string) {
	c.t.Helper()
	dir := filepath.Join(c.secrets, version)
	link := filepath.Join(c.secrets, "..next")
	err := errors.Join(
		os.Mkdir(dir, 0o700),
		os.WriteFile(filepath.Join(dir, accessFile), []byte(access+"\n"), 0o600),
		os.WriteFile(filepath.Join(dir, secretFile), []byte(secret+"\n"), 0o600),
		os.Symlink(version, link),
		os.Rename(link, filepath.Join(c.secrets, currentSecrets)),
	)
	if err != nil {
		c.t.Fatal(err)
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

// pause makes HANA wait where the phase begins; the last one holds the commit
// back instead.
func (c *faultCase) pause() {
	c.t.Helper()
	switch c.phase {
	case atPlan:
	case beforeOpen:
		for _, volume := range []string{"0", "2", "3"} {
			c.hana.set("fail", "stall-open:"+volume)
		}
		c.stalls = 3
	case firstBytes:
		for _, volume := range []string{"0", "2", "3"} {
			c.hana.set("fail", "stall:"+volume+":8KiB")
		}
		c.stalls = 3
	case middle:
		// One part is full; what is missing is more than two.
		c.hana.set("fail", "stall:2:6MiB")
		c.stalls = 1
	case afterEOF:
		c.hana.set("fail", "stall-answer")
		c.stalls = 1
	case duringCommit:
		c.held = c.store.Hold(faultys3.Match{Kinds: []faultys3.Kind{faultys3.Complete}, Key: "/data/"})
	}
}

// reach returns when the job is in its phase.
func (c *faultCase) reach() {
	c.t.Helper()
	c.job = c.awaitJob(c.client)
	if c.phase == duringCommit {
		await(c.t, "the commit begins", c.held.Reached())
		record, err := c.client.Job(c.t.Context(), c.job)
		if err != nil {
			c.t.Fatal(err)
		}
		eventually(c.t, "every object is about to be completed", func() bool { return c.held.Hits() == len(record.Streams) })
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
		return c.hana.Stalled() == c.stalls && c.phase.reached(&record)
	})
}

// reached tells whether a job is in the phase, once HANA waits there.
func (p phase) reached(record *job.Record) bool {
	ended := 0
	for i := range record.Streams {
		s := &record.Streams[i]
		switch {
		case p == firstBytes && s.Bytes == 0:
			return false
		case p == middle && s.VolumeID == largeVolume && s.Stored == 0:
			return false
		case s.Done:
			ended++
		}
	}
	return len(record.Streams) > 0 && (p != afterEOF || ended == len(record.Streams))
}

// proceed lets go of what waits.
func (c *faultCase) proceed() {
	c.t.Helper()
	if c.held != nil {
		c.held.Remove()
		return
	}
	c.hana.set("resume", "")
}

// end ends the fault and makes sure that there was one.
func (c *faultCase) end(row *faultRow) {
	c.t.Helper()
	for i, rule := range c.rules {
		if rule.Hits() == 0 {
			c.t.Errorf("the fault did not happen: no request met rule %d", i+1)
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

// retries is how often the daemon has asked the store once more.
func (c *faultCase) retries() float64 {
	c.t.Helper()
	_, text, err := c.get("/metrics")
	if err != nil {
		c.t.Fatal(err)
	}
	var sum float64
	for _, match := range retried.FindAllStringSubmatch(text, -1) {
		n, err := strconv.ParseFloat(match[1], 64)
		if err != nil {
			c.t.Fatal(err)
		}
		sum += n
	}
	return sum
}

var retried = regexp.MustCompile(`(?m)^pipestreamer_store_retries_total\{[^}]*\} (\S+)$`)

// forAWhile breaks the connection to the store until the daemon has noticed.
func forAWhile(breakIt func(*line)) func(*faultCase) {
	return func(c *faultCase) {
		before := c.retries()
		breakIt(c.storeLine)
		c.proceed()
		eventually(c.t, "the daemon asks the store once more", func() bool { return c.retries() > before })
		c.storeLine.mend()
	}
}

// await waits until something has happened.
func await(t *testing.T, what string, happened <-chan struct{}) {
	t.Helper()
	select {
	case <-happened:
	case <-time.After(patience):
		t.Fatalf("waited %s in vain: %s", patience, what)
	}
}
