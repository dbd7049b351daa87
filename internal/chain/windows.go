package chain

import (
	"maps"
	"slices"
	"time"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// Window is a span of time of which every point can be reached, both ends
// included.
type Window struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
}

// Windows are all points in time that Plan can reach, sorted. The states of data
// backups to which no log leads are not among them.
func Windows(h History) []Window {
	l := open(h)
	var windows []Window
	for _, d := range l.data {
		if p := l.path(d); !p.reach.IsZero() {
			windows = append(windows, Window{d.ended, p.reach})
		}
	}
	slices.SortFunc(windows, func(a, b Window) int { return a.From.Compare(b.From) })
	var joined []Window
	for _, w := range windows {
		if n := len(joined); n > 0 && !w.From.After(joined[n-1].To) {
			if w.To.After(joined[n-1].To) {
				joined[n-1].To = w.To
			}
			continue
		}
		joined = append(joined, w)
	}
	return joined
}

// RecoveryPoint is the newest point that can be reached, zero when there is none.
func RecoveryPoint(h History) time.Time {
	c, err := Plan(h, Target{Latest: true})
	if err != nil {
		return time.Time{}
	}
	return c.Reaches
}

// Gap is log that no log backup in the store has.
type Gap struct {
	VolumeID int `json:"volume_id"`
	// After and Before are the log positions between which it lies.
	After  int64 `json:"after"`
	Before int64 `json:"before"`
	// AfterFile and BeforeFile are the files around it; AfterFile is empty where
	// the data backup is before it.
	AfterFile  string `json:"after_file"`
	BeforeFile string `json:"before_file"`
	// From and To are when HANA began to write them: what was committed between
	// is lost for a recovery past it.
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
	// Missing are the files in it of which only the objects are missing.
	Missing []string `json:"missing,omitempty"`
	// Unconfirmed are those that HANA's catalog never confirmed.
	Unconfirmed []string `json:"unconfirmed,omitempty"`
}

// Gaps are the gaps in the log, sorted by volume and position. Where an
// interruption of the log explains one, it is not among them, nor is one before
// the oldest complete backup: it harms nobody.
func Gaps(h History) []Gap {
	l := open(h)
	oldest := int64(0)
	begin := make([]*backup.Manifest, len(l.breaks)+1) // the oldest of each era
	for _, d := range l.data {
		if d.last.Kind == backup.KindComplete && d.fault == "" {
			oldest = d.last.BackupID
			begin[l.eraOf(startOf(d.last))] = d.last
		}
	}
	var gaps []Gap
	for _, id := range slices.Sorted(maps.Keys(l.volumes)) {
		for era, files := range l.byEra(l.volumes[id].byFirst) {
			gaps = append(gaps, gapsBetween(files, beginOf(begin[era], id), oldest)...)
		}
	}
	return gaps
}

// beginOf is the end of what needs no log of a volume, because a data backup has
// it: nil when that is not known.
func beginOf(m *backup.Manifest, volume int) *logFile {
	if m == nil {
		return nil
	}
	position := ReplayPositions(m)[volume]
	if position == 0 {
		return nil
	}
	return &logFile{LogFile: &backup.LogFile{}, name: backup.LogName{VolumeID: volume, Last: position}, covered: startOf(m)}
}

// byEra splits files by the interruptions of the log, oldest first.
func (l *ledger) byEra(files []logFile) [][]logFile {
	eras := make([][]logFile, len(l.breaks)+1)
	for i := range files {
		era := files[i].era
		eras[era] = append(eras[era], files[i])
	}
	return eras
}

// gapsBetween expects files sorted by their first position, and what is before
// them, if that is known.
func gapsBetween(files []logFile, end *logFile, oldest int64) []Gap {
	var gaps []Gap
	var missing []logFile
	for i := range files {
		f := &files[i]
		if f.lost() {
			missing = append(missing, *f)
			continue
		}
		if end != nil && f.name.First > end.name.Last && f.name.BackupID >= oldest {
			gaps = append(gaps, gapBetween(end, f, missing))
		}
		if end == nil || f.name.Last > end.name.Last {
			end = f
		}
	}
	return gaps
}

func gapBetween(after, before *logFile, missing []logFile) Gap {
	g := Gap{
		VolumeID: after.name.VolumeID, After: after.name.Last, Before: before.name.First,
		AfterFile: after.Name, BeforeFile: before.Name, From: after.covered, To: before.covered,
	}
	for i := range missing {
		f := &missing[i]
		switch {
		case f.name.Last <= g.After || f.name.First >= g.Before:
		case f.absent != "":
			g.Missing = append(g.Missing, f.Name)
		default:
			g.Unconfirmed = append(g.Unconfirmed, f.Name)
		}
	}
	return g
}
