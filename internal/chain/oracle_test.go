package chain_test

import (
	"time"

	"github.com/pipestreamer/pipestreamer/internal/chain"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// oracle answers what a planner has to know the slow way, straight from the
// sentences of the package comment: it follows every path and marks every single
// log position. It shares no code with the planner.
type oracle struct {
	h     chain.History
	files []oracleFile
}

// oracleFile is a log or catalog backup that was looked at once.
type oracleFile struct {
	*backup.LogFile
	backup.LogName
	covered time.Time
	catalog bool
	there   bool
	usable  bool
}

func newOracle(h chain.History) oracle {
	o := oracle{h: h}
	for i := range h.Logs {
		f := oracleFile{LogFile: &h.Logs[i], LogName: h.Logs[i].Parsed(), covered: h.Logs[i].CoveredUntil()}
		f.catalog = f.LogName == backup.LogName{BackupID: f.BackupID}
		f.there = true
		for _, object := range f.Objects {
			f.there = f.there && !h.Missing[object.Key]
		}
		o.files = append(o.files, f)
	}
	for i := range o.files {
		o.files[i].usable = o.files[i].there && o.files[i].Confirmed && o.known(o.files[i].BackupID)
	}
	return o
}

func (o oracle) find(backupID int64) *backup.Manifest {
	for _, m := range o.h.Backups {
		if m.BackupID == backupID {
			return m
		}
	}
	return nil
}

// elements returns a data backup and all on which it builds, or nothing when that
// cannot be restored.
func (o oracle) elements(m *backup.Manifest) []*backup.Manifest {
	if m == nil {
		return nil
	}
	for i := range m.Streams {
		for _, object := range m.Streams[i].Objects {
			if o.h.Missing[object.Key] {
				return nil
			}
		}
	}
	if m.Kind == backup.KindComplete {
		return []*backup.Manifest{m}
	}
	base := o.find(m.BaseID)
	if base == nil || m.Kind == backup.KindDifferential && base.Kind != backup.KindComplete {
		return nil
	}
	if base.DatabaseUUID+m.DatabaseUUID == "AB" || base.DatabaseUUID+m.DatabaseUUID == "BA" {
		return nil
	}
	under := o.elements(base)
	if under == nil {
		return nil
	}
	return append(under, m)
}

// known says whether some backup of the catalog that is there knows a backup id.
func (o oracle) known(backupID int64) bool {
	for i := range o.files {
		if f := &o.files[i]; f.catalog && f.there && f.BackupID >= backupID {
			return true
		}
	}
	return false
}

// together says that no interruption lies between the begin of a data chain and
// what began at other.
func (o oracle) together(begin, other time.Time) bool {
	for _, b := range o.h.Breaks {
		if begin.After(b.At) != other.After(b.At) {
			return false
		}
	}
	return true
}

// restorable says whether the state of one data backup can be had.
func (o oracle) restorable(m *backup.Manifest) bool {
	return o.elements(m) != nil && (m.Kind == backup.KindComplete || o.known(m.BackupID))
}

// claims returns for one volume all times up to which log from position from on
// holds everything, using only the files that may says yes to.
func (o oracle) claims(m, first *backup.Manifest, volume int, from int64, may func(*oracleFile) bool) []time.Time {
	var newer, usable []*oracleFile
	for i := range o.files {
		f := &o.files[i]
		if f.VolumeID != volume || f.catalog || !o.together(first.Catalog.StartedAt, time.UnixMilli(f.BackupID)) {
			continue
		}
		if f.BackupID+(24*time.Hour).Milliseconds() < first.BackupID {
			continue // of an earlier life
		}
		if f.BackupID >= m.BackupID {
			newer = append(newer, f)
		}
		if may(f) && (from != 0 || f.BackupID >= m.BackupID) {
			usable = append(usable, f)
		}
	}
	if from == 0 {
		for _, f := range newer {
			if from == 0 || f.First < from {
				from = f.First
			}
		}
		if from == 0 {
			return nil
		}
	}
	var claims []time.Time
	for _, f := range newer {
		if end := f.Last; end >= from && provedBy(newer, end) && holds(usable, from, end) {
			claims = append(claims, claim(newer, from, end))
		}
	}
	return claims
}

// provedBy says whether a file that HANA confirmed ends there.
func provedBy(files []*oracleFile, end int64) bool {
	for _, f := range files {
		if f.Last == end && f.Confirmed {
			return true
		}
	}
	return false
}

// holds says whether files have every position from first up to last.
func holds(files []*oracleFile, first, last int64) bool {
	for p := first; p < last; p++ {
		some := false
		for _, f := range files {
			some = some || f.First <= p && p < f.Last
		}
		if !some {
			return false
		}
	}
	return true
}

// claim is up to when everything is before position end, as far as files tell.
func claim(files []*oracleFile, from, end int64) time.Time {
	var covered time.Time
	for _, f := range files {
		if c := f.covered; f.Last == end && (covered.IsZero() || c.Before(covered)) {
			covered = c
		}
	}
	commit := lastCommit(files, from, end)
	doubt := false
	next := time.Time{}
	nextEnd := int64(0)
	for _, f := range files {
		last := f.Last
		if last <= end {
			continue
		}
		doubt = doubt || f.covered.Before(covered)
		if c := lastCommit(files, from, last); c.After(commit) && (nextEnd == 0 || last < nextEnd) {
			next, nextEnd = c, last
		}
	}
	doubt = doubt || nextEnd != 0 && next.Before(covered)
	if doubt && commit.Before(covered) {
		return commit
	}
	return covered
}

func lastCommit(files []*oracleFile, from, end int64) time.Time {
	var commit time.Time
	for _, f := range files {
		if p := f.Last; p >= from && p <= end && f.LastCommit.After(commit) {
			commit = f.LastCommit
		}
	}
	return commit
}

// reach is the newest time that log after m leads to, when it is not before the end
// of m; may says which files can be used.
func (o oracle) reach(m *backup.Manifest, may func(*oracleFile) bool) (time.Time, bool) {
	elements := o.elements(m)
	if elements == nil || !o.known(m.BackupID) {
		return time.Time{}, false
	}
	var reach time.Time
	some := false
	for i := range m.Catalog.Files {
		file := &m.Catalog.Files[i]
		if file.VolumeID == backup.TopologyVolume {
			continue
		}
		var newest time.Time
		for _, c := range o.claims(m, elements[0], file.VolumeID, file.RedoLogPosition, may) {
			if c.After(newest) {
				newest = c
			}
		}
		if !some || newest.Before(reach) {
			reach, some = newest, true
		}
	}
	for _, b := range o.h.Breaks {
		if !b.At.Before(elements[0].Catalog.StartedAt) && reach.After(b.At) {
			reach = b.At
		}
	}
	return reach, some && !reach.Before(m.Catalog.EndedAt)
}
