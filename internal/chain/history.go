package chain

import (
	"cmp"
	"slices"
	"time"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// History is what is known of the backups of one database, in any order.
type History struct {
	Backups []*backup.Manifest
	// Logs are the log backups and the backups of the catalog.
	Logs []backup.LogFile
	// Missing are the keys of objects that are known to be absent.
	Missing map[string]bool
	// Breaks are the moments past which no recovery can go.
	Breaks []backup.Break
}

// ledger is a History put in order.
type ledger struct {
	missing map[string]bool
	// breaks are sorted by time.
	breaks []backup.Break
	// data are sorted: those that ended last come first.
	data    []*dataChain
	byID    map[int64]*dataChain
	volumes map[int]*volumeLog
	// catalog is the newest backup of the catalog that is there, or nil, and
	// catalogID its backup id, or 0.
	catalog   *backup.LogFile
	catalogID int64
}

func open(h History) *ledger {
	l := &ledger{missing: h.Missing, byID: make(map[int64]*dataChain), volumes: make(map[int]*volumeLog)}
	l.breaks = slices.Clone(h.Breaks)
	slices.SortStableFunc(l.breaks, func(a, b backup.Break) int { return a.At.Compare(b.At) })
	l.addBackups(h.Backups)
	l.addLogs(h.Logs)
	return l
}

func (l *ledger) addBackups(manifests []*backup.Manifest) {
	sorted := slices.Clone(manifests)
	slices.SortStableFunc(sorted, func(a, b *backup.Manifest) int { return cmp.Compare(a.BackupID, b.BackupID) })
	for _, m := range sorted {
		switch m.Kind {
		case backup.KindComplete, backup.KindDifferential, backup.KindIncremental:
		default:
			continue
		}
		if l.byID[m.BackupID] != nil {
			continue
		}
		d := l.newDataChain(m)
		l.byID[m.BackupID] = d
		l.data = append(l.data, d)
	}
	slices.SortFunc(l.data, func(a, b *dataChain) int {
		return cmp.Or(b.ended.Compare(a.ended), cmp.Compare(b.last.BackupID, a.last.BackupID))
	})
}

func (l *ledger) addLogs(files []backup.LogFile) {
	for i := range files {
		f := &files[i]
		name := f.Parsed()
		absent := l.absent(f.Objects)
		if name.Kind() == backup.KindCatalog {
			if absent == "" && name.BackupID > l.catalogID {
				l.catalog, l.catalogID = f, name.BackupID
			}
			continue
		}
		v := l.volumes[name.VolumeID]
		if v == nil {
			v = &volumeLog{id: name.VolumeID}
			l.volumes[name.VolumeID] = v
		}
		v.add(logFile{LogFile: f, name: name, covered: f.CoveredUntil(), absent: absent})
	}
	for _, v := range l.volumes {
		v.sort()
	}
}

// absent returns the key of the first object that is missing, or nothing.
func (l *ledger) absent(objects []backup.Object) string {
	for i := range objects {
		if l.missing[objects[i].Key] {
			return objects[i].Key
		}
	}
	return ""
}

// era is the time between two interruptions of the log. The zero time means that
// there is none on that side.
type era struct {
	after time.Time
	until backup.Break
}

// eraOf returns the one in which something that began at t belongs.
func (l *ledger) eraOf(t time.Time) era {
	i, _ := slices.BinarySearchFunc(l.breaks, t, func(b backup.Break, t time.Time) int { return b.At.Compare(t) })
	var e era
	if i > 0 {
		e.after = l.breaks[i-1].At
	}
	if i < len(l.breaks) {
		e.until = l.breaks[i]
	}
	return e
}

// endsBefore says whether t is past the end of e.
func (e era) endsBefore(t time.Time) bool {
	return !e.until.At.IsZero() && t.After(e.until.At)
}

// holds says whether a backup that began at t is of e.
func (e era) holds(t time.Time) bool {
	return t.After(e.after) && !e.endsBefore(t)
}
