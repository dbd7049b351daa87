package e2e

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim"
	"github.com/pipestreamer/pipestreamer/e2e/nulls3"
	"github.com/pipestreamer/pipestreamer/internal/job"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

const gibibyte = 1 << 30

// TestFiveGiB takes a volume of 5 GiB to a real S3 server and back.
func TestFiveGiB(t *testing.T) {
	if testing.Short() {
		missing(t, "-short leaves this out: it writes 5 GiB to disk")
	}
	t.Parallel()
	w := newWorld(t, hanasim.Config{
		Databases: []hanasim.Database{systemDB(), {Name: "HXE", Volumes: volumes(5*gibibyte, 1)}}, Profile: hanasim.Dotname,
	}, openS3(t), nil)
	before := measure(t, w.daemon)
	record := w.backUp("HXE")
	measure(t, w.daemon).report(t, "backup to S3", before, 5*gibibyte)
	w.expectAgreement(record)
	before = measure(t, w.daemon)
	w.destroyAndRestore(record)
	measure(t, w.daemon).report(t, "restore from S3", before, 5*gibibyte)
	w.stopDaemon()
}

// What the daemon takes beside its part buffers: the program itself (its code
// and data that are in use), Go's runtime, connections, and rclone's checksum
// buffer of each part in flight. Measured at about 75 MiB; see TestMemory.
const beside = 160 * mebibyte

// TestMemory sends a stream of 8 GiB, or of E2E_MEMORY_GIB, through the daemon
// while the store is
// slow enough for every buffer to be in use: the daemon's memory stays within
// its budget and a constant.
func TestMemory(t *testing.T) {
	if testing.Short() {
		missing(t, "-short leaves this out: it moves 8 GiB")
	}
	t.Parallel()
	const budget = 128 * mebibyte
	size := int64(numberOr(t, "E2E_MEMORY_GIB", 8)) * gibibyte
	store, server := openNull(t, nulls3.Options{})
	w := newWorld(t, hanasim.Config{
		Databases: []hanasim.Database{systemDB(), {Name: "HXE", Volumes: volumes(size)}}, Profile: hanasim.Dotname,
	}, store, map[string]any{
		"memoryBudget": strconv.Itoa(budget),
		"store":        map[string]any{"streams": 4, "concurrency": 16},
	})
	before := measure(t, w.daemon)
	record := w.backUp("HXE")
	after := measure(t, w.daemon)
	after.report(t, "backup into nothing", before, size)
	if after.peak > budget+beside {
		t.Errorf("the daemon took %d MiB at its peak, expected at most %d MiB of buffers and %d MiB", after.peak>>20, budget>>20, beside>>20)
	}

	manifest := w.manifest("HXE", record.BackupID)
	sizes := make(map[string]int64)
	for _, o := range server.Objects() {
		sizes[strings.TrimPrefix(o.Key, "bucket/path/to/")] = o.Size
	}
	for i := range manifest.Streams {
		for _, o := range manifest.Streams[i].Objects {
			if sizes[o.Key] != o.Size {
				t.Errorf("object %s has %d bytes, the manifest says %d", o.Key, sizes[o.Key], o.Size)
			}
		}
	}
	if s := manifest.Streams[1]; s.Size != size+backup.HeaderSize {
		t.Errorf("the stream has %d bytes, HANA wrote %d", s.Size, size+backup.HeaderSize)
	}
	if left := server.Uploads(); left > 0 {
		t.Errorf("%d multipart uploads are left", left)
	}
	w.stopDaemon()
}

// TestMemoryOfSlowStore fills every buffer that there is: HANA is faster than
// the store.
func TestMemoryOfSlowStore(t *testing.T) {
	if testing.Short() {
		missing(t, "-short leaves this out: it moves 2 GiB")
	}
	t.Parallel()
	const budget = 256 * mebibyte
	store, _ := openNull(t, nulls3.Options{Delay: func(r *http.Request) {
		if r.URL.Query().Has("partNumber") {
			time.Sleep(100 * time.Millisecond)
		}
	}})
	w := newWorld(t, hanasim.Config{
		Databases: []hanasim.Database{systemDB(), {Name: "HXE", Volumes: volumes(gibibyte, gibibyte/2, gibibyte/2)}}, Profile: hanasim.Dotname,
	}, store, map[string]any{
		"memoryBudget": strconv.Itoa(budget),
		"store":        map[string]any{"streams": 8, "concurrency": 16},
	})
	w.backUp("HXE")
	after := measure(t, w.daemon)
	_, metrics, err := w.get("/metrics")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("peak %d MiB with a budget of %d MiB", after.peak>>20, budget>>20)
	if after.peak > budget+beside {
		t.Errorf("the daemon took %d MiB at its peak, expected at most %d MiB of buffers and %d MiB", after.peak>>20, budget>>20, beside>>20)
	}
	if after.peak < budget/2 {
		t.Errorf("the daemon took only %d MiB: the buffers were not filled, so nothing was shown\n%s", after.peak>>20, metrics)
	}
	w.stopDaemon()
}

// usage is what a process has taken of the machine.
type usage struct {
	at   time.Time
	cpu  time.Duration
	peak int64 // of its memory, in bytes
}

