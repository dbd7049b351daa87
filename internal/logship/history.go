package logship

import (
	"cmp"
	"maps"
	"slices"
	"sort"
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

// place is a volume between two interruptions of the log: after a recovery HANA
// gives the same positions to other log (assumed).
type place struct {
	// era is the number of interruptions before it.
	era, volume int
}

// piece is an indexed log backup.
type piece struct {
	name      backup.LogName
	confirmed bool
	until     time.Time
}

// history is the log that the indexes name. Files that HANA's catalog did not
// confirm may be cut off or of a failed backup: they prove nothing.
type history struct {
	// volumes hold the runs of each volume by position, of confirmed files. There
	// is one more than there are gaps.
	volumes map[place][]run
	// tails are where the files of each volume end, confirmed or not.
	tails map[place]int64
	// catalog is the time of the newest backup of the catalog.
	catalog time.Time
	// breaks are the interruptions of the log, sorted. pieces are what is sorted
	// anew when there is another one, by file.
	breaks []backup.Break
	pieces map[string]piece
}

func newHistory() *history {
	return &history{volumes: make(map[place][]run), tails: make(map[place]int64), pieces: make(map[string]piece)}
}

// add takes in an indexed file. Files may overlap, come in any order and twice.
func (h *history) add(f *backup.LogFile) {
	n := f.Parsed()
	if n.Kind() == backup.KindCatalog {
		h.catalog = later(h.catalog, f.CoveredUntil())
		return
	}
	p := piece{name: n, confirmed: f.Confirmed, until: f.CoveredUntil()}
	h.pieces[f.Name] = p
	h.insert(f.Name, p)
}

func (h *history) insert(file string, p piece) {
	n, at := p.name, h.place(p.name)
	h.tails[at] = max(h.tails[at], n.Last)
	if !p.confirmed {
		return
	}
	added := run{first: n.First, last: n.Last, firstFile: file, lastFile: file, begun: n.BackupID, until: p.until}
	var runs []run
	for _, r := range h.volumes[at] {
		if r.last < added.first || r.first > added.last {
			runs = append(runs, r)
			continue
		}
		added = merge(added, r)
	}
	runs = append(runs, added)
	slices.SortFunc(runs, func(a, b run) int { return cmp.Compare(a.first, b.first) })
	h.volumes[at] = runs
}

// place is where a log backup belongs.
func (h *history) place(n backup.LogName) place {
	return place{era: h.era(time.UnixMilli(n.BackupID)), volume: n.VolumeID}
}

// era is the number of interruptions before t.
func (h *history) era(t time.Time) int {
	return sort.Search(len(h.breaks), func(i int) bool { return !h.breaks[i].At.Before(t) })
}

// eraOf is that of the log that goes on from base; without one the newest.
func (h *history) eraOf(base *Base) int {
	if base == nil {
		return len(h.breaks)
	}
	return h.era(base.Since)
}

// split sorts everything anew by these interruptions, which are sorted.
func (h *history) split(breaks []backup.Break) {
	h.breaks = breaks
	h.volumes, h.tails = make(map[place][]run), make(map[place]int64)
	for file, p := range h.pieces {
		h.insert(file, p)
	}
}

// forget lets go of what began before a backup id, and is not needed to sort
// anew. The runs stay.
func (h *history) forget(id int64) {
	maps.DeleteFunc(h.pieces, func(_ string, p piece) bool { return p.name.BackupID < id })
}

// ofEra are the runs of an era by volume.
func (h *history) ofEra(era int) map[int][]run {
	volumes := make(map[int][]run)
	for at, runs := range h.volumes {
		if at.era == era {
			volumes[at.volume] = runs
		}
	}
	return volumes
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

// tail is the last position of a place, if there is one. It is for the order of
// the indexes.
func (h *history) tail(at place) (position int64, known bool) {
	position, known = h.tails[at]
	return position, known
}

// gaps are those that a restore from base needs, sorted; all that are known since
// the last interruption when there is no base.
func (h *history) gaps(base *Base) []Gap {
	var gaps []Gap
	volumes := h.ofEra(h.eraOf(base))
	for _, volume := range slices.Sorted(maps.Keys(volumes)) {
		runs := volumes[volume]
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
	reached := make(map[int]run)
	for volume, runs := range h.ofEra(h.eraOf(base)) {
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
	for at := range h.tails {
		if at.era == h.eraOf(base) && len(h.volumes[at]) == 0 {
			point = base.StartedAt // nothing of a volume is confirmed
		}
	}
	return later(base.StartedAt, point)
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
