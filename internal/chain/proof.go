package chain

import (
	"cmp"
	"slices"
	"time"
)

// mark is a position at which known log backups end.
type mark struct {
	position int64
	covered  time.Time
	// commit is the newest commit that is known to be before the position.
	commit time.Time
}

// proofs tells of each position, beginning with from, at which a newer log backup
// of the same history ends, up to when everything is before it. They are sorted by
// position. Files count that are known and not there.
//
// A log backup says that it has what was committed before it began. That is not
// so when HANA could not write for a while: closed segments wait in a queue (SAP,
// on backups with system replication), and the first of them is written late and
// without what the others hold. The same goes for a segment that is written again.
// Both show when later log was written earlier, or has a commit from before. Then
// only the time of the last commit counts.
func (v *volumeLog) proofs(s scope, from int64) []proof {
	marks := v.marks(s, from)
	proofs := make([]proof, len(marks))
	var written, commit time.Time // of what is behind the position; zero when not known
	for i := len(marks) - 1; i >= 0; i-- {
		m := &marks[i]
		if i+1 < len(marks) && marks[i+1].commit.After(m.commit) {
			commit = marks[i+1].commit
		}
		until := m.covered
		if before(written, until) || before(commit, until) {
			until = earlier(m.commit, until)
		}
		proofs[i] = proof{m.position, until, m.commit}
		if written.IsZero() || m.covered.Before(written) {
			written = m.covered
		}
	}
	return proofs
}

func (v *volumeLog) marks(s scope, from int64) []mark {
	first, _ := slices.BinarySearchFunc(v.byLast, from, func(f logFile, from int64) int { return cmp.Compare(f.name.Last, from) })
	var marks []mark
	var commit time.Time
	for i := first; i < len(v.byLast); i++ {
		f := &v.byLast[i]
		if !s.newer(f) {
			continue
		}
		if f.LastCommit.After(commit) {
			commit = f.LastCommit
		}
		if n := len(marks); n > 0 && marks[n-1].position == f.name.Last {
			marks[n-1].covered = earlier(marks[n-1].covered, f.covered)
			marks[n-1].commit = commit
			continue
		}
		marks = append(marks, mark{f.name.Last, f.covered, commit})
	}
	return marks
}

// before says that t is known and before u.
func before(t, u time.Time) bool { return !t.IsZero() && t.Before(u) }

func earlier(t, u time.Time) time.Time {
	if t.Before(u) {
		return t
	}
	return u
}
