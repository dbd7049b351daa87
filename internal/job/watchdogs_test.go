package job

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// TestStalledHANA lets HANA stop in the middle of a stream: the alarm names
// HANA, and after the idle time the backup fails with that as its cause.
func TestStalledHANA(t *testing.T) {
	t.Parallel()
	w := startWhole(t, func(_ *hanasim.Config, _ *Parts, c *Config) {
		c.StallTimeout, c.IdleTimeout = 200*time.Millisecond, 2*time.Second
	})
	if err := w.system.Set("fail", "stall:3:1MiB"); err != nil {
		t.Fatal(err)
	}
	record, err := w.StartBackup(t.Context(), BackupRequest{Database: "HXE"}, "")
	if err != nil {
		t.Fatal(err)
	}
	stalled := w.moment(t, record.ID, func(p *Progress) bool { return p.Stalled })
	if stalled.WaitingFor != SideHANA {
		t.Errorf("the alarm names %q", stalled.WaitingFor)
	}
	// The metric is set a moment after the alarm.
	for deadline := time.Now().Add(time.Second); testutil.ToFloat64(w.metrics.stalled.WithLabelValues("HXE", string(SideHANA))) != 1; {
		if time.Now().After(deadline) {
			t.Fatal("the stalled stream is not in the metrics")
		}
		time.Sleep(time.Millisecond)
	}
	record = await(t, w.Conductor, record.ID)
	if e := record.Error; record.State != StateFailed || e == nil || e.Code != CodeIdle || e.Stream != "3_1" {
		t.Errorf("got %s because of %+v", record.State, e)
	}
	if waits := record.Streams[2].Waits; waits.HANASeconds < 1 || waits.StoreSeconds > 1 {
		t.Errorf("the time of the stalled stream went into %+v", waits)
	}
	if testutil.CollectAndCount(w.metrics.stalled) != 0 {
		t.Error("the metric outlives the backup")
	}
	expectHistory(t, record, []string{
		"pipestreamer: sends BACKUP DATA", "hana 3_1: began to write", "hana 3_1: nothing has moved for", "hana 3_1: HANA has written nothing for 2s",
		"pipestreamer 3_1: closes the pipe", "pipestreamer: asks HANA to cancel", "hana: says at last: ", "hana: its catalog calls backup",
	})
}

// moment waits for one of stream 3_1.
func (w *whole) moment(t *testing.T, id string, found func(*Progress) bool) Progress {
	t.Helper()
	records, end, err := w.Subscribe(id)
	if err != nil {
		t.Fatal(err)
	}
	defer end()
	for record := range records {
		for i := range record.Streams {
			p := &record.Streams[i]
			if p.StreamID == (backup.StreamID{VolumeID: 3, PartID: 1}) && found(p) {
				return *p
			}
		}
	}
	t.Fatal("the job has ended before")
	return Progress{}
}

// expectHistory checks that the events of a job contain these, in this order.
func expectHistory(t *testing.T, record Record, want []string) {
	t.Helper()
	var told []string
	for _, e := range record.History {
		line := string(e.Side) + " " + e.Stream
		line = strings.TrimSpace(line) + ": " + e.Text
		told = append(told, line)
		if e.At.IsZero() {
			t.Errorf("an event without a time: %s", line)
		}
		if len(want) > 0 && strings.HasPrefix(line, want[0]) {
			want = want[1:]
		}
	}
	if len(want) > 0 {
		t.Errorf("the history has no %q in its place:\n%s", want[0], strings.Join(told, "\n"))
	}
}

// TestStandstill shows who is given up, and when.
func TestStandstill(t *testing.T) {
	t.Parallel()
	const limit = time.Minute
	for _, test := range []struct {
		name   string
		bytes  []int64
		done   []bool
		store  int // index of the stream that waits for the store, or -1
		still  time.Duration
		code   string
		stream string
	}{
		{"nothing opened, too early", []int64{0, 0}, []bool{false, false}, -1, limit - 1, "", ""},
		{"nothing opened", []int64{0, 0}, []bool{false, false}, -1, limit, CodeUnopened, ""},
		{"one left out", []int64{9, 0}, []bool{true, false}, -1, limit, CodeUnopened, "1_1"},
		{"one left out while another runs", []int64{9, 0}, []bool{false, false}, -1, limit, "", ""},
		{"HANA idle", []int64{9, 9}, []bool{true, false}, -1, 2 * limit, CodeIdle, "1_1"},
		{"HANA idle, too early", []int64{9, 9}, []bool{true, false}, -1, 2*limit - 1, "", ""},
		{"store idle", []int64{9, 9}, []bool{false, false}, 1, 3 * limit, CodeUpload, "0_1"},
		{"store slower than HANA may be", []int64{9, 9}, []bool{false, false}, 1, 3*limit - 1, "", ""},
		{"all done", []int64{9, 9}, []bool{true, true}, -1, 100 * limit, "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := backupRun{Conductor: &Conductor{config: Config{OpenTimeout: limit, IdleTimeout: 2 * limit, StoreTimeout: 3 * limit}}}
			for i, bytes := range test.bytes {
				c := new(counter)
				c.bytes.Store(bytes)
				c.done.Store(test.done[i])
				c.clock.turn(SideHANA)
				if i == test.store {
					c.clock.turn(SideStore)
				}
				r.uploads = append(r.uploads, &transfer{counter: c, stream: backup.Stream{StreamID: backup.StreamID{VolumeID: i, PartID: 1}}})
			}
			err := r.standstill(test.still)
			switch {
			case test.code == "" && err != nil:
				t.Errorf("got %v", err)
			case test.code != "" && (err == nil || err.Code != test.code || err.Stream != test.stream):
				t.Errorf("got %+v, expected %s of stream %q", err, test.code, test.stream)
			}
		})
	}
}
