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
	// one, BeforeFile begins with the other. AfterFile is empty where the data
	// backup ends with it.
	After      int64  `json:"after"`
	Before     int64  `json:"before"`
	AfterFile  string `json:"after_file"`
	BeforeFile string `json:"before_file"`
}

// run is a piece of a volume's log without a gap, from one or more files.
type run struct {
	first, last         int64
	firstFile, lastFile string
	// begun is the backup id of the first file.
	begun int64
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
	added := run{first: n.First, last: n.Last, firstFile: f.Name, begun: n.BackupID, lastFile: f.Name, until: f.CoveredUntil()}
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
		m.first, m.firstFile, m.begun = b.first, b.firstFile, b.begun
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

// gaps are those that a restore from base needs, sorted; all that are known
// when there is no base.
func (h *history) gaps(base *Base) []Gap {
	var gaps []Gap
	for _, volume := range slices.Sorted(maps.Keys(h.volumes)) {
		runs := h.volumes[volume]
		for i := range runs {
			if !base.needs(volume, &runs[i]) {
				continue
			}
			gap := Gap{VolumeID: volume, After: base.position(volume), Before: runs[i].first, BeforeFile: runs[i].firstFile}
			if i > 0 {
				gap.After, gap.AfterFile = runs[i-1].last, runs[i-1].lastFile
			} else if gap.After == 0 {
				continue // it is not known that something comes before the first
			}
			gaps = append(gaps, gap)
		}
	}
	return gaps
}

// reached is the run of each volume that the log since base ends with. One
// without a file is where base itself ends.
func (h *history) reached(base *Base) map[int]run {
	reached := make(map[int]run, len(h.volumes))
	for volume, runs := range h.volumes {
		for i := range runs {
			if base.needs(volume, &runs[i]) && (i > 0 || base.position(volume) > 0) {
				break
			}
			reached[volume] = runs[i]
		}
	}
	if base != nil {
		base.complete(reached)
	}
	return reached
}

// complete adds where b itself ends, and leaves out volumes that were gone before.
func (b *Base) complete(reached map[int]run) {
	for volume, r := range reached {
		if _, has := b.Positions[volume]; !has && r.until.Before(b.StartedAt) {
			delete(reached, volume)
		}
	}
	for volume, position := range b.Positions {
		if r, some := reached[volume]; !some || r.last < position {
			reached[volume] = run{last: position, until: b.StartedAt}
		}
	}
}

// recoveryPoint is the time up to which the log of every volume is without a
// gap behind base, not before that of base itself; zero without a base.
func (h *history) recoveryPoint(base *Base) time.Time {
	if base == nil {
		return time.Time{}
	}
	var point time.Time
	for _, r := range h.reached(base) {
		if point.IsZero() || r.until.Before(point) {
			point = r.until
		}
	}
	if len(h.volumes) < len(h.tails) {
		point = base.StartedAt // nothing of a volume is confirmed
	}
	return later(base.StartedAt, point)
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
