package landscape

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim/files"
)

// pieceOf writes a log backup of records that are applied to a point.
func pieceOf(t *testing.T, dir string, id int64, from Point, records []record, change func(*files.Header)) (logPiece, Point) {
	t.Helper()
	to := from
	for _, r := range records {
		to = to.after(r)
	}
	data := encodeRecords(records)
	header := files.Header{
		BackupID: id, VolumeID: 2, Content: files.Content{Size: int64(len(data))}, To: int64(len(data)), Data: data,
		Log: to.log(1, from.Position),
	}
	if change != nil {
		change(&header)
	}
	file := &File{Volume: 2, Source: sourceVolume, Path: filepath.Join(dir, to.Hex()), Header: header, Size: header.FileSize()}
	if err := writeQuietly(t.Context(), file, nil); err != nil {
		t.Fatal(err)
	}
	return logPiece{savedFile{Volume: 2, Path: file.Path, First: from.Position, Last: to.Position}, id, time.Unix(0, 0)}, to
}

func numbered(from, to int) []record {
	var records []record
	for i := from; i <= to; i++ {
		records = append(records, record{position: int64(i) * recordSize, time: time.Unix(int64(i), 0).UTC()})
	}
	return records
}

func TestReplay(t *testing.T) {
	start := newPoint(files.Content{}, 0)
	after := func(n int) Point {
		point := start
		for _, r := range numbered(1, n) {
			point = point.after(r)
		}
		return point
	}
	tests := []struct {
		name    string
		missing int // of three log backups, from 1
		until   int64
		change  func(*files.Header) // of the second
		want    Point
		err     string
	}{
		{name: "everything", until: 100, want: after(9)},
		{name: "to a time in the middle of one", until: 5, want: after(5)},
		{name: "a piece is missing in the catalog", missing: 2, until: 100, want: after(3)},
		{name: "the state is another", until: 100, change: func(h *files.Header) { h.Log.State = start.Hex() }, want: after(6), err: "has the state"},
		{name: "another log backup", until: 100, change: func(h *files.Header) { h.BackupID++ }, want: after(3), err: "it is log backup 3 of volume 2"},
		{name: "another volume", until: 100, change: func(h *files.Header) { h.VolumeID++ }, want: after(3), err: "it is log backup 2 of volume 3"},
		{name: "no records", until: 100, change: func(h *files.Header) { h.Data, h.To = h.Data[:7], 7 }, want: after(3), err: "no whole number"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir, point := t.TempDir(), start
			var pieces []logPiece
			for i := range 3 {
				change := test.change
				if i != 1 {
					change = nil
				}
				var piece logPiece
				piece, point = pieceOf(t, dir, int64(i+1), point, numbered(3*i+1, 3*i+3), change)
				if i+1 != test.missing {
					pieces = append(pieces, piece)
				}
			}
			r := &recovery{request: Recovery{Until: time.Unix(test.until, 0)}, settings: Settings{LogGap: gapStops}}
			v := &recovered{point: start}
			whole, err := r.replay(t.Context(), 2, v, pieces)
			if err == nil && test.err != "" || err != nil && (test.err == "" || !strings.Contains(err.Error(), test.err)) {
				t.Fatalf("got %v, want %q", err, test.err)
			}
			if diff := cmp.Diff(test.want, v.point); diff != "" {
				t.Error(diff)
			}
			if want := test.missing == 0 && err == nil; whole != want {
				t.Errorf("whole %t, want %t", whole, want)
			}
		})
	}
}

func TestDeltaThatDoesNotFit(t *testing.T) {
	start := newPoint(files.Content{}, 0)
	records := numbered(1, 2)
	end := start.after(records[0]).after(records[1])
	for name, test := range map[string]struct {
		change func(*files.Header)
		want   string
	}{
		"of another position": {func(h *files.Header) { h.Log.First = 64 }, "begins at log position 64"},
		"of another state":    {func(h *files.Header) { h.Log.State = start.Hex() }, "has the state"},
		"of too few records":  {func(h *files.Header) { h.Data = h.Data[:recordSize] }, "has the state"},
		"of a part of one":    {func(h *files.Header) { h.Data = h.Data[:7] }, "no whole number"},
	} {
		header := files.Header{Data: encodeRecords(records), Log: end.log(1, 0)}
		if err := (&recovered{point: start}).add(header); err != nil {
			t.Fatal(err)
		}
		test.change(&header)
		if err := (&recovered{point: start}).add(header); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("a delta %s: got %v, want %s", name, err, test.want)
		}
	}
}

// The log area is of use only where it has what comes next.
func TestReplayArea(t *testing.T) {
	start := newPoint(files.Content{}, 0)
	r := &recovery{request: Recovery{Until: time.Unix(100, 0)}, area: map[int][]record{2: numbered(3, 4), 3: numbered(1, 2)}}
	for volume, want := range map[int]int64{2: 0, 3: 2 * recordSize} {
		v := &recovered{point: start}
		r.replayArea(volume, v)
		if v.point.Position != want {
			t.Errorf("volume %d reached %d, want %d", volume, v.point.Position, want)
		}
	}
}

// A chain of deltas that leads nowhere is none.
func TestChain(t *testing.T) {
	entry := func(id, base int64, kind string, end int64) *savedEntry {
		return &savedEntry{ID: id, Base: base, Type: kind + dataBackup, State: StateSuccessful, End: time.Unix(end, 0)}
	}
	entries := []*savedEntry{
		entry(1, 0, complete, 1), entry(2, 1, incremental, 2), entry(3, 2, incremental, 3), entry(4, 1, differential, 4),
		entry(5, 4, incremental, 5), entry(6, 99, incremental, 6), entry(7, 0, complete, 70), entry(8, 7, differential, 80),
	}
	entries[2].State = StateFailed
	for _, test := range []struct {
		name    string
		request Recovery
		want    []int64
	}{
		{"the newest", Recovery{Until: time.Unix(100, 0)}, []int64{7, 8}},
		{"before the second complete one", Recovery{Until: time.Unix(69, 0)}, []int64{1, 4, 5}},
		{"before the differential one", Recovery{Until: time.Unix(3, 0)}, []int64{1, 2}},
		{"the first complete one by its id", Recovery{Until: time.Unix(100, 0), BackupID: 1}, []int64{1, 4, 5}},
		{"a delta by its id", Recovery{BackupID: 4}, []int64{1, 4}},
		{"a complete one by its id", Recovery{BackupID: 1}, []int64{1}},
		{"one that failed", Recovery{BackupID: 3}, nil},
		{"one without its base", Recovery{BackupID: 6}, nil},
		{"one after the time", Recovery{Until: time.Unix(4, 0), BackupID: 7}, nil},
		{"before everything", Recovery{Until: time.Unix(0, 0)}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got []int64
			for _, e := range chain(entries, test.request) {
				got = append(got, e.ID)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
