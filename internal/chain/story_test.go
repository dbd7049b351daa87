package chain_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/pipestreamer/pipestreamer/internal/chain"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// day is when every story begins.
var day = time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)

// at is a moment of the day, id the backup id of what began then.
func at(minute int) time.Time { return day.Add(time.Duration(minute) * time.Minute) }
func id(minute int) int64     { return at(minute).UnixMilli() }

type redo map[int]int64

// data is a backup from start on, of two minutes.
func data(kind backup.Kind, start, base int, positions redo) *backup.Manifest {
	m := &backup.Manifest{
		Version: backup.ManifestVersion, SID: "HXE", Database: "HXE", Kind: kind, BackupID: id(start), Prefix: fmt.Sprint("p", start),
		Catalog: backup.CatalogEntry{BackupID: id(start), StartedAt: at(start), EndedAt: at(start + 2)},
	}
	if base >= 0 {
		m.BaseID = id(base)
	}
	addVolume(m, backup.TopologyVolume, 0)
	for v, p := range positions {
		addVolume(m, v, p)
	}
	return m
}

func addVolume(m *backup.Manifest, volume int, position int64) {
	stream := backup.StreamID{VolumeID: volume, PartID: 1}
	m.Streams = append(m.Streams, backup.ManifestStream{
		StreamID: stream, Size: 1000,
		Objects: []backup.Object{{Key: backup.StreamKey(m.SID, m.Database, m.Prefix, stream), Size: 1000}},
	})
	m.Catalog.Files = append(m.Catalog.Files, backup.CatalogFile{VolumeID: volume, SourceType: backup.SourceVolume, RedoLogPosition: position})
}

func complete(start int, positions redo) *backup.Manifest {
	return data(backup.KindComplete, start, -1, positions)
}

func incremental(start, base int, positions redo) *backup.Manifest {
	return data(backup.KindIncremental, start, base, positions)
}

// log is a log backup that began at start, a minute after its last commit.
func log(volume int, first, last int64, start int) backup.LogFile {
	f := logFile(backup.LogName{VolumeID: volume, First: first, Last: last, BackupID: id(start)})
	f.LastCommit = at(start - 1)
	return f
}

// unconfirmed is f as HANA's catalog never confirmed it.
func unconfirmed(f backup.LogFile) backup.LogFile {
	f.Confirmed = false
	return f
}

func catalog(start int) backup.LogFile { return logFile(backup.LogName{BackupID: id(start)}) }

func logFile(name backup.LogName) backup.LogFile {
	f := backup.LogFile{Name: name.String(), Size: 10, Confirmed: true}
	f.Objects = []backup.Object{{Key: backup.LogKey("HXE", "HXE", f.Name), Size: 10}}
	return f
}

// without marks every object of files as missing.
func without(h chain.History, lost ...any) chain.History {
	h.Missing = make(map[string]bool)
	for _, l := range lost {
		switch l := l.(type) {
		case *backup.Manifest:
			h.Missing[l.Streams[1].Objects[0].Key] = true
		case backup.LogFile:
			h.Missing[l.Objects[0].Key] = true
		}
	}
	return h
}

func names(files []backup.LogFile) []string {
	var names []string
	for i := range files {
		names = append(names, files[i].Name)
	}
	return names
}

func ids(manifests []*backup.Manifest) []int64 {
	var ids []int64
	for _, m := range manifests {
		ids = append(ids, m.BackupID)
	}
	return ids
}

// unreachable expects that there is no plan.
func unreachable(t *testing.T, h chain.History, target chain.Target) *chain.Unreachable {
	t.Helper()
	c, err := chain.Plan(h, target)
	var e *chain.Unreachable
	if !errors.As(err, &e) {
		t.Fatalf("%s: planned from backups %v with log %v (%v), expected that it cannot be reached",
			target, ids(c.Data()), names(c.Logs), err)
	}
	return e
}

// plan expects that there is one.
func plan(t *testing.T, h chain.History, target chain.Target) chain.Chain {
	t.Helper()
	c, err := chain.Plan(h, target)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
