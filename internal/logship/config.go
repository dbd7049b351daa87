package logship

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
	"github.com/pipestreamer/pipestreamer/pkg/spool"
)

// Ways of the second check.
const (
	VerifyRead = "read"
	VerifyStat = "stat"
)

// Config says what is shipped and how. The zero value of a field that is not
// named as needed means its default.
type Config struct {
	// SID and Database are needed: whose log backups they are.
	SID, Database string
	// Tool is what the indexes name as their writer.
	Tool string
	// KeepFor is the age from which a file may be removed (0: at once).
	KeepFor time.Duration
	// Verify is the second check before a file is removed: VerifyRead (default)
	// reads the object back and compares its SHA-256, VerifyStat looks at the
	// size only.
	Verify string
	// Parallel is how many files are uploaded or read back at a time (8).
	Parallel int
	// BatchFiles is how many files an index takes at most (100). What was stored
	// when the process was killed and is in no index yet is stored once more.
	BatchFiles int
	// GapPatience is how long a file waits for an earlier one of its volume that
	// may still come (1 minute).
	GapPatience time.Duration
	// AskTimeout bounds a question to HANA (30 s).
	AskTimeout time.Duration
	// CleanTimeout bounds the clean-up of an upload that failed (10 s).
	CleanTimeout time.Duration
}

func (c Config) withDefaults() Config {
	if c.Verify == "" {
		c.Verify = VerifyRead
	}
	setDefault(&c.Parallel, 8)
	setDefault(&c.BatchFiles, 100)
	setDefault(&c.GapPatience, time.Minute)
	setDefault(&c.AskTimeout, 30*time.Second)
	setDefault(&c.CleanTimeout, 10*time.Second)
	return c
}

func setDefault[T int | time.Duration](field *T, value T) {
	if *field == 0 {
		*field = value
	}
}

func (c Config) check() error {
	if err := backup.CheckSID(c.SID); err != nil {
		return err
	}
	if name, err := backup.ParseDatabase(c.Database); err != nil || name != c.Database {
		return fmt.Errorf("database %q: expected the name of a database in upper case", c.Database)
	}
	if c.Verify != VerifyRead && c.Verify != VerifyStat {
		return fmt.Errorf("verify %q: expected %s or %s", c.Verify, VerifyRead, VerifyStat)
	}
	if c.Parallel < 0 || c.BatchFiles < 0 || c.KeepFor < 0 || c.GapPatience < 0 || c.AskTimeout < 0 || c.CleanTimeout < 0 {
		return errors.New("expected no negative numbers")
	}
	return nil
}

var _ Volume = (*spool.Watcher)(nil)

// Store is where the objects go.
type Store interface {
	backup.Store
	backup.StreamOpener
}

// Volume is the directory into which HANA writes the log backups of one
// database: a [spool.Watcher].
type Volume interface {
	// Next waits until there are finished files that it has not given yet, or until
	// it can look again after an error.
	Next(ctx context.Context) ([]spool.File, error)
	// Open reads a file. Its reader ends with io.EOF only if the file is still
	// the same one, of the same size and time.
	Open(f spool.File) (io.ReadCloser, error)
	// Again makes Next give the file of that name once more.
	Again(name string)
	// Space is that of the file system, in bytes.
	Space() (free, total int64, err error)
}

// Parts are what a Shipper works with. All are needed.
type Parts struct {
	Volume    Volume
	Store     Store
	Historian backup.Historian
	Bases     Bases
	// Remove removes f if it is still that file, and says whether it was: see
	// [spool.Remove].
	Remove func(f spool.File) (bool, error)

	// arrivals are shared by the Shippers of a Fleet; one alone has its own.
	arrivals *arrivals
}

func (p Parts) check() error {
	if p.Volume == nil || p.Store == nil || p.Historian == nil || p.Bases == nil || p.Remove == nil {
		return errors.New("expected a volume, a store, a historian, data backups and a way to remove files")
	}
	return nil
}