// measure reads /proc (proc_pid_stat(5), proc_pid_status(5)).
func measure(t *testing.T, p *process) usage {
	t.Helper()
	u := usage{at: time.Now()}
	dir := fmt.Sprintf("/proc/%d", p.cmd.Process.Pid)
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		t.Fatal(err)
	}
	// The second field, the name, may hold spaces; utime and stime are the
	// 14th and 15th, in ticks of 10 ms.
	_, rest, _ := bytes.Cut(stat, []byte(") "))
	fields := strings.Fields(string(rest))
	for _, field := range fields[11:13] {
		ticks, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		u.cpu += time.Duration(ticks) * 10 * time.Millisecond
	}
	status, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		t.Fatal(err)
	}
	_, line, _ := strings.Cut(string(status), "VmHWM:")
	if _, err := fmt.Sscanf(line, "%d kB", &u.peak); err != nil {
		t.Fatal(err)
	}
	u.peak <<= 10
	return u
}

// report logs what it took to move bytes since before.
func (u usage) report(t *testing.T, what string, before usage, bytes int64) {
	t.Helper()
	took := u.at.Sub(before.at)
	gib := float64(bytes) / gibibyte
	t.Logf("%s: %.1f GiB in %.1f s, %.0f MiB/s; the daemon took %.2f s of CPU per GiB and %d MiB at its peak",
		what, gib, took.Seconds(), float64(bytes)/mebibyte/took.Seconds(), (u.cpu-before.cpu).Seconds()/gib, u.peak>>20)
}

// TestPartLimit has a store that takes few parts of one object: a longer stream
// goes on in further objects and comes back as one.
func TestPartLimit(t *testing.T) {
	t.Parallel()
	const maxParts, partSize = 3, 5 * mebibyte
	lowered := map[string]any{"store": map[string]any{"maxParts": maxParts, "partSize": partSize}}
	simulated := func() hanasim.Config {
		return hanasim.Config{
			Databases: []hanasim.Database{systemDB(), {Name: "HXE", Volumes: volumes(52*mebibyte, 3*partSize-backup.HeaderSize, 3*partSize-backup.HeaderSize+1)}},
			Profile:   hanasim.Dotname, HeaderPass: true,
		}
	}
	want := map[int]int{0: 1, 2: 4, 3: 1, 4: 2} // objects, by volume
	t.Run("restored from a real server", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, simulated(), openS3(t), lowered)
		record := w.backUp("HXE")
		expectSegments(t, w.expectAgreement(record), want, maxParts, partSize)
		w.run("verify", "--database", "HXE", "--backup", "latest").expect(t, 0)
		w.destroyAndRestore(record)
		w.stopDaemon()
	})
	t.Run("a server that refuses more", func(t *testing.T) {
		t.Parallel()
		store, server := openNull(t, nulls3.Options{MaxParts: maxParts})
		w := newWorld(t, simulated(), store, lowered)
		record := w.backUp("HXE")
		expectSegments(t, w.manifest("HXE", record.BackupID), want, maxParts, partSize)
		if refused := server.Uploads(); refused > 0 {
			t.Errorf("%d multipart uploads are left", refused)
		}
		w.stopDaemon()
	})
	t.Run("a server that takes less than configured", func(t *testing.T) {
		t.Parallel()
		store, server := openNull(t, nulls3.Options{MaxParts: maxParts - 1})
		w := newWorld(t, simulated(), store, lowered)
		record := w.run("backup", "--database", "HXE").expect(t, 1).record(t)
		expectCause(t, record, job.StateFailed, job.CodeUpload)
		if objects, uploads := server.Objects(), server.Uploads(); len(objects)+uploads > 0 {
			t.Errorf("visible: %v; unfinished: %d", objects, uploads)
		}
		w.expectNoPipes()
		w.stopDaemon()
	})
	// The same rule with S3's own limit: what fits into one object at the
	// smallest part size is the 48 GiB at which streaming with rclone ends
	// ("rcat"); a stream that is longer only takes more objects, whatever it was
	// estimated to be.
	const limit = 10000 * partSize
	if limit/gibibyte != 48 {
		t.Errorf("10,000 parts of 5 MiB hold %d GiB, expected 48 and something", limit/gibibyte)
	}
	for _, size := range []int64{limit, limit + 1, 49 * gibibyte, 16 << 40} {
		objects := (size + limit - 1) / limit
		if objects > 999 { // the keys end in .002 to .999 and beyond
			t.Errorf("%d bytes take %d objects", size, objects)
		}
	}
}

// expectSegments checks that every stream lies in as many objects as it needs,
// each of maxParts parts of partSize but for the end.
func expectSegments(t *testing.T, manifest *backup.Manifest, want map[int]int, maxParts int, partSize int64) {
	t.Helper()
	for i := range manifest.Streams {
		s := &manifest.Streams[i]
		parts := int((s.Size + partSize - 1) / partSize)
		needed := (parts + maxParts - 1) / maxParts
		if len(s.Objects) != needed || needed != want[s.VolumeID] {
			t.Errorf("stream %s of %d bytes lies in %d objects, expected %d (by rule %d)", s.StreamID, s.Size, len(s.Objects), want[s.VolumeID], needed)
		}
		for j, o := range s.Objects {
			if len(o.Parts) > maxParts || (j < len(s.Objects)-1 && o.Size != int64(maxParts)*partSize) {
				t.Errorf("object %s has %d parts and %d bytes", o.Key, len(o.Parts), o.Size)
			}
		}
	}
}
