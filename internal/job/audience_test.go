package job

import (
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// newest reads what waits until ok says that it is enough, and returns the newest
// record of each job.
func newest(t *testing.T, records <-chan []Record, ok func(map[string]Record) bool) map[string]Record {
	t.Helper()
	seen := make(map[string]Record)
	timeout := time.After(10 * time.Second)
	for !ok(seen) {
		select {
		case batch, open := <-records:
			if !open {
				t.Fatalf("the subscription ended after %v", seen)
			}
			for i := range batch {
				seen[batch[i].ID] = batch[i]
			}
		case <-timeout:
			t.Fatalf("timed out after %v", seen)
		}
	}
	return seen
}

func states(records map[string]Record) map[string]State {
	list := make(map[string]State)
	for id := range maps.Keys(records) {
		list[id] = records[id].State
	}
	return list
}

func TestSubscribeAll(t *testing.T) {
	t.Parallel()
	c := idle(t, t.TempDir())
	start := func(database string, release <-chan struct{}, v verdict) string {
		t.Helper()
		r, err := c.start(request(database, ""), "backup "+database, until(release, v))
		if err != nil {
			t.Fatal(err)
		}
		return r.ID
	}
	past, release := make(chan struct{}), make(chan struct{})
	close(past)
	await(t, c, start("PAST", past, verdict{state: StateSucceeded}))
	before := start("BEFORE", release, verdict{state: StateSucceeded})

	records, end := c.SubscribeAll()
	defer end()
	first := newest(t, records, func(seen map[string]Record) bool { return len(seen) > 0 })
	if diff := cmp.Diff(map[string]State{before: StateRunning}, states(first)); diff != "" {
		t.Errorf("at first (-want +got):\n%s", diff)
	}
	after := start("AFTER", release, verdict{state: StateFailed, cause: newError(StageStream, CodeCanceled, errCancelRequested)})
	close(release)
	want := map[string]State{before: StateSucceeded, after: StateFailed}
	got := newest(t, records, func(seen map[string]Record) bool { return cmp.Equal(want, states(seen)) })
	if got[after].Error == nil || got[after].FinishedAt.IsZero() {
		t.Errorf("the record with which a job ended has no cause or no end: %+v", got[after])
	}
	end()
	if _, open := <-records; open {
		t.Error("after its end the subscription has a record")
	}
	end() // may be called again
}

// TestAudienceKeepsTheNewest has one member that does not read while many records
// of several jobs come: nobody waits for it, and the last record of each job is
// there when it reads.
func TestAudienceKeepsTheNewest(t *testing.T) {
	t.Parallel()
	var a audience
	slow, gone := a.join(), a.join()
	var jobs sync.WaitGroup
	ids := []string{"a", "b", "c"}
	for _, id := range ids {
		jobs.Go(func() {
			for n := range 1000 {
				a.tell(Record{ID: id, BackupID: int64(n)})
			}
			a.tell(Record{ID: id, BackupID: 1000, State: StateSucceeded})
		})
	}
	a.leave(gone)
	jobs.Wait()
	batch := <-slow
	got := make(map[string]int64)
	for i := range batch {
		got[batch[i].ID] = batch[i].BackupID
	}
	if diff := cmp.Diff(map[string]int64{"a": 1000, "b": 1000, "c": 1000}, got); diff != "" || len(batch) != len(ids) {
		t.Errorf("%d records (-want +got):\n%s", len(batch), diff)
	}
	a.whisper(gone, Record{ID: "a"}) // one that left may be meant
}
