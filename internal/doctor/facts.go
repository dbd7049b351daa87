package doctor

import (
	"slices"
	"time"

	"github.com/pipestreamer/pipestreamer/internal/doctor/host"
	"github.com/pipestreamer/pipestreamer/pkg/hdbtrigger"
)

// Facts are everything that is known.
type Facts struct {
	Settings Settings
	// Databases are those that are asked about. HANA has what HANA says of each,
	// in the same order; HANAError is why it says nothing more.
	Databases []string
	HANA      []hdbtrigger.Inspection
	HANAError error
	Directory host.Directory
	State     host.State
	Kernel    host.Kernel
	Memory    host.Memory
	Store     Store
	// Doors is what the daemon has learnt, by version of HANA.
	Doors      map[string]Door
	DoorsError error
	// Stopped are the databases that a restore has left stopped, as far as the
	// daemon's journal is readable here, each with its job.
	Stopped map[string]string
	Now     time.Time
}

// Settings are those of the configuration that matter here.
type Settings struct {
	SID, Host string
	// TLS says that the connection to HANA has it, Insecure that no certificate is
	// checked.
	TLS, Insecure bool
	// LogDirectory is where log backups are shipped from, empty for none; Logs are
	// those of databases below it. LogDirectoryError is why it cannot be looked at
	// here.
	LogDirectory      string
	LogDirectoryError error
	Logs              []host.LogDirectory
	// Door is auto, fifo or spool.
	Door string
	// SpoolOwner is HANA's user id, or -1.
	SpoolOwner int
	// DeleteLost removes a lost backup from HANA's catalog.
	DeleteLost   bool
	MemoryBudget int64
}

// Store is what the store says.
type Store struct {
	// Error is why a small object cannot be written, read and removed.
	Error error
	// Ahead is by how much its clock is ahead of ours, right to Within; ClockError
	// says why that is not known.
	Ahead, Within time.Duration
	ClockError    error
}

// Door is what is known of one version of HANA.
type Door struct {
	Refused        bool
	Job            string
	At             time.Time
	Recommendation string
	Summary        string
}

// The values of Settings.Door.
const (
	doorFIFO  = "fifo"
	doorSpool = "spool"
)

// Judge makes findings of facts, in the order in which one would mend things.
func Judge(f *Facts) []Finding {
	return slices.Concat(
		judgeConnection(f), judgePrivileges(f), judgeDatabases(f), judgeDirectory(f), judgeLogDirectory(f), judgeKernel(f), judgeState(f), judgeMemory(f), judgeStore(f), judgeDoor(f))
}
