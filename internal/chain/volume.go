package chain

import (
	"cmp"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// logFile is a log backup with what is asked of it again and again.
type logFile struct {
	*backup.LogFile
	name    backup.LogName
	covered time.Time
	commit  time.Time
	// era says to which side of each interruption it belongs.
	era int
	// absent is the key of an object that is missing.
	absent string
}

// lost says that f is known, and that its content cannot be counted on.
func (f *logFile) lost() bool { return f.absent != "" || !f.Confirmed }

// volumeLog is all known log of one volume.
type volumeLog struct {
	id      int
	byFirst []logFile
	byLast  []logFile
	// furthest is, for each of byFirst, the largest end up to it.
	furthest []int64
	// marks are those that were made last; their memory is used again.
	marks []mark
}

func (v *volumeLog) add(f logFile) { v.byFirst = append(v.byFirst, f) }

func (v *volumeLog) sort() {
	slices.SortFunc(v.byFirst, func(a, b logFile) int {
		return cmp.Or(cmp.Compare(a.name.First, b.name.First), cmp.Compare(a.name.Last, b.name.Last),
			cmp.Compare(a.name.BackupID, b.name.BackupID), strings.Compare(a.Name, b.Name), strings.Compare(a.absent, b.absent))
	})
	// after a restart of the daemon two indexes may name the same file
	v.byFirst = slices.CompactFunc(v.byFirst, func(a, b logFile) bool { return a.Name == b.Name })
	v.byLast = slices.Clone(v.byFirst)
	slices.SortStableFunc(v.byLast, func(a, b logFile) int { return cmp.Compare(a.name.Last, b.name.Last) })
	furthest := int64(0)
	for i := range v.byFirst {
		furthest = max(furthest, v.byFirst[i].name.Last)
		v.furthest = append(v.furthest, furthest)
	}
}

// firstTo is the index in byFirst before which no file reaches position.
func (v *volumeLog) firstTo(position int64) int {
	return sort.Search(len(v.furthest), func(i int) bool { return v.furthest[i] >= position })
}

// scope is which log may be used after a data backup.
type scope struct {
	era int
	// since is the backup id of the data backup.
	since int64
	// oldest is the backup id before which no log belongs to the data backup.
	oldest int64
	// catalog is the backup id of the catalog that HANA will go by.
	catalog int64
}

// slack in milliseconds is by how much a log backup may have begun before the
// complete backup whose replay needs it. A day is far more than a segment of the
// log stays open (log_backup_timeout_s is 15 minutes unless set otherwise).
const slack = 24 * 60 * 60 * 1000

// of says whether f is of the same history as the data backup. One from long
// before it is not: when a tenant was dropped and made anew under its name, the
// log of its old life has positions like that of the new one.
func (s *scope) of(f *logFile) bool { return f.era == s.era && f.name.BackupID >= s.oldest }

// newer says whether f was begun after the data backup, in the same history.
func (s *scope) newer(f *logFile) bool { return f.name.BackupID >= s.since && s.of(f) }

// usable says whether HANA can be handed f. What its catalog never confirmed may
// be cut off, or of a backup that failed.
func (s *scope) usable(f *logFile) bool {
	return !f.lost() && f.name.BackupID <= s.catalog && s.of(f)
}

// replay is how far the log of one volume leads.
type replay struct {
	volume *volumeLog
	scope  scope
	// assumed says that HANA did not tell where the replay begins.
	assumed bool
	// from is where it begins and end where the first gap is.
	from, end int64
	// reach is the newest time up to which everything is there, zero when nothing
	// is proven.
	reach time.Time
	// lost says that log is known behind end.
	lost bool
}

// replay follows the log from a position; 0 stands for one that is not known.
func (v *volumeLog) replay(from int64, s scope) replay {
	r := replay{volume: v, scope: s, from: from, end: from}
	if from == 0 {
		r.assumed = true
		i := slices.IndexFunc(v.byFirst, func(f logFile) bool { return s.newer(&f) })
		if i < 0 {
			return r
		}
		r.from = v.byFirst[i].name.First
		r.end = r.from
	}
	for i := v.firstTo(r.from); i < len(v.byFirst) && v.byFirst[i].name.First <= r.end; i++ {
		if f := &v.byFirst[i]; r.mayUse(f) {
			r.end = max(r.end, f.name.Last)
		}
	}
	for _, m := range v.proven(&s, r.from) {
		if m.position > r.end {
			r.lost = true
			break
		}
		if m.until.After(r.reach) {
			r.reach = m.until
		}
	}
	return r
}

// mayUse says whether f can be handed to HANA for this replay.
func (r *replay) mayUse(f *logFile) bool {
	return r.scope.usable(f) && (!r.assumed || f.name.BackupID >= r.scope.since)
}

// covers says whether everything up to t is there.
func (r *replay) covers(t time.Time) bool { return !r.reach.Before(t) }

// upTo returns the first position that proves a t which is covered, and the one up
// to which HANA is handed log: the file that proves t may have waited, so what
// follows is handed over as well, up to a commit that is not before t; where HANA
// did not tell commits, one file more. The answer is in doubt when that leads to
// log that is lost.
func (r *replay) upTo(t time.Time) (proof, further int64, doubt bool) {
	proven := false
	for _, m := range r.volume.proven(&r.scope, r.from) {
		switch {
		case m.position > r.end:
			return proof, further, r.lost
		case !proven && m.until.Before(t):
			continue
		case !proven:
			proven, proof = true, m.position
		case m.commit.IsZero():
			return proof, m.position, false
		}
		further = m.position
		if !m.commit.Before(t) {
			return proof, further, false
		}
	}
	return proof, further, r.lost
}

// idle says that nothing is known of the volume since the data backup.
func (r *replay) idle() bool {
	i := slices.IndexFunc(r.volume.byFirst, func(f logFile) bool {
		return r.scope.newer(&f) && f.name.Last > r.from
	})
	return i < 0
}

// files are those with log between two positions.
func (r *replay) files(from, to int64) []backup.LogFile {
	var files []backup.LogFile
	for i := r.volume.firstTo(from); i < len(r.volume.byFirst); i++ {
		f := &r.volume.byFirst[i]
		if f.name.First >= to {
			break
		}
		if f.name.Last > from && r.mayUse(f) {
			files = append(files, *f.LogFile)
		}
	}
	return files
}
