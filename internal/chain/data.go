package chain

import (
	"fmt"
	"slices"
	"time"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// dataChain is a data backup with all on which it builds.
type dataChain struct {
	last     *backup.Manifest
	complete *backup.Manifest // nil when fault says why
	base     *dataChain
	ended    time.Time
	// fault says why it cannot be restored, empty when it can.
	fault string
	// path is what follows it, once that is known.
	path *path
}

// newDataChain expects that every backup before m is in the ledger.
func (l *ledger) newDataChain(m *backup.Manifest) *dataChain {
	d := &dataChain{last: m, ended: endOf(m)}
	d.fault = l.dataFault(m)
	if m.Kind == backup.KindComplete {
		d.complete = m
		return d
	}
	base := l.byID[m.BaseID]
	if fault := baseFault(m, base); fault != "" {
		d.fault = fault
		return d
	}
	d.base, d.complete = base, base.complete
	if base.fault != "" {
		d.fault = base.fault
	}
	return d
}

func (l *ledger) dataFault(m *backup.Manifest) string {
	for i := range m.Streams {
		if key := l.absent(m.Streams[i].Objects); key != "" {
			return fmt.Sprintf("%s needs the object %s, which the store does not have", title(m), key)
		}
	}
	return ""
}

func baseFault(m *backup.Manifest, base *dataChain) string {
	switch {
	case base == nil:
		return fmt.Sprintf("%s builds on backup %d, of which there is no manifest", title(m), m.BaseID)
	case m.Kind == backup.KindDifferential && base.last.Kind != backup.KindComplete:
		return fmt.Sprintf("%s builds on %s, which is not a complete one", title(m), title(base.last))
	case m.DatabaseUUID != "" && base.last.DatabaseUUID != "" && m.DatabaseUUID != base.last.DatabaseUUID:
		return fmt.Sprintf("%s builds on %s, but that one is of another database (%s, not %s)",
			title(m), title(base.last), base.last.DatabaseUUID, m.DatabaseUUID)
	default:
		return ""
	}
}

// deltas are all but the complete backup, in the order of their restore.
func (d *dataChain) deltas() []*backup.Manifest {
	var deltas []*backup.Manifest
	for ; d != nil && d.base != nil; d = d.base {
		deltas = append(deltas, d.last)
	}
	slices.Reverse(deltas)
	return deltas
}

// state is the time of the state that is in the files: that of the start.
func (d *dataChain) state() time.Time { return startOf(d.last) }

// startOf falls back on the backup id, which is the start in milliseconds.
func startOf(m *backup.Manifest) time.Time {
	if !m.Catalog.StartedAt.IsZero() {
		return m.Catalog.StartedAt
	}
	return time.UnixMilli(m.BackupID).UTC()
}

func endOf(m *backup.Manifest) time.Time {
	if !m.Catalog.EndedAt.IsZero() {
		return m.Catalog.EndedAt
	}
	return m.FinishedAt
}

// ReplayPositions tells for every volume that has a log where its replay begins
// after m; 0 where HANA did not say it.
func ReplayPositions(m *backup.Manifest) map[int]int64 {
	positions := make(map[int]int64)
	for i := range m.Streams {
		positions[m.Streams[i].VolumeID] = 0
	}
	for i := range m.Catalog.Files {
		f := &m.Catalog.Files[i]
		if p, known := positions[f.VolumeID]; !known || p == 0 || f.RedoLogPosition > 0 && f.RedoLogPosition < p {
			positions[f.VolumeID] = f.RedoLogPosition
		}
	}
	delete(positions, backup.TopologyVolume)
	return positions
}

func title(m *backup.Manifest) string { return fmt.Sprintf("%s backup %d", m.Kind, m.BackupID) }
