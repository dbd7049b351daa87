package chain

import (
	"slices"
	"time"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// Target is what a restore is asked for: exactly one of the three.
type Target struct {
	// Until is a point in time.
	Until time.Time
	// Latest is the newest point that can be reached.
	Latest bool
	// BackupID is the state of one data backup, without log.
	BackupID int64
}

// Chain is everything that HANA must be handed, in the order of its use.
type Chain struct {
	Complete *backup.Manifest
	// Deltas are sorted by their order of use.
	Deltas []*backup.Manifest
	// Logs are what HANA must read to get there, sorted by volume and log position.
	// Of files that overlap or hold the same all are here: HANA chooses by its
	// catalog. Without any, the recovery is one to a backup, not to a point in time.
	Logs []backup.LogFile
	// Further are what HANA may want to read as well, sorted alike, none of Logs:
	// the next ones, and those of volumes that came after the data backup.
	Further []backup.LogFile
	// Catalog is nil when HANA does not need one: for a complete backup alone.
	Catalog *backup.LogFile
	// Reaches is the time of the state after the restore: everything that was
	// committed before it is there.
	Reaches time.Time
	// Skipped are the backup ids of newer data backups that cannot be used. HANA's
	// catalog names them, so that HANA may ask for them unless it is told where to
	// begin. They are sorted.
	Skipped []int64
	// Notes say what could not be proven, for the operator.
	Notes []string
}

// Last is the data backup from which the log is replayed.
func (c *Chain) Last() *backup.Manifest {
	if n := len(c.Deltas); n > 0 {
		return c.Deltas[n-1]
	}
	return c.Complete
}

// Data are the data backups in the order of their use.
func (c *Chain) Data() []*backup.Manifest {
	return append([]*backup.Manifest{c.Complete}, c.Deltas...)
}

// Needs is how much a restore moves, in bytes as HANA reads them.
type Needs struct {
	// DataFiles and DataBytes are what HANA reads of data backups.
	DataFiles int   `json:"data_files"`
	DataBytes int64 `json:"data_bytes"`
	// StagedFiles and StagedBytes are log backups and the catalog: they must lie
	// in a directory before HANA is told to begin.
	StagedFiles int   `json:"staged_files"`
	StagedBytes int64 `json:"staged_bytes"`
	// Objects are all that must be in the store.
	Objects int `json:"objects"`
}

// Staged are the files that must lie in a directory: Logs, Further, the catalog.
func (c *Chain) Staged() []backup.LogFile {
	staged := slices.Concat(c.Logs, c.Further)
	if c.Catalog != nil {
		staged = append(staged, *c.Catalog)
	}
	return staged
}

// Objects are all that must be in the store, in the order of their use.
func (c *Chain) Objects() []backup.Object {
	var objects []backup.Object
	for _, m := range c.Data() {
		for i := range m.Streams {
			objects = append(objects, m.Streams[i].Objects...)
		}
	}
	staged := c.Staged()
	for i := range staged {
		objects = append(objects, staged[i].Objects...)
	}
	return objects
}

// Needs adds up what the chain moves.
func (c *Chain) Needs() Needs {
	needs := Needs{Objects: len(c.Objects())}
	for _, m := range c.Data() {
		needs.DataFiles += len(m.Streams)
		needs.DataBytes += m.Bytes()
	}
	staged := c.Staged()
	needs.StagedFiles = len(staged)
	for i := range staged {
		needs.StagedBytes += staged[i].Size
	}
	return needs
}
