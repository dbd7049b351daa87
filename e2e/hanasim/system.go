package hanasim

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"

	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim/landscape"
	"github.com/pipestreamer/pipestreamer/e2e/hanasim/statement"
	"github.com/pipestreamer/pipestreamer/e2e/hanasim/views"
	"github.com/pipestreamer/pipestreamer/e2e/hanasim/wire"
)

// System is a running simulated HANA. Its methods may be called at once.
type System struct {
	config  Config
	log     *zap.Logger
	land    *landscape.System
	doors   map[string]*door // by database
	users   *users
	control *control

	background sync.WaitGroup // crashes that a client asked for

	mu          sync.Mutex
	sessions    map[int64]*session
	lastSession int64
	crashed     []string // databases, until Restart
	closed      bool
}

// door is where one database is reached.
type door struct {
	port   *port
	engine *views.Engine

	mu     sync.Mutex // held while server changes
	server *wire.Server
	served chan error // what Serve returned
}

// Start makes the system and returns when every database accepts clients. The
// caller closes it.
func Start(config Config, log *zap.Logger) (*System, error) {
	if err := config.fillIn(); err != nil {
		return nil, err
	}
	land, err := landscape.New(config.landscape(), log)
	if err != nil {
		return nil, fmt.Errorf("make landscape: %w", err)
	}
	s := &System{
		config: config, log: log.Named("hanasim"), land: land,
		doors: map[string]*door{}, sessions: map[int64]*session{}, users: newUsers(config),
	}
	for _, name := range land.Names() {
		if err := s.addDoor(name); err != nil {
			return nil, errors.Join(fmt.Errorf("start %s: %w", name, err), s.Close())
		}
	}
	if err := s.openControl(); err != nil {
		return nil, errors.Join(fmt.Errorf("start control port: %w", err), s.Close())
	}
	return s, nil
}

func (s *System) addDoor(name string) error {
	number := 0
	if name == landscape.SystemDB {
		number = s.config.Port
	}
	port, err := reservePort(s.config.Listen, number)
	if err != nil {
		return err
	}
	engine, err := views.Open(context.Background(), name == landscape.SystemDB)
	if err != nil {
		return errors.Join(err, port.release())
	}
	s.doors[name] = &door{port: port, engine: engine}
	return s.open(name)
}

// open lets clients of a database in.
func (s *System) open(name string) error {
	d := s.doors[name]
	d.mu.Lock()
	defer d.mu.Unlock()
	listener, err := d.port.listen()
	if err != nil {
		return err
	}
	server := wire.NewServer(name, s, s.log, s.config.TLS)
	d.server, d.served = server, make(chan error, 1)
	go func(served chan<- error) {
		err := server.Serve(listener)
		if errors.Is(err, net.ErrClosed) {
			err = nil // shut came first
		}
		served <- err
	}(d.served)
	return nil
}

// shut cuts the clients of a database; its port refuses connections then.
func (s *System) shut(name string) error {
	d := s.doors[name]
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.server == nil {
		return nil
	}
	err := errors.Join(d.server.Close(), <-d.served)
	d.server = nil
	return err
}

// Control gives host:port of the control port; see [Send].
func (s *System) Control() string { return s.control.port.address }

// Addr gives host:port of a database. An unknown name gives "".
func (s *System) Addr(database string) string {
	if d := s.doors[database]; d != nil {
		return d.port.address
	}
	return ""
}

// Content gives what the volumes of a database hold, the topology first. An
// unknown database has none.
func (s *System) Content(database string) []Content {
	shot, err := s.land.Snapshot(database)
	if err != nil {
		return nil
	}
	return shot.Contents
}

// Destroy replaces the content of every volume of a database: data loss.
func (s *System) Destroy(database string) error { return s.land.Destroy(database) }

// Resize gives a volume new content of a size, or adds it.
func (s *System) Resize(database string, volume Volume) error {
	return s.land.Resize(database, volume)
}

// Points tells by volume where the redo logs of a database stand. The topology
// has none; an unknown database has no volumes.
func (s *System) Points(database string) map[int]Point {
	shot, err := s.land.Snapshot(database)
	if err != nil {
		return nil
	}
	return shot.Points
}

// Work commits n records in every volume of a running database.
func (s *System) Work(database string, n int) error { return s.land.Work(database, n) }

// LogBackup backs up now what is in no log backup yet.
func (s *System) LogBackup(ctx context.Context, database string) error {
	return s.land.LogBackup(ctx, database)
}

