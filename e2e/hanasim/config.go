package hanasim

import (
	"crypto/tls"
	"errors"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim/files"
	"github.com/pipestreamer/pipestreamer/e2e/hanasim/landscape"
)

// Version is what M_DATABASE shows.
const Version = "2.00.088.00.1762790000"

// The nouns of the model; see landscape and files.
type (
	// Database is a database to simulate.
	Database = landscape.Database
	// Volume is a persistence of a database.
	Volume = landscape.Volume
	// Content is what a volume holds.
	Content = files.Content
	// Profile is a way of opening and naming files.
	Profile = files.Profile
	// Delay makes backups wait.
	Delay = landscape.Delay
	// Range is a range of durations.
	Range = landscape.Range
	// Recovery is a RECOVER.
	Recovery = landscape.Recovery
	// Point is where the redo log of a volume stands, and the state it led to.
	Point = landscape.Point
)

// The profiles; see files.
const (
	Plain          = files.Plain
	Dotname        = files.Dotname
	Replace        = files.Replace
	Direct         = files.Direct
	DirectFallback = files.DirectFallback
	Offset         = files.Offset
)

// User is a database user, the same in every database (assumed). It has every
// privilege but those of Missing.
type User struct {
	Name, Password string
	Missing        []string
}

// Config is the system to simulate.
type Config struct {
	// SID is HXE by default, Instance 90, Host (HANA's name of it) localhost.
	SID      string
	Instance int
	Host     string
	// Listen is the address to listen on, 127.0.0.1 by default, and Port that
	// of SYSTEMDB, 0 for any free one. The other ports are always free ones.
	Listen string
	Port   int
	// Databases has to include SYSTEMDB.
	Databases []Database
	// User is SYSTEM by default and has every privilege.
	User, Password string
	Users          []User
	// Profile is Plain by default.
	Profile Profile
	// WriteSize is the size of a write in bytes, 1 MiB by default.
	WriteSize int
	// HeaderPass makes RECOVER read all headers before it reads the files.
	HeaderPass bool
	// Compressible makes half of each content zeros.
	Compressible bool
	Delay        Delay
	// BackupDir takes backups whose prefix has no directory; LogDir, when set,
	// takes the backups of the catalog.
	BackupDir, LogDir string
	// TLS, when set, lets clients speak TLS on the same ports.
	TLS *tls.Config
	// Seed makes contents and delays reproducible.
	Seed uint64
}

func (c *Config) fillIn() error {
	setDefault(&c.SID, "HXE")
	setDefault(&c.Instance, 90)
	setDefault(&c.Host, "localhost")
	setDefault(&c.Listen, "127.0.0.1")
	setDefault(&c.User, "SYSTEM")
	if c.Password == "" {
		return errors.New("config: no password")
	}
	return nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func (c *Config) landscape() landscape.Config {
	return landscape.Config{
		SID: c.SID, Host: c.Host, Instance: c.Instance, Databases: c.Databases, BackupDir: c.BackupDir, LogDir: c.LogDir, Seed: c.Seed,
		Settings: landscape.Settings{
			Profile: c.Profile, WriteSize: c.WriteSize, HeaderPass: c.HeaderPass, Compressible: c.Compressible, Delay: c.Delay,
		},
	}
}
