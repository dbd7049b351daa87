package job

import "time"

// Config shapes a Conductor.
type Config struct {
	// Tool names this program and its version in manifests.
	Tool string
	// SID is the system that this daemon belongs to; HANA must agree.
	SID string
	// Directory is where HANA writes and reads, the same path in both
	// containers.
	Directory string
	// StateDirectory keeps the journal.
	StateDirectory string
	// ReserveTimeout is how long a backup may wait for other jobs to free the
	// memory that it needs. Default 1 min.
	ReserveTimeout time.Duration
	// OpenTimeout is how long HANA may take from the statement to the first
	// byte of any stream, and from the end of one to the first byte of the next
	// when no other is open. Default 10 min.
	OpenTimeout time.Duration
	// OutageTolerance is how long the store asks again, 0 where that is not known. It
	// is only told.
	OutageTolerance time.Duration
	// StallTimeout is how long a stream may stand still before an alarm names
	// the side that it waits for. Default 2 min.
	StallTimeout time.Duration
	// IdleTimeout is how long HANA may write nothing at all, to no stream, once
	// it has begun and before it has answered. Default 1 h.
	IdleTimeout time.Duration
	// StoreTimeout is how long the store may take nothing at all while a stream
	// waits for it. It has to exceed what the store itself tolerates. Default
	// 30 min.
	StoreTimeout time.Duration
	// AnswerTimeout bounds the wait for what HANA has to say after its streams
	// ended: its answer, or a late catalog row. Default 5 min.
	AnswerTimeout time.Duration
	// EndTimeout is how long a stream may stay without a byte and without an
	// end once HANA has answered. Default 30 s.
	EndTimeout time.Duration
	// CommitTimeout bounds making the objects visible; a second for each 32 MiB
	// is added, because some stores copy for it. Default 10 min.
	CommitTimeout time.Duration
	// CleanTimeout bounds each step of cleaning up. Default 1 min.
	CleanTimeout time.Duration
	// Door says how streams come in. Default DoorAuto, or DoorFIFO without a
	// Parts.NewSpool.
	Door Door
	// KeepFor is how long files that the store has stay on the volume.
	KeepFor time.Duration
	// ShipsLogs says that HANA's backups of its catalog go to the store, without
	// which no delta can be restored.
	ShipsLogs bool
	// NoSHA256 leaves the SHA-256 of streams out of uploads and manifests.
	NoSHA256 bool
	// DeleteLost removes a lost backup from HANA's catalog.
	DeleteLost bool
}

func (c Config) withDefaults() Config {
	for _, d := range []struct {
		value *time.Duration
		def   time.Duration
	}{
		{&c.ReserveTimeout, time.Minute},
		{&c.OpenTimeout, 10 * time.Minute},
		{&c.StallTimeout, 2 * time.Minute},
		{&c.IdleTimeout, time.Hour},
		{&c.StoreTimeout, 30 * time.Minute},
		{&c.AnswerTimeout, 5 * time.Minute},
		{&c.EndTimeout, 30 * time.Second},
		{&c.CommitTimeout, 10 * time.Minute},
		{&c.CleanTimeout, time.Minute},
	} {
		if *d.value <= 0 {
			*d.value = d.def
		}
	}
	if c.Door == "" {
		c.Door = DoorAuto
	}
	return c
}
