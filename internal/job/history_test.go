package job

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// TestWhoStoppedFirst follows two backups that HANA calls broken: in one the
// store refused, in the other HANA's own disk was full. The record tells them
// apart.
func TestWhoStoppedFirst(t *testing.T) {
	t.Parallel()
	t.Run("the store", func(t *testing.T) {
		t.Parallel()
		w := startWhole(t, func(_ *hanasim.Config, p *Parts, _ *Config) {
			p.Store = &faultyStore{Store: p.Store, failing: "consume"}
		})
		record := w.backupOf(t, "HXE")
		if e := record.Error; record.State != StateFailed || e.Code != CodeUpload || e.HANACode != 0 {
			t.Errorf("got %s because of %+v", record.State, e)
		}
		if told := strings.Join(record.Consequences, "\n"); !strings.Contains(told, "EPIPE at HANA because stream 3_1 was given up") || !strings.Contains(told, "447") {
			t.Errorf("the consequences are %q", told)
		}
		expectHistory(t, record, []string{
			"hana 3_1: began to write", "store 3_1: after 2097152 bytes", "pipestreamer 3_1: closes the pipe", "pipestreamer: asks HANA to cancel", "hana: says at last: ",
		})
	})
	t.Run("HANA", func(t *testing.T) {
		t.Parallel()
		w := startWhole(t, func(*hanasim.Config, *Parts, *Config) {})
		if err := w.system.Set("fail", "write:3:1MiB:ENOSPC"); err != nil {
			t.Fatal(err)
		}
		record := w.backupOf(t, "HXE")
		if e := record.Error; record.State != StateFailed || e.Code != CodeHANA || e.HANACode != 447 || len(e.HANAInner) == 0 {
			t.Errorf("got %s because of %+v", record.State, e)
		}
		expectHistory(t, record, []string{"pipestreamer: sends BACKUP DATA", "hana: BACKUP DATA: HANA error 447"})
	})
}

// TestHistoryIsBounded fills a history with episodes of trouble. How it began and
// how it ended stay, and the gap between them is counted.
func TestHistoryIsBounded(t *testing.T) {
	t.Parallel()
	j := newLive(Record{}, "", func(error) {})
	const events = 3 * historyLength
	for i := range events {
		if j.note(SideStore, "event %d", i); i == historyLength-1 {
			if all := j.snapshot().History; len(all) != historyLength || all[i].Text != fmt.Sprint("event ", i) {
				t.Errorf("%d events fit, kept are %+v", historyLength, all)
			}
		}
	}
	earlier := j.snapshot().History
	j.noteFailure(newError(StageStream, CodeUpload, errFaulty))
	for i, n := range map[int]int{0: 0, historyHead - 1: historyHead - 1, historyLength - 1: events - 1} {
		if want := fmt.Sprint("event ", n); earlier[i].Text != want {
			t.Errorf("event %d is %q, expected %q", i, earlier[i].Text, want)
		}
	}
	kept := j.snapshot().History
	if len(kept) != historyLength || kept[historyLength-1].Text != errFaulty.Error() {
		t.Errorf("%d events are kept, the last is %+v", len(kept), kept[len(kept)-1])
	}
	// One of those that are kept tells of the others.
	if want := fmt.Sprintf("%d events are left out here", events+1-(historyLength-1)); kept[historyHead].Text != want {
		t.Errorf("the gap says %q, expected %q", kept[historyHead].Text, want)
	}
}

// TestTroubleOfTheStore shows an episode: its first error, then its end.
func TestTroubleOfTheStore(t *testing.T) {
	t.Parallel()
	j := newLive(Record{}, "", func(error) {})
	j.tolerance = 15 * time.Minute
	stream := backup.Stream{StreamID: backup.StreamID{VolumeID: 3, PartID: 1}}
	counters := j.follow([]backup.Stream{stream})
	options := (&transfer{job: j, stream: stream, counter: counters[0]}).options()
	counters[0].clock.turn(SideStore)
	options.Trouble(nil)
	options.Trouble(errors.New("503 SlowDown"))
	options.Trouble(errors.New("connection refused"))
	got := j.snapshot().Streams[0]
	if got.StoreError != "connection refused" || time.Since(got.StoreErrorSince) > time.Minute || got.StoreErrorUntil.Sub(got.StoreErrorSince) != j.tolerance {
		t.Errorf("the stream shows %q since %s until %s", got.StoreError, got.StoreErrorSince, got.StoreErrorUntil)
	}
	options.Trouble(nil)
	options.Trouble(nil)
	record := j.snapshot()
	if got := record.Streams[0]; got.StoreError != "" || !got.StoreErrorSince.IsZero() || !got.StoreErrorUntil.IsZero() {
		t.Errorf("the stream shows %+v", got)
	}
	expectHistory(t, record, []string{"store 3_1: fails, is asked again: 503 SlowDown", "store 3_1: works again after"})
	if len(record.History) != 2 {
		t.Errorf("the history is %+v", record.History)
	}
}

// TestStopwatch adds up sides that take turns.
func TestStopwatch(t *testing.T) {
	t.Parallel()
	var w stopwatch
	start := time.Now()
	for range 5 {
		for _, side := range []Side{SideHANA, SideStore, SideDaemon, ""} {
			w.turn(side)
			time.Sleep(time.Millisecond)
		}
	}
	spent, side := w.read()
	all := spent.HANASeconds + spent.StoreSeconds + spent.OwnSeconds
	if side != "" || spent.HANASeconds < 0.005 || spent.StoreSeconds < 0.005 || spent.OwnSeconds < 0.005 || all > time.Since(start).Seconds()-0.005 {
		t.Errorf("got %+v, waiting for %q", spent, side)
	}
}
