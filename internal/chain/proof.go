package chain

import (
	"sort"
	"time"
)

// mark is a position at which known log backups end.
type mark struct {
	position int64
	// covered is when the first of them began.
	covered time.Time
	// commit is the newest that is known to be before the position.
	commit time.Time
	// proves says that one of them is confirmed by HANA's catalog.
	proves bool
	// until is up to when everything is proven to be before the position.
	until time.Time
}

// proven returns the marks from a position on that the log backups of a scope make,
// sorted, until the next call. Files count that are known and not there; those that
// HANA never confirmed prove nothing, but raise doubts.
//
// A log backup says that it has what was committed before it began. That is not
// so when HANA could not write for a while: closed segments wait in a queue (SAP,
// on backups with system replication), and the first of them is written late and
// without what the others hold. The same goes for a segment that is written again.
// Both show when later log was written earlier, or has a commit from before. Then
// only the time of the last commit counts.
func (v *volumeLog) proven(s *scope, from int64) []mark {
	v.mark(s, from)
	var written, commit time.Time // of what is behind the position; zero when not known
	for i := len(v.marks) - 1; i >= 0; i-- {
		m := &v.marks[i]
		if i+1 < len(v.marks) && v.marks[i+1].commit.After(m.commit) {
			commit = v.marks[i+1].commit
		}
		if m.proves {
			m.until = m.covered
		}
		if before(written, m.until) || before(commit, m.until) {
			m.until = earlier(m.commit, m.until)
		}
		if written.IsZero() || m.covered.Before(written) {
			written = m.covered
		}
	}
	return v.marks
}

func (v *volumeLog) mark(s *scope, from int64) {
	v.marks = v.marks[:0]
	var commit time.Time
	first := sort.Search(len(v.byLast), func(i int) bool { return v.byLast[i].name.Last >= from })
	for i := first; i < len(v.byLast); i++ {
		f := &v.byLast[i]
		if !s.newer(f) {
			continue
		}
		if f.commit.After(commit) {
			commit = f.commit
		}
		if n := len(v.marks); n > 0 && v.marks[n-1].position == f.name.Last {
			v.marks[n-1].covered = earlier(v.marks[n-1].covered, f.covered)
			v.marks[n-1].commit = commit
			v.marks[n-1].proves = v.marks[n-1].proves || f.Confirmed
			continue
		}
		v.marks = append(v.marks, mark{position: f.name.Last, covered: f.covered, commit: commit, proves: f.Confirmed})
	}
}

// before says that t is known and before u.
func before(t, u time.Time) bool { return !t.IsZero() && t.Before(u) }

func earlier(t, u time.Time) time.Time {
	if t.Before(u) {
		return t
	}
	return u
}