// LogBurst commits a record in every volume and backs up the logs, n times.
func (s *System) LogBurst(ctx context.Context, database string, n int) error {
	return s.land.LogBurst(ctx, database, n)
}

// Set changes a setting; README.md lists the keys.
func (s *System) Set(key, value string) error {
	if handled, err := s.users.set(key, value); handled {
		return err
	}
	return s.land.Set(key, value)
}

// StopDatabase stops a database as ALTER SYSTEM STOP DATABASE does.
func (s *System) StopDatabase(name string) error {
	if err := s.land.SetOnline(name, false); err != nil {
		return err
	}
	return s.shut(name)
}

// StartDatabase starts a stopped database.
func (s *System) StartDatabase(name string) error {
	if err := s.land.SetOnline(name, true); err != nil {
		return err
	}
	return s.open(name)
}

// Crash ends the whole system as a power failure does: every connection is cut,
// ports refuse, what is being written stays as it is. What ran comes back with
// Restart.
func (s *System) Crash() error {
	names := s.land.Crash()
	var errs []error
	for _, name := range names {
		errs = append(errs, s.shut(name))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.crashed = append(s.crashed, names...)
	return errors.Join(errs...)
}

// Restart starts what a crash took down.
func (s *System) Restart() error {
	s.background.Wait()
	s.mu.Lock()
	names := s.crashed
	s.crashed = nil
	s.mu.Unlock()
	var errs []error
	for _, name := range names {
		errs = append(errs, s.StartDatabase(name))
	}
	return errors.Join(errs...)
}

// Stalled counts the stalls that last until they are resumed or cancelled.
func (s *System) Stalled() int { return s.land.Stalled() }

// Recover recovers a stopped database and starts it, as RECOVER does. It returns
// an *wire.Error when the backups cannot be used.
func (s *System) Recover(ctx context.Context, name string, r Recovery) error {
	if err := s.land.Recover(ctx, name, r); err != nil {
		return err
	}
	return s.StartDatabase(name) //nolint:contextcheck // clients outlive whoever starts a database
}

// RecoverSystemDB stands for recoverSys.py --wait: it stops the whole system,
// recovers SYSTEMDB and starts what ran before. The command is a whole RECOVER
// statement, or the path prefix of a complete backup. After an error the system
// stays down.
func (s *System) RecoverSystemDB(ctx context.Context, command string) error {
	request, err := systemRecovery(command)
	if err != nil {
		return err
	}
	stopped, err := s.stopAll()
	if err != nil {
		return err
	}
	if err := s.Recover(ctx, landscape.SystemDB, request); err != nil {
		return err
	}
	var errs []error
	for _, name := range stopped {
		errs = append(errs, s.StartDatabase(name)) //nolint:contextcheck // clients outlive whoever starts a database
	}
	return errors.Join(errs...)
}

// systemRecovery reads what recoverSys.py is told.
func systemRecovery(command string) (Recovery, error) {
	if !strings.HasPrefix(strings.ToUpper(strings.TrimSpace(command)), "RECOVER ") {
		return Recovery{Path: command, ClearLog: true}, nil
	}
	parsed, err := statement.Parse(command)
	if err != nil {
		return Recovery{}, err
	}
	p, ok := parsed.(statement.Recover)
	if !ok || (p.Database != "" && p.Database != landscape.SystemDB) {
		return Recovery{}, refused(command + " for SYSTEMDB")
	}
	return recovery(p), nil
}

// stopAll stops every database and gives the tenants that ran.
func (s *System) stopAll() (tenants []string, err error) {
	for _, name := range s.land.Names() {
		shot, err := s.land.Snapshot(name)
		if err != nil {
			return nil, err
		}
		if !shot.Online {
			continue
		}
		if err := s.StopDatabase(name); err != nil {
			return nil, err
		}
		if name != landscape.SystemDB {
			tenants = append(tenants, name)
		}
	}
	return tenants, nil
}

// Close ends every session, backup and recovery and waits for them. It may be
// called again, and does nothing then.
func (s *System) Close() error {
	s.mu.Lock()
	again := s.closed
	s.closed = true
	s.mu.Unlock()
	if again {
		return nil
	}
	s.land.Close()
	s.background.Wait()
	var errs []error
	if s.control != nil {
		errs = append(errs, s.control.close())
	}
	for name, d := range s.doors {
		errs = append(errs, s.shut(name), d.engine.Close(), d.port.release())
	}
	return errors.Join(errs...)
}
