package chain

import (
	"cmp"
	"slices"
	"sort"
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
		v.add(logFile{
			LogFile: f, name: name, covered: f.CoveredUntil(), commit: f.LastCommit,
			era: l.eraOf(time.UnixMilli(name.BackupID)), absent: absent,
		})
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

// eraOf says between which interruptions of the log something belongs that began
// at t, as the number of those before it.
func (l *ledger) eraOf(t time.Time) int {
	return sort.Search(len(l.breaks), func(i int) bool { return !l.breaks[i].At.Before(t) })
}

// ending is the interruption that ends an era.
func (l *ledger) ending(era int) (b backup.Break, ok bool) {
	if era == len(l.breaks) {
		return b, false
	}
	return l.breaks[era], true
}

// endsBefore says whether t is past the end of an era.
func (l *ledger) endsBefore(era int, t time.Time) bool {
	b, ok := l.ending(era)
	return ok && t.After(b.At)
}
