package logship

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
	"github.com/pipestreamer/pipestreamer/pkg/spool"
)

// What the runs say is what a look at every single position says, whatever the
// order in which files are added.
func TestHistoryAgainstEveryPosition(t *testing.T) {
	t.Parallel()
	const end = 40
	for seed := range uint64(500) {
		random := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // a history to repeat, no secret
		h := newHistory()
		var held [end + 1]bool // held[p]: the piece from p to p+1
		var files []backup.LogName
		for range 1 + random.IntN(12) {
			first := random.Int64N(end - 1)
			n := backup.LogName{VolumeID: 2, First: first, Last: first + 1 + random.Int64N(min(8, end-first)), BackupID: 1000 + first}
			confirmed := random.IntN(8) > 0
			h.add(&backup.LogFile{Name: n.String(), Confirmed: confirmed})
			if !confirmed {
				continue // it proves nothing
			}
			files = append(files, n)
			for p := n.First; p < n.Last; p++ {
				held[p] = true
			}
		}
		if len(files) == 0 {
			continue
		}
		var want [][2]int64
		for p := int64(0); p < end; p++ {
			if !held[p] {
				continue
			}
			first := p
			for held[p] {
				p++
			}
			want = append(want, [2]int64{first, p})
		}
		var got [][2]int64
		for _, r := range h.volumes[place{volume: 2}] {
			got = append(got, [2]int64{r.first, r.last})
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("seed %d: files %v (-want +got):\n%s", seed, files, diff)
		}
		if gaps := h.gaps(&Base{}); len(gaps) != len(want)-1 {
			t.Fatalf("seed %d: files %v: gaps %v", seed, files, gaps)
		}
		if point := h.recoveryPoint(&Base{}); !point.Equal(latestOf(files, want[0][1])) {
			t.Fatalf("seed %d: files %v: recovery point %s, expected %s", seed, files, point, latestOf(files, want[0][1]))
		}
	}
}

// latestOf is the time that the files that end at a position cover.
func latestOf(files []backup.LogName, last int64) time.Time {
	var latest time.Time
	for _, n := range files {
		if n.Last == last {
			latest = later(latest, time.UnixMilli(n.BackupID))
		}
	}
	return latest
}

func TestSpaceLasts(t *testing.T) {
	t.Parallel()
	began := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	type arrival struct {
		after time.Duration
		bytes int64
	}
	for _, test := range []struct {
		name     string
		free     int64
		total    int64
		arrivals []arrival
		old      int64
		now      time.Duration
		want     time.Duration
		known    bool
	}{
		{name: "nothing came", free: 1000, now: time.Hour},
		{name: "too early to say", free: 1000, arrivals: []arrival{{time.Second, 10}}, now: 30 * time.Second},
		{name: "since the start", free: 1000, arrivals: []arrival{{time.Minute, 50}, {2 * time.Minute, 50}}, now: 10 * time.Minute, want: 95 * time.Minute, known: true},
		{name: "in the last hour", free: 1100, arrivals: []arrival{{time.Minute, 100}, {90 * time.Minute, 100}}, now: 2 * time.Hour, want: 10 * time.Hour, known: true},
		{name: "what stood there at the start is no rate", free: 1000, old: 999, now: time.Hour},
		{name: "a full volume", free: 0, arrivals: []arrival{{time.Minute, 50}}, now: time.Hour, known: true},
		{name: "no room for another file", free: 1000, old: 1000, arrivals: []arrival{{time.Minute, 1}}, now: time.Hour, known: true},
		{name: "nothing came to a full volume", free: 0, now: time.Second, known: true},
		{name: "a hundredth", free: 99, total: 10_000, now: time.Hour, known: true},
		{name: "a hundredth of much", free: 1<<30 + 1, total: 1 << 40, now: time.Hour},
		{name: "for ever", free: 1 << 62, arrivals: []arrival{{time.Minute, 1}}, now: time.Hour, want: 100 * 365 * 24 * time.Hour, known: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p, came := space{known: true, free: test.free, total: test.total, largest: test.old}, arrivals{began: began}
			came.add(spool.File{Size: test.old, ModTime: began.Add(-time.Hour)}, began)
			for _, a := range test.arrivals {
				at := began.Add(a.after)
				p.largest = max(p.largest, a.bytes)
				came.add(spool.File{Size: a.bytes, ModTime: at}, at)
			}
			got, known := p.lasts(&came, began.Add(test.now))
			if got != test.want || known != test.known {
				t.Errorf("got %s, %v, expected %s, %v", got, known, test.want, test.known)
			}
		})
	}
	p, came := space{known: false, free: 1000}, arrivals{began: began, slots: []slot{{begin: began, bytes: 1}}}
	if got, known := p.lasts(&came, began.Add(time.Hour)); known {
		t.Errorf("the free space is not known, and lasts %s", got)
	}
}
