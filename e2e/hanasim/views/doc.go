// Package views answers SELECT over the simulator's system views with an
// embedded SQL engine (SQLite, in memory), so that any query works, with the
// types that HANA gives the columns. Queries are rewritten where the dialects
// differ, and the engine's errors become HANA's.
package views
