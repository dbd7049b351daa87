package logship

import (
	"cmp"
	"slices"
	"time"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
	"github.com/pipestreamer/pipestreamer/pkg/spool"
)

const (
	// firstPause and longestPause are between two attempts at a file that is
	// the trouble itself.
	firstPause   = time.Second
	longestPause = time.Minute
	// conflictPause is between two looks at an object of other content.
	conflictPause = 10 * time.Minute
)

// item is a file on its way. Its fields are written by the goroutine that ships
// and those that it waits for, with the Shipper's lock.
type item struct {
	file spool.File
	name backup.LogName
	// record is what an index says of the file, or will. It has objects as soon
	// as the file was read once.
	record backup.LogFile
	// stored: the objects of record are in the store and visible. indexed: an
	// index names them; told: and calls the file confirmed. checked: they were
	// read back.
	stored, indexed, told, checked bool
	// again: its first key holds what cannot be compared with it.
	again bool
	// doubt is why HANA's catalog does not confirm the file; asked is set when
	// the catalog has answered. rejected: it calls the backup failed.
	doubt           string
	asked, rejected bool
	// conflict says what else the store holds, problem what is wrong with the
	// file, each since a time. tries counts the attempts that met it.
	conflict, problem string
	since             time.Time
	tries             int
	notBefore         time.Time
	// heldSince is when the file began to wait for an earlier one.
	heldSince time.Time
}

// shipped reports whether the store has all of it, safely.
func (it *item) shipped() bool { return it.indexed && it.checked }

// stuck reports whether later files of the volume need not wait for it.
func (it *item) stuck() bool { return it.conflict != "" || it.problem != "" }

// amend reports whether an index has to say that HANA has confirmed the file.
func (it *item) amend() bool { return it.stored && it.indexed && it.record.Confirmed && !it.told }

// fail notes what is wrong with the file itself, and when to try again.
func (it *item) fail(now time.Time, problem string) {
	if it.problem == "" {
		it.since = now
	}
	it.problem = problem
	it.tries++
	it.notBefore = now.Add(min(firstPause<<min(it.tries-1, 10), longestPause))
}

// clash notes that the store holds something else.
func (it *item) clash(now time.Time, conflict string) {
	if it.conflict == "" {
		it.since = now
	}
	it.conflict = conflict
	it.stored, it.checked = false, false
	it.notBefore = now.Add(conflictPause)
}

// isSame reports whether both are the same file with the same content, as far as
// size and time of change tell.
func isSame(f, other spool.File) bool {
	return f.Name == other.Name && f.Dev == other.Dev && f.Ino == other.Ino && f.Size == other.Size && f.ModTime.Equal(other.ModTime)
}

// pick chooses up to limit of the items that have to be stored or indexed.
// Volumes take turns by backup id, so that none falls behind, and within a
// volume an earlier position goes first, so that an index can follow.
func pick(items []*item, limit int) []*item {
	lines := make(map[int][]*item)
	for _, it := range items {
		line := it.name.VolumeID
		if it.name.Kind() == backup.KindCatalog {
			line = -1
		}
		lines[line] = append(lines[line], it)
	}
	for _, line := range lines {
		sortItems(line)
	}
	var picked []*item
	for len(picked) < limit {
		next, found := 0, false
		for volume, line := range lines {
			if len(line) > 0 && (!found || byID(line[0], lines[next][0]) < 0) {
				next, found = volume, true
			}
		}
		if !found {
			break
		}
		picked = append(picked, lines[next][0])
		lines[next] = lines[next][1:]
	}
	sortItems(picked)
	return picked
}

func sortItems(items []*item) { slices.SortFunc(items, byPosition) }

func byPosition(a, b *item) int { return compareNames(a.name, b.name) }

func byID(a, b *item) int {
	return cmp.Or(cmp.Compare(a.name.BackupID, b.name.BackupID), byPosition(a, b))
}
