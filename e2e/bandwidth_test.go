package e2e

import (
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim"
	"github.com/pipestreamer/pipestreamer/internal/httpapi"
	"github.com/pipestreamer/pipestreamer/internal/job"
)

// TestBandwidthOfARunningBackup slows a backup down on its way, sees HANA held
// back by it, and lets it go.
func TestBandwidthOfARunningBackup(t *testing.T) {
	t.Parallel()
	const fast, slow, window = 4 << 20, 1 << 20, 2 * time.Second
	w := newWorld(t, hanasim.Config{
		Databases: []hanasim.Database{systemDB(), {Name: "HXE", Volumes: volumes(40*mebibyte, 4096)}},
		Profile:   hanasim.Dotname, WriteSize: 256 << 10,
	}, openLocal(t), map[string]any{"store": map[string]any{"bandwidth": "4MiB/s"}})
	client := w.client()
	record, err := client.StartBackup(t.Context(), job.BackupRequest{Database: "HXE"}, "")
	if err != nil {
		t.Fatal(err)
	}
	moved := func() (sum int64) {
		record, err := client.Job(t.Context(), record.ID)
		if err != nil {
			t.Fatal(err)
		}
		for i := range record.Streams {
			sum += record.Streams[i].Bytes
		}
		return sum
	}
	w.streaming(client, record.ID, mebibyte)
	w.expectPace(moved, fast, time.Second)

	set := decode[httpapi.Bandwidth](t, w.run("bandwidth", "1MiB/s").expect(t, 0).stdout)
	if set.Limit != "1MiB/s" || set.Configured != "4MiB/s" || set.BytesPerSecond != slow {
		t.Errorf("the daemon took it as %+v", set)
	}
	w.expectPace(moved, slow, window)

	w.run("bandwidth", "off").expect(t, 0)
	lifted := time.Now()
	ended := w.ended(client, record.ID)
	if ended.State != job.StateSucceeded {
		t.Fatalf("the backup ended %s: %v", ended.State, ended.Error)
	}
	if took := time.Since(lifted); took > 30*mebibyte/fast*time.Second {
		t.Errorf("the rest took %s without a limit", took)
	}
	w.expectAgreement(ended)
	var waited float64
	for i := range ended.Streams {
		waited += ended.Streams[i].Waits.StoreSeconds
	}
	if waited < window.Seconds() {
		t.Errorf("the streams waited %.1f s for the store, expected more than the %s of the low limit", waited, window)
	}
	_, metrics, err := w.get("/metrics")
	if err != nil {
		t.Fatal(err)
	}
	told := regexp.MustCompile(`(?m)^pipestreamer_store_limit_wait_seconds_total (\S+)$`).FindStringSubmatch(metrics)
	if told == nil {
		t.Fatal("the metrics do not tell how long the limit was waited for")
	}
	if seconds, err := strconv.ParseFloat(told[1], 64); err != nil || seconds < window.Seconds() {
		t.Errorf("the metrics tell a wait of %s s (%v)", told[1], err)
	}
	w.stopDaemon()
}

// expectPace measures how much moves within window. A busy machine may be slower
// than the limit; what stood in buffers when it changed may come on top.
func (w *world) expectPace(moved func() int64, rate int64, window time.Duration) {
	w.t.Helper()
	began, before := time.Now(), moved()
	time.Sleep(window)
	got, most := moved()-before, float64(rate)*time.Since(began).Seconds()*1.1+256<<10
	if got <= 0 || float64(got) > most {
		w.t.Errorf("%d bytes moved within %s, expected some and at most %.0f", got, window, most)
	}
}
