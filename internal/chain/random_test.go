package chain_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/pipestreamer/pipestreamer/internal/chain"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// span is the number of milliseconds that a history takes.
const span = 60

func randomHistory(r *rand.Rand) chain.History {
	h := chain.History{Missing: make(map[string]bool)}
	volumes := 1 + r.IntN(3)
	for start := 1 + r.IntN(8); start < span && len(h.Backups) < 5; start += 2 + r.IntN(22) {
		h.Backups = append(h.Backups, randomBackup(r, h.Backups, volumes, int64(start)))
	}
	for v := 2; v < 2+volumes+r.IntN(2); v++ {
		h.Logs = append(h.Logs, randomLog(r, v)...)
	}
	named := make(map[string]bool) // indexes say one thing of a name
	h.Logs = slices.DeleteFunc(h.Logs, func(f backup.LogFile) bool {
		again := named[f.Name]
		named[f.Name] = true
		return again
	})
	for range r.IntN(5) {
		h.Logs = append(h.Logs, randomCatalog(r, 1+r.Int64N(span+10)))
	}
	if r.IntN(3) > 0 {
		h.Logs = append(h.Logs, randomCatalog(r, span+r.Int64N(30)))
	}
	for range max(0, r.IntN(8)-5) {
		h.Breaks = append(h.Breaks, backup.Break{At: time.UnixMilli(1 + r.Int64N(span)), Reason: "RANDOM"})
	}
	lose(r, &h)
	r.Shuffle(len(h.Logs), func(i, j int) { h.Logs[i], h.Logs[j] = h.Logs[j], h.Logs[i] })
	r.Shuffle(len(h.Backups), func(i, j int) { h.Backups[i], h.Backups[j] = h.Backups[j], h.Backups[i] })
	return h
}

// randomCatalog is one that HANA may not have confirmed.
func randomCatalog(r *rand.Rand, id int64) backup.LogFile {
	f := logFile(backup.LogName{BackupID: id})
	f.Confirmed = r.IntN(4) > 0
	return f
}

// lose makes objects absent.
func lose(r *rand.Rand, h *chain.History) {
	rate := []int{0, 3, 10}[r.IntN(3)]
	for _, m := range h.Backups {
		for i := range m.Streams {
			if r.IntN(100) < rate {
				h.Missing[m.Streams[i].Objects[0].Key] = true
			}
		}
	}
	for i := range h.Logs {
		if r.IntN(100) < rate {
			h.Missing[h.Logs[i].Objects[0].Key] = true
		}
	}
}

// randomBackup mostly has the log position that its start would have.
func randomBackup(r *rand.Rand, before []*backup.Manifest, volumes int, start int64) *backup.Manifest {
	m := complete(0, nil)
	m.BackupID, m.Prefix = start, fmt.Sprint("p", start)
	m.Catalog.StartedAt = time.UnixMilli(start)
	m.Catalog.EndedAt = m.Catalog.StartedAt.Add(time.Duration(r.IntN(4)) * time.Millisecond)
	m.Streams, m.Catalog.Files, m.DatabaseUUID = nil, nil, "A"
	addVolume(m, backup.TopologyVolume, 0)
	for v := 2; v < 2+volumes; v++ {
		position := start
		switch r.IntN(12) {
		case 0:
			position = 0
		case 1:
			position = max(1, start+r.Int64N(9)-4)
		}
		addVolume(m, v, position)
	}
	if len(before) > 0 && r.IntN(3) > 0 {
		base := before[len(before)-1-r.IntN(min(2, len(before)))]
		m.Kind = backup.KindIncremental
		if r.IntN(3) == 0 {
			m.Kind, base = backup.KindDifferential, before[r.IntN(len(before))]
		}
		m.BaseID = base.BackupID
		if r.IntN(15) == 0 {
			m.BaseID = base.BackupID + 100
		}
		m.DatabaseUUID = base.DatabaseUUID
		if r.IntN(15) == 0 {
			m.DatabaseUUID = []string{"", "B"}[r.IntN(2)]
		}
	}
	return m
}

// randomLog is contiguous, with gaps, repetitions, overlaps and files that waited.
func randomLog(r *rand.Rand, volume int) []backup.LogFile {
	var files []backup.LogFile
	begin := 1 + r.Int64N(6)
	for begin < span {
		end := begin + 1 + r.Int64N(20)
		written := end
		if r.IntN(8) == 0 {
			written += r.Int64N(20)
		}
		f := logFile(backup.LogName{VolumeID: volume, First: begin, Last: end, BackupID: written})
		if r.IntN(3) == 0 {
			f.StartedAt = time.UnixMilli(max(1, written+r.Int64N(4)-1))
		}
		if r.IntN(3) == 0 {
			f.LastCommit = time.UnixMilli(max(1, end-r.Int64N(4)))
		}
		f.Confirmed = r.IntN(20) > 0
		if r.IntN(16) > 0 {
			files = append(files, f)
		}
		if r.IntN(10) == 0 {
			first := max(1, begin-r.Int64N(5))
			files = append(files, logFile(backup.LogName{
				VolumeID: volume, First: first, Last: max(first+1, end-r.Int64N(3)), BackupID: end + 1 + r.Int64N(9),
			}))
		}
		begin = end
	}
	return files
}
