// Package landscape is the simulator's model of a HANA system: its databases
// with their volumes and contents, their backup catalogs, and what BACKUP and
// RECOVER do to them. It knows no SQL and no network. Errors that HANA would
// report are *wire.Error.
package landscape
