package logship

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// Gap is a piece of a volume's log that no indexed file holds which HANA's catalog
// has confirmed.
type Gap struct {
	VolumeID int `json:"volume_id"`
	// After and Before are the log positions around it; AfterFile ends with the
	// one, BeforeFile begins with the other.
	After      int64  `json:"after"`
	Before     int64  `json:"before"`
	AfterFile  string `json:"after_file"`
	BeforeFile string `json:"before_file"`
}

// run is a piece of a volume's log without a gap, from one or more files.
type run struct {
	first, last         int64
	firstFile, lastFile string
	// until is the time up to which the log is in it.
	until time.Time
}

// history is the log that the indexes name. Files that HANA's catalog did not
// confirm may be cut off or of a failed backup: they prove nothing.
type history struct {
	// volumes hold the runs of each volume by position, of confirmed files. There
	// is one more than there are gaps.
	volumes map[int][]run
	// tails are where the files of each volume end, confirmed or not.
	tails map[int]int64
	// catalog is the time of the newest backup of the catalog.
	catalog time.Time
}

func newHistory() *history { return &history{volumes: make(map[int][]run), tails: make(map[int]int64)} }

// add takes in an indexed file. Files may overlap, come in any order and twice.
func (h *history) add(f *backup.LogFile) {
	n := f.Parsed()
	if n.Kind() == backup.KindCatalog {
		h.catalog = later(h.catalog, f.CoveredUntil())
		return
	}
	h.tails[n.VolumeID] = max(h.tails[n.VolumeID], n.Last)
	if !f.Confirmed {
		return
	}
	added := run{first: n.First, last: n.Last, firstFile: f.Name, lastFile: f.Name, until: f.CoveredUntil()}
	var runs []run
	for _, r := range h.volumes[n.VolumeID] {
		if r.last < added.first || r.first > added.last {
			runs = append(runs, r)
			continue
		}
		added = merge(added, r)
	}
	runs = append(runs, added)
	slices.SortFunc(runs, func(a, b run) int { return cmp.Compare(a.first, b.first) })
	h.volumes[n.VolumeID] = runs
}

// merge joins two runs that touch or overlap.
func merge(a, b run) run {
	m := a
	if b.first < a.first {
		m.first, m.firstFile = b.first, b.firstFile
	}
	switch {
	case b.last > a.last:
		m.last, m.lastFile, m.until = b.last, b.lastFile, b.until
	case b.last == a.last:
		m.until = later(a.until, b.until)
	}
	return m
}

// tail is the last position of a volume, if there is one. It is for the order of
// the indexes.
func (h *history) tail(volume int) (position int64, known bool) {
	position, known = h.tails[volume]
	return position, known
}

// gaps are those behind the positions of base, sorted.
func (h *history) gaps(base map[int]int64) []Gap {
	var gaps []Gap
	for _, volume := range slices.Sorted(maps.Keys(h.volumes)) {
		runs := h.volumes[volume]
		for i := 1; i < len(runs); i++ {
			if runs[i].first <= base[volume] {
				continue
			}
			gaps = append(gaps, Gap{
				VolumeID: volume, After: runs[i-1].last, Before: runs[i].first,
				AfterFile: runs[i-1].lastFile, BeforeFile: runs[i].firstFile,
			})
		}
	}
	return gaps
}

// reached is the run of each volume that the log since base ends with.
func (h *history) reached(base map[int]int64) map[int]run {
	reached := make(map[int]run, len(h.volumes))
	for volume, runs := range h.volumes {
		r := runs[0]
		for _, next := range runs[1:] {
			if next.first <= base[volume] {
				r = next
			}
		}
		reached[volume] = r
	}
	return reached
}

// recoveryPoint is the time up to which the log of every volume is without a
// gap behind base; zero when nothing is indexed, or nothing of a volume confirmed.
func (h *history) recoveryPoint(base map[int]int64) time.Time {
	var point time.Time
	if len(h.volumes) < len(h.tails) {
		return point
	}
	for _, r := range h.reached(base) {
		if point.IsZero() || r.until.Before(point) {
			point = r.until
		}
	}
	return point
}

// newest is the time up to which the newest confirmed file of any volume reaches.
func (h *history) newest() time.Time {
	var newest time.Time
	for _, runs := range h.volumes {
		newest = later(newest, runs[len(runs)-1].until)
	}
	return newest
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
