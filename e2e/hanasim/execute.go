package hanasim

import (
	"context"
	"strconv"

	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim/landscape"
	"github.com/pipestreamer/pipestreamer/e2e/hanasim/statement"
	"github.com/pipestreamer/pipestreamer/e2e/hanasim/wire"
)

func refused(text string) *wire.Error {
	return &wire.Error{Code: 7, State: "HY000", Text: "feature not supported: " + text}
}

func failed(text string) *wire.Error {
	return &wire.Error{Code: 2, State: "HY000", Text: "general error: " + text}
}

// target is the database that a statement with FOR means; FOR is possible in
// SYSTEMDB, and for the own database.
func (c *session) target(name string) (string, error) {
	if name == "" || name == c.database {
		return c.database, nil
	}
	if c.database != landscape.SystemDB {
		return "", refused("FOR another database outside of SYSTEMDB")
	}
	return name, nil
}

func (c *session) backup(ctx context.Context, p statement.Backup) error {
	database, err := c.target(p.Database)
	if err != nil {
		return err
	}
	privileges := []string{backupAdmin, backupOperator}
	if database != c.database {
		privileges = []string{databaseAdmin, databaseBackupAdmin, databaseBackupOperator}
	}
	if err := c.require(privileges...); err != nil {
		return err
	}
	return c.system.land.Backup(ctx, database, landscape.Request{Kind: p.Kind, Path: p.Path, Asynchronous: p.Asynchronous, Comment: p.Comment})
}

func (c *session) deleteEntries(p statement.CatalogDelete) error {
	database, err := c.target(p.Database)
	if err != nil {
		return err
	}
	if err := c.require(backupAdmin, databaseBackupAdmin); err != nil {
		return err
	}
	return c.system.land.DeleteEntries(database, p.BackupID, p.AllBefore, p.Complete)
}

func (c *session) switchDatabase(p statement.SwitchDatabase) error {
	if err := c.tenantFromSystemDB(p.Database); err != nil {
		return err
	}
	if p.Start {
		if err := c.require(databaseAdmin, databaseStart); err != nil {
			return err
		}
		return c.system.StartDatabase(p.Database)
	}
	if err := c.require(databaseAdmin, databaseStop); err != nil {
		return err
	}
	return c.system.StopDatabase(p.Database)
}

// recover is for tenants; SYSTEMDB has to be recovered by recoverSys.py, "SQL
// statements for recovery cannot be executed using the normal SQL clients".
func (c *session) recover(ctx context.Context, p statement.Recover) error {
	if err := c.tenantFromSystemDB(p.Database); err != nil {
		return err
	}
	if err := c.require(databaseAdmin, databaseRecoveryOperator); err != nil {
		return err
	}
	return c.system.Recover(ctx, p.Database, recovery(p))
}

func recovery(p statement.Recover) Recovery {
	return Recovery{
		Path: p.Path, BackupID: p.BackupID, Until: p.Until, Source: p.Source,
		CatalogPath: p.CatalogPath, DataPath: p.DataPath, LogPaths: p.LogPaths, ClearLog: p.ClearLog, CheckAccess: p.CheckAccess,
	}
}

func (c *session) tenantFromSystemDB(tenant string) error {
	switch {
	case c.database != landscape.SystemDB:
		return refused("statement is only allowed in SYSTEMDB")
	case tenant == "" || tenant == landscape.SystemDB:
		return refused("SYSTEMDB cannot be stopped, started or recovered by SQL")
	}
	return nil
}

func (c *session) cancelSession(p statement.CancelSession) error {
	if err := c.require(sessionAdmin); err != nil {
		return err
	}
	c.system.mu.Lock()
	defer c.system.mu.Unlock()
	other := c.system.sessions[p.ID]
	if other == nil {
		return failed("connection " + strconv.FormatInt(p.ID, 10) + " does not exist")
	}
	if other.cancel != nil {
		other.cancel()
	}
	return nil
}

func (c *session) configure(p statement.Configure) error {
	if err := c.require(inifileAdmin); err != nil {
		return err
	}
	for _, change := range p.Changes {
		parameter := landscape.Parameter{File: p.File, Layer: p.Layer, Tenant: p.Database, Section: change.Section, Key: change.Key}
		c.system.land.Configure(parameter, change.Value)
	}
	return nil
}

// sim carries out the statements to the simulator itself.
func (c *session) sim(ctx context.Context, p statement.Sim) error {
	arguments := append(p.Arguments, "", "", "", "") //nolint:gocritic // missing ones are empty
	var err error
	switch p.Verb {
	case "SET":
		err = c.system.Set(arguments[0], arguments[1])
	case "DESTROY":
		err = c.system.Destroy(arguments[0])
	case "RESIZE":
		err = c.resize(arguments[0], arguments[1], arguments[2])
	case "WORK":
		err = counted(arguments[1], func(n int) error { return c.system.Work(arguments[0], n) })
	case "LOGBACKUP":
		err = c.system.LogBackup(ctx, arguments[0])
	case "LOGBURST":
		err = counted(arguments[1], func(n int) error { return c.system.LogBurst(ctx, arguments[0], n) })
	case "CRASH":
		return c.crash()
	case "START":
		err = c.system.Restart() //nolint:contextcheck // clients outlive whoever starts a database
	case "RECOVER SYSTEMDB":
		if !c.control {
			return refused("SIM RECOVER SYSTEMDB at the port of a database, which it would stop")
		}
		return c.system.RecoverSystemDB(ctx, arguments[0])
	default:
		return refused("SIM " + p.Verb)
	}
	if err != nil {
		return failed(err.Error())
	}
	return nil
}

// counted calls do with a number.
func counted(text string, do func(n int) error) error {
	n, err := strconv.Atoi(text)
	if err != nil {
		return err
	}
	return do(n)
}

// crash ends this very session too, unless it is one of the control port.
func (c *session) crash() error {
	if c.control {
		return c.system.Crash()
	}
	c.system.background.Go(func() {
		if err := c.system.Crash(); err != nil {
			c.system.log.Error("crash", zap.Error(err))
		}
	})
	return wire.ErrHangUp
}

func (c *session) resize(database, volume, size string) error {
	id, err := strconv.Atoi(volume)
	if err != nil {
		return err
	}
	bytes, err := landscape.ParseSize(size)
	if err != nil {
		return err
	}
	return c.system.Resize(database, Volume{ID: id, Size: bytes})
}
