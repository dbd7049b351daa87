package chain

import (
	"cmp"
	"slices"
	"time"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// logFile is a log backup with what is asked of it again and again.
type logFile struct {
	*backup.LogFile
	name    backup.LogName
	covered time.Time
	// absent is the key of an object that is missing.
	absent string
}

// volumeLog is all known log of one volume.
type volumeLog struct {
	id      int
	byFirst []logFile
	byLast  []logFile
}

func (v *volumeLog) add(f logFile) { v.byFirst = append(v.byFirst, f) }

func (v *volumeLog) sort() {
	slices.SortFunc(v.byFirst, func(a, b logFile) int {
		return cmp.Or(cmp.Compare(a.name.First, b.name.First), cmp.Compare(a.name.Last, b.name.Last),
			cmp.Compare(a.name.BackupID, b.name.BackupID))
	})
	v.byLast = slices.Clone(v.byFirst)
	slices.SortStableFunc(v.byLast, func(a, b logFile) int { return cmp.Compare(a.name.Last, b.name.Last) })
}

// scope is which log may be used after a data backup.
type scope struct {
	era era
	// since is the backup id of the data backup.
	since int64
	// catalog is the backup id of the catalog that HANA will go by.
	catalog int64
}

// of says whether f is of the same history as the data backup.
func (s scope) of(f *logFile) bool { return s.era.holds(time.UnixMilli(f.name.BackupID)) }

// newer says whether f was begun after the data backup, in the same history.
func (s scope) newer(f *logFile) bool { return f.name.BackupID >= s.since && s.of(f) }

// usable says whether HANA can be handed f.
func (s scope) usable(f *logFile) bool {
	return f.absent == "" && f.name.BackupID <= s.catalog && s.of(f)
}

// replay is how far the log of one volume leads.
type replay struct {
	volume *volumeLog
	scope  scope
	// assumed says that HANA did not tell where the replay begins.
	assumed bool
	// from is where it begins and end where the first gap is.
	from, end int64
	// proofs are those between from and end, sorted by position.
	proofs []proof
	// lost says that log is known behind end.
	lost bool
}

// proof is a position that has everything before it up to a time.
type proof struct {
	position int64
	until    time.Time
	// commit is the newest that is known to be before the position.
	commit time.Time
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
	for i := range v.byFirst {
		f := &v.byFirst[i]
		if f.name.First > r.end {
			break
		}
		if r.mayUse(f) {
			r.end = max(r.end, f.name.Last)
		}
	}
	proofs := v.proofs(s, r.from)
	n := 0
	for n < len(proofs) && proofs[n].position <= r.end {
		n++
	}
	r.proofs, r.lost = proofs[:n], n < len(proofs)
	return r
}

// mayUse says whether f can be handed to HANA for this replay.
func (r *replay) mayUse(f *logFile) bool {
	return r.scope.usable(f) && (!r.assumed || f.name.BackupID >= r.scope.since)
}

// covers says whether some position has everything up to t.
func (r *replay) covers(t time.Time) bool { return r.prover(t) >= 0 }

// prover is the index of the first proof for t, -1 when there is none.
func (r *replay) prover(t time.Time) int {
	return slices.IndexFunc(r.proofs, func(p proof) bool { return !p.until.Before(t) })
}

// upTo returns the position up to which HANA is handed log for a t that is covered.
// The file that proves t may have waited, so what follows is handed over as well,
// up to a commit that is not before t; where HANA did not tell commits, one file
// more. The answer is in doubt when that leads to log that is lost.
func (r *replay) upTo(t time.Time) (position int64, doubt bool) {
	first := r.prover(t)
	for i := first; i < len(r.proofs); i++ {
		p := r.proofs[i]
		if !p.commit.Before(t) || p.commit.IsZero() && i > first {
			return p.position, false
		}
		position = p.position
	}
	return position, r.lost
}

// reach is the newest time up to which everything is there.
func (r *replay) reach() time.Time {
	var newest time.Time
	for _, p := range r.proofs {
		if p.until.After(newest) {
			newest = p.until
		}
	}
	return newest
}

// idle says that nothing is known of the volume since the data backup.
func (r *replay) idle() bool {
	i := slices.IndexFunc(r.volume.byFirst, func(f logFile) bool {
		return r.scope.newer(&f) && f.name.Last > r.from
	})
	return i < 0
}

// files are those with log between from and position. When that is one place,
// they are those that prove that nothing is needed.
func (r *replay) files(position int64) []backup.LogFile {
	var files []backup.LogFile
	for i := range r.volume.byFirst {
		f := &r.volume.byFirst[i]
		if f.name.First >= position {
			break
		}
		needed := f.name.Last > r.from || position == r.from && f.name.Last == r.from
		if needed && r.mayUse(f) {
			files = append(files, *f.LogFile)
		}
	}
	return files
}
