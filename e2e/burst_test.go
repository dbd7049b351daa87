package e2e

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// The log backups of TestLogBurst, and how often the daemon is killed meanwhile.
// E2E_BURST_FILES and E2E_BURST_KILLS ask for more.
const (
	burstFiles = 400
	burstKills = 5
)

// TestLogBurst lets thousands of log backups arrive while the daemon is killed
// again and again: all are in the store, in order, in the index, none twice and
// none lost, and the volume is empty.
func TestLogBurst(t *testing.T) {
	t.Parallel()
	files, kills := numberOr(t, "E2E_BURST_FILES", burstFiles), numberOr(t, "E2E_BURST_KILLS", burstKills)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // not for secrets
	d := openS3(t)
	p := newPast(t, d, nil)
	p.backUpKind(backup.KindComplete)
	p.awaitShipped()
	before := p.logsInStore()

	start := time.Now()
	if err := p.hana.LogBurst(t.Context(), "HXE", files/2); err != nil { // each of two volumes writes one
		t.Fatal(err)
	}
	for i := range kills {
		enough := len(before) + files*i/kills
		eventually(t, "the daemon goes on", func() bool { return len(p.logsInStore()) >= enough })
		time.Sleep(time.Duration(random.Int64N(int64(200 * time.Millisecond)))) // the point of the test
		t.Logf("kill %d after %s with %d files in the store", i, time.Since(start).Round(time.Millisecond), len(p.logsInStore())-len(before))
		p.daemon.signal(syscall.SIGKILL)
		p.daemon.wait()
		p.startDaemon()
	}
	status := p.awaitShipped()
	t.Logf("%d files in %s", files, time.Since(start).Round(time.Millisecond))
	if len(status.Gaps) > 0 || status.ConflictFiles+status.ProblemFiles+status.UnconfirmedFiles > 0 {
		t.Errorf("log shipping: %+v", status)
	}
	if n := len(p.logsInStore()) - len(before); n != files {
		t.Errorf("%d log backups came into the store, expected %d", n, files)
	}
	p.expectIndexed()
	p.stopDaemon()
}

// numberOr gives the number in an environment variable, or n.
func numberOr(t *testing.T, name string, n int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return n
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// logsInStore lists the keys of the log backups in the store, without those of
// the catalog.
func (w *world) logsInStore() []string {
	w.t.Helper()
	names, err := os.ReadDir(filepath.Dir(w.depot.path(backup.LogKey("HXE", "HXE", "x"))))
	if err != nil && !os.IsNotExist(err) {
		w.t.Fatal(err)
	}
	var logs []string
	for _, name := range names {
		if strings.HasPrefix(name.Name(), "log_backup_") && !strings.HasPrefix(name.Name(), "log_backup_0_") {
			logs = append(logs, name.Name())
		}
	}
	return logs
}

// indexes reads the indexes of the log, in their order.
func (w *world) indexes() []*backup.LogIndex {
	w.t.Helper()
	dir := filepath.Dir(w.depot.path(backup.LogIndexKey("HXE", "HXE", 1)))
	names, err := os.ReadDir(dir)
	if err != nil {
		w.t.Fatal(err)
	}
	var list []*backup.LogIndex
	for _, name := range names { // sorted, as their sequences are
		text, err := os.ReadFile(filepath.Join(dir, name.Name()))
		if err != nil {
			w.t.Fatal(err)
		}
		index, err := backup.DecodeLogIndex(text)
		if err != nil {
			w.t.Fatal(err)
		}
		list = append(list, index)
	}
	return list
}

// expectIndexed compares the indexes, the store and HANA's own record. A file is
// indexed for the first time after those before it in its volume.
func (w *world) expectIndexed() {
	w.t.Helper()
	newest := make(map[string]*backup.LogFile)
	ends := make(map[int]int64)
	for _, index := range w.indexes() {
		for i := range index.Files {
			f := &index.Files[i]
			n := f.Parsed()
			_, again := newest[f.Name]
			newest[f.Name] = f
			if n.Kind() == backup.KindCatalog {
				delete(newest, f.Name)
				continue
			}
			if end, known := ends[n.VolumeID]; known && !again && end != n.First {
				w.t.Errorf("%s is indexed after position %d", f.Name, end)
			}
			ends[n.VolumeID] = max(ends[n.VolumeID], n.Last)
		}
	}
	sums := w.hana.logSums("HXE")
	for name, f := range newest {
		if !f.Confirmed || f.SHA256 != sums[name] {
			w.t.Errorf("%s is indexed as %+v, HANA wrote %s", name, f, sums[name])
		}
		if got, err := digest(w.depot.path(f.Objects[0].Key)); err != nil || got.SHA256 != f.SHA256 {
			w.t.Errorf("object %s holds %s, %v", f.Objects[0].Key, got.SHA256, err)
		}
	}
	if logs := w.logsInStore(); len(logs) != len(newest) || len(sums) != len(newest) {
		w.t.Errorf("%d log backups are indexed, %d are in the store, HANA wrote %d", len(newest), len(logs), len(sums))
	}
}
