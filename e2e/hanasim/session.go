package hanasim

import (
	"context"
	"fmt"
	"strings"

	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim/landscape"
	"github.com/pipestreamer/pipestreamer/e2e/hanasim/statement"
	"github.com/pipestreamer/pipestreamer/e2e/hanasim/views"
	"github.com/pipestreamer/pipestreamer/e2e/hanasim/wire"
)

// Locate tells where a database is reached; part of [wire.Backend].
func (s *System) Locate(listener, database string) (host string, port int, here bool, err error) {
	if database == listener {
		return "", 0, true, nil
	}
	d := s.doors[database]
	if d == nil {
		return "", 0, false, &wire.Error{Code: 2, State: "HY000", Text: fmt.Sprintf("general error: database %q does not exist", database)}
	}
	return s.config.Listen, d.port.number(), false, nil
}

// Password gives a user's password; part of [wire.Backend].
func (s *System) Password(_, user string) (string, error) { return s.users.password(user) }

// Open starts a session; part of [wire.Backend].
func (s *System) Open(listener, user string) (wire.Session, error) {
	s.users.loggedIn(user)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lastSession++
	id := 200000 + s.lastSession
	opened := &session{system: s, database: listener, reader: views.Reader{User: user, Connection: id}}
	s.sessions[id] = opened
	return opened, nil
}

// session is one client's.
type session struct {
	system   *System
	database string
	control  bool // it is an order at the control port
	reader   views.Reader

	cancel context.CancelFunc // of the running statement; guarded by System.mu
}

// Close ends the session; part of [wire.Session].
func (c *session) Close() {
	c.system.mu.Lock()
	defer c.system.mu.Unlock()
	delete(c.system.sessions, c.reader.Connection)
}

func (c *session) engine() *views.Engine { return c.system.doors[c.database].engine }

// Describe tells a statement's types; part of [wire.Session].
func (c *session) Describe(text string) (parameters, columns []wire.Column, err error) {
	parsed, err := statement.Parse(text)
	if err != nil {
		return nil, nil, err
	}
	if _, query := parsed.(statement.Query); query {
		return c.engine().Describe(c.reader, text)
	}
	return nil, nil, nil
}

// Execute runs a statement; part of [wire.Session].
func (c *session) Execute(ctx context.Context, text string, arguments []any) (wire.Result, error) {
	parsed, err := statement.Parse(text)
	if err != nil {
		return wire.Result{}, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c.running(cancel)
	defer c.running(nil)
	if _, query := parsed.(statement.Query); query {
		if err := c.readCatalog(ctx, text); err != nil {
			return wire.Result{}, err
		}
		reader := c.reader
		reader.Clock = c.system.land.Clock()
		return c.engine().Query(ctx, reader, source{c}, text, arguments)
	}
	c.system.log.Info("statement", zap.String("database", c.database), zap.String("user", c.reader.User), zap.String("sql", text))
	return wire.Result{}, c.run(ctx, parsed)
}

// readCatalog fails for a query of the backup catalog, or hangs until the client
// gives up, when the simulator was told to. It comes before the views, which
// serve one query at a time.
func (c *session) readCatalog(ctx context.Context, query string) error {
	if !strings.Contains(strings.ToUpper(query), "M_BACKUP_CATALOG") {
		return nil
	}
	shot, err := c.system.land.Snapshot(c.database)
	if err != nil {
		return err
	}
	switch shot.Settings.Catalog {
	case landscape.CatalogError:
		return failed("[8022830] ltt::exception caught while operating on IDBackupCatalog")
	case landscape.CatalogHang:
		<-ctx.Done()
		return context.Cause(ctx)
	}
	return nil
}

func (c *session) running(cancel context.CancelFunc) {
	c.system.mu.Lock()
	defer c.system.mu.Unlock()
	c.cancel = cancel
}

// run carries out what is not a query.
func (c *session) run(ctx context.Context, parsed any) error {
	switch p := parsed.(type) {
	case statement.Nothing:
		return nil
	case statement.Sim:
		return c.sim(ctx, p)
	case statement.Backup:
		return c.backup(ctx, p)
	case statement.BackupCancel:
		if err := c.require(backupAdmin, backupOperator, databaseBackupAdmin, databaseBackupOperator); err != nil {
			return err
		}
		return c.system.land.CancelBackup(c.database, p.BackupID)
	case statement.CatalogDelete:
		return c.deleteEntries(p)
	case statement.SwitchDatabase:
		return c.switchDatabase(p) //nolint:contextcheck // clients outlive whoever starts a database
	case statement.Recover:
		return c.recover(ctx, p)
	case statement.CancelSession:
		return c.cancelSession(p)
	case statement.Configure:
		return c.configure(p)
	default:
		return fmt.Errorf("statement %T: not carried out", parsed)
	}
}

func (c *session) require(privileges ...string) error {
	return c.system.users.require(c.reader.User, privileges...)
}
