package landscape

import (
	"fmt"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim/files"
)

// The kinds of data backups.
const (
	complete     = "complete"
	differential = "differential"
	incremental  = "incremental"

	dataBackup = " data backup" // what a kind's entry type ends with
)

func isDelta(kind string) bool { return kind == differential || kind == incremental }

// base gives the backup on which a delta would build: the last successful
// complete backup, or for an incremental one the last successful data backup of
// any kind, of the present history. It is nil when there is none.
func (d *database) base(kind string) *Entry {
	var base *Entry
	for _, e := range d.entries {
		usable := e.State == StateSuccessful && e.History == d.history
		switch {
		case !usable:
		case e.Type == complete+dataBackup:
			base = e
		case base != nil && kind == incremental && (e.Type == differential+dataBackup || e.Type == incremental+dataBackup):
			base = e
		}
	}
	return base
}

// since gives where the redo log of a volume stood in a data backup.
func (e *Entry) since(volume int) int64 {
	for _, f := range e.Files {
		if f.Volume == volume && f.Source == sourceVolume {
			return f.Header.Log.Last
		}
	}
	return 0
}

// deltaOf makes what a delta backup holds of each volume: the records since its
// base, padded. The topology is as in a complete backup (assumed).
func (s *System) deltaOf(r *run, base *Entry) {
	r.base, r.data = base.ID, map[int][]byte{}
	for id, log := range r.database.redo {
		first := base.since(id)
		data := encodeRecords(log.since(first))
		r.data[id], r.first[id] = data, first
		r.contents[id] = files.Content{
			Seed: s.random.Uint64(), Volume: id, Size: max(s.settings.DeltaSize, int64(len(data))), Compressible: s.settings.Compressible,
		}
	}
}

// deltaSizes estimates delta backups; there is none without a complete one.
func (s *System) deltaSizes(d *database) map[string]map[int]int64 {
	sizes := map[string]map[int]int64{}
	for _, kind := range []string{differential, incremental} {
		base := d.base(kind)
		if base == nil {
			return nil
		}
		sizes[kind] = map[int]int64{}
		for id, log := range d.redo {
			sizes[kind][id] = max(s.settings.DeltaSize, int64(len(log.since(base.since(id)))*recordSize))
		}
	}
	return sizes
}

// fileName gives the path of a file of a data backup. That of a delta is from
// memory.
func (r *run) fileName(volume, part int) string {
	if r.base == 0 {
		return partPath(r.path, volume, part)
	}
	return fmt.Sprintf("%s_databackup_%s_%d_%d_%d_%d", r.path, r.kind, r.base, r.entry.ID, volume, part)
}
