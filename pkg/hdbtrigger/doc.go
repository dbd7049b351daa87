// Package hdbtrigger is the database room: it tells SAP HANA to back up, to
// cancel and to recover, and asks its catalog what came of it. It is the only
// importer of SAP/go-hdb.
//
// Everything goes through SYSTEMDB, so that one user suffices: tenants are
// named in the statement (BACKUP DATA FOR …) and looked at through the
// SYS_DATABASES views.
//
// Two kinds of connection are kept apart:
//
//   - Statements that change something (BACKUP, RECOVER, ALTER SYSTEM, CANCEL)
//     run on a fresh connection of their own. It has no read time limit,
//     because a backup says nothing until it is done, and TCP keep-alive and
//     TCP_USER_TIMEOUT instead: a host that vanishes without a word is noticed
//     after 75 s. Such a statement is sent once: go-hdb reports a lost connection
//     as driver.ErrBadConn, for which database/sql sends a statement again, up
//     to three times, everywhere but on a *sql.Conn.
//   - SELECTs run on a small pool with a time limit and may be sent again.
//
// What is said here about the order of statements and the texts of errors was
// tried against a simulator, not against a real HANA.
package hdbtrigger
