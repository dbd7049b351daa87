package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim"
	"github.com/pipestreamer/pipestreamer/e2e/nulls3"
	"github.com/pipestreamer/pipestreamer/internal/httpapi"
	"github.com/pipestreamer/pipestreamer/internal/job"
)

// TestRace makes 500 backups in a row while HANA and the store wait for random
// times at every step. None hangs, none fails, and nothing is left of them: as
// many goroutines, file descriptors and pipes as before.
func TestRace(t *testing.T) {
	t.Parallel()
	const backups, warmUp = 500, 5
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	slow := newDelays(seed, 4*time.Millisecond)
	store, server := openNull(t, nulls3.Options{Delay: func(*http.Request) { time.Sleep(slow.next()) }})

	var w *world
	label := pprof.Labels("test", t.Name())
	pprof.Do(t.Context(), label, func(context.Context) {
		w = newWorld(t, hanasim.Config{ //nolint:contextcheck // goroutines inherit the label without the context
			Databases: []hanasim.Database{systemDB(), {Name: "HXE", Volumes: volumes(1, 4096, 100_000)}},
			Profile:   hanasim.Dotname, WriteSize: 16 << 10, Seed: seed,
			Delay: hanasim.Delay{
				Open: hanasim.Range{Max: 30 * time.Millisecond}, Write: hanasim.Range{Max: 3 * time.Millisecond},
				Close: hanasim.Range{Max: 15 * time.Millisecond}, Answer: hanasim.Range{Max: 30 * time.Millisecond},
			},
		}, store, nil)
	})
	client := w.client()
	for range warmUp {
		w.expectGood(client)
	}
	w.trimCatalog(warmUp)
	before := w.settle()
	started := time.Now()
	for i := range backups {
		w.expectGood(client)
		if i%25 == 24 {
			w.trimCatalog(25)
		}
	}
	t.Logf("%d backups in %.0f s", backups, time.Since(started).Seconds())
	after := w.settleTo(before)
	t.Logf("in use before %+v, after %+v", before, after)
	if after.exceeds(before) {
		t.Error("more is in use than before")
	}
	w.expectNoPipes()
	const objects = 5 // four streams and the manifest
	if len(server.Objects()) != objects*(backups+warmUp) || server.Uploads() != 0 {
		t.Errorf("%d objects, %d unfinished uploads", len(server.Objects()), server.Uploads())
	}
	w.stopDaemon()
}

// delays are random times up to a limit.
type delays struct {
	mu     sync.Mutex
	random *rand.Rand
	limit  time.Duration
}

func newDelays(seed uint64, limit time.Duration) *delays {
	return &delays{random: rand.New(rand.NewPCG(seed, 0)), limit: limit}
}

func (d *delays) next() time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	return time.Duration(d.random.Int64N(int64(d.limit) + 1))
}

func (w *world) expectGood(client *httpapi.Client) {
	w.t.Helper()
	record, err := client.StartBackup(w.t.Context(), job.BackupRequest{Database: "HXE"}, "")
	if err != nil {
		w.t.Fatal(err)
	}
	record = w.ended(client, record.ID)
	if record.State != job.StateSucceeded {
		w.t.Fatalf("the backup ended %s: %+v %q", record.State, record.Error, record.Consequences)
	}
}

// trimCatalog checks the last entries of HANA's catalog and deletes all but the
// newest, as operators do; HANA's views get slow with thousands of them.
func (w *world) trimCatalog(last int) {
	w.t.Helper()
	rows := w.hana.catalog("HXE")
	if len(rows) < last || len(rows) > last+1 {
		w.t.Errorf("%d entries in HANA's catalog, expected %d", len(rows), last)
	}
	for _, row := range rows {
		if row.State != "successful" || len(row.Files) != 5 {
			w.t.Errorf("HANA's catalog: %+v", row)
		}
	}
	w.hana.statement("BACKUP CATALOG DELETE FOR HXE ALL BEFORE BACKUP_ID %d", rows[len(rows)-1].BackupID)
}

// inUse is what a leak would make more of.
type inUse struct {
	Goroutines, Descriptors, Pipes int
	// Simulator are the goroutines of the HANA simulator.
	Simulator int
}

// settle gives the least of each that is in use within two seconds: asking
// takes goroutines and descriptors, too, a few more or less each time.
func (w *world) settle() inUse {
	w.t.Helper()
	least := w.inUse()
	for deadline := time.Now().Add(2 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		now := w.inUse()
		least.Goroutines, least.Descriptors = min(least.Goroutines, now.Goroutines), min(least.Descriptors, now.Descriptors)
		least.Pipes, least.Simulator = min(least.Pipes, now.Pipes), min(least.Simulator, now.Simulator)
	}
	return least
}

// settleTo polls until no more is in use than before. It takes up to two
// minutes: idle connections to the store are kept for one.
func (w *world) settleTo(before inUse) inUse {
	w.t.Helper()
	now := w.inUse()
	for deadline := time.Now().Add(2 * time.Minute); now.exceeds(before) && time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		now = w.inUse()
	}
	return now
}

func (u inUse) exceeds(limit inUse) bool {
	return u.Goroutines > limit.Goroutines || u.Descriptors > limit.Descriptors || u.Pipes > limit.Pipes || u.Simulator > limit.Simulator
}

func (w *world) inUse() inUse {
	w.t.Helper()
	_, metrics, err := w.get("/metrics")
	if err != nil {
		w.t.Fatal(err)
	}
	now := inUse{Pipes: len(w.pipes())}
	_, line, _ := strings.Cut(metrics, "\ngo_goroutines ")
	line, _, _ = strings.Cut(line, "\n")
	if now.Goroutines, err = strconv.Atoi(line); err != nil {
		w.t.Fatalf("go_goroutines: %v", err)
	}
	descriptors, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", w.daemon.cmd.Process.Pid))
	if err != nil {
		w.t.Fatal(err)
	}
	now.Descriptors = len(descriptors)
	now.Simulator = labelled(w.t)
	return now
}

// labelled counts the goroutines that carry the label of this test: those that
// began in its pprof.Do, and theirs.
func labelled(t *testing.T) int {
	t.Helper()
	var text strings.Builder
	if err := pprof.Lookup("goroutine").WriteTo(&text, 1); err != nil {
		t.Fatal(err)
	}
	sum := 0
	_, groups, _ := strings.Cut(text.String(), "\n")
	for group := range strings.SplitSeq(groups, "\n\n") {
		if !strings.Contains(group, fmt.Sprintf("%q:%q", "test", t.Name())) {
			continue
		}
		var n int
		if _, err := fmt.Sscanf(group, "%d @", &n); err != nil {
			t.Fatalf("a goroutine profile that begins with %.40q: %v", group, err)
		}
		sum += n
	}
	return sum
}
