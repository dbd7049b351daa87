// Package logship ships the log and catalog backups that HANA writes by itself
// from the volume to the store, for as long as the daemon runs: one [Shipper]
// for each database.
//
// HANA frees a log segment as soon as its backup is a file (SAP HANA
// administration guide), so the copy in the store is the only one left once the
// file is gone. A file is therefore removed from the volume only when all of
// this holds:
//
//	stored     its object was committed, all or nothing, and what HANA wrote did
//	           not change while it was read
//	indexed    an index that names it was committed after it, and read back
//	checked    the object was read back in full and has the SHA-256 and size of
//	           the file (Config.Verify stat: the size alone)
//	confirmed  HANA's catalog calls the backup successful and knows the file,
//	           with its size
//	old        it is older than Config.KeepFor
//
// A catalog backup need not be confirmed itself when a later one was shipped and
// confirmed: HANA lists the catalog backup that follows a data backup with that
// and not with the log backups, and it is of no use any more.
//
// Everything else is a state, told by [Shipper.Status], by a metric and in the
// log: a store or a HANA that is away, a file that changes or vanishes, an
// object of other content (a conflict: it is not overwritten, and the file is not
// removed), a gap. None of them stops the other files.
//
// A file that HANA's catalog did not confirm may be cut off, because HANA paused
// while it wrote, or be of a backup that failed. It is no proof: neither the
// recovery point nor a gap's end rests on it. When the catalog confirms the file
// on the volume with another size than what was stored before, that is replaced;
// what was confirmed once, or what no index names, never is.
//
// # Indexes
//
// What no index names is not part of a history. An index lists the files that
// arrived together; within a volume no file is indexed before an earlier one
// that stands on disk. A later index may list a name again, because HANA
// confirmed or finished the file since, or because a crash came between the index and the
// removal. Readers take the entry of the newest index, by sequence. Sequences
// are the time of writing in milliseconds, moved on where that is taken.
//
// # Crashes
//
// Nothing is kept but files, objects, indexes and breaks. A new Shipper reads the
// newest indexes and does for each file on the volume what is left to do. An
// object that is there already is read and compared: equal, it is indexed.
//
// # Gaps
//
// What one log backup of a volume ends with, the next one begins with (seen in
// real listings of HANA 2.0). Where the beginning is missing, the file waits
// for Config.GapPatience if HANA's catalog knows of a backup that may still
// come, or cannot be asked; then the gap is recorded. It ends when the missing
// file comes, and counts no more when the store has a data backup that begins
// behind it. A Shipper looks back to the newest data backup in the store that can
// be restored, and a day more; without one there is no recovery point. The whole
// history is the planner's of a restore. After a recovery positions may begin
// again: log on two sides of a break is never joined. A database that was dropped
// and made anew is not told from one that sends a file twice.
//
// # Breaks
//
// HANA tells in a view when the log was interrupted, by a recovery for example. A
// Shipper records each of them as an object of its own, before it indexes log
// that came after its last question: HANA may forget it, and the data backup whose
// manifest would tell of it may get lost. What follows a break is of no use before
// the store has a complete backup from after it.
//
// HANA itself was never at hand. Names and positions are from real listings;
// that BACKUP_SIZE of the catalog is the size of the file, to the byte, is an
// assumption: where it does not hold, no file is ever removed or counts for a
// recovery point, and the status says why.
package logship
