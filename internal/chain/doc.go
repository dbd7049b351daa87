// Package chain plans restores: which data backups, log backups and backup of
// the catalog HANA must be handed so that it can reach a point in time, and
// whether it can be reached at all. It decides from manifests and log indexes
// alone and does no I/O.
//
// HANA itself finds its way through what it is handed, by its own catalog. What
// matters here is that a missing log does not make a recovery fail: it silently
// stops early (SAP KBA 3006027). So a point counts as reachable only when the
// indexes show that every log up to it is there:
//
//   - The state in a data backup is that of its start, and recovery to a point in
//     time may begin with it from its end on.
//   - From there each of its volumes needs log without a gap, up to a position of
//     which a log backup proves that it holds everything up to that time. A volume
//     without any later log proves nothing, though it may have been idle.
//   - Without the position at which the replay begins, every log backup since the
//     start of the data backup is needed.
//   - A log backup that HANA's catalog never confirmed counts as lost: it may be cut
//     off, or of a backup that failed. So does one that began more than a day before
//     the complete backup: a tenant of the same name may have had another life.
//   - HANA can use what the backup of the catalog knows: what has a smaller backup
//     id than it, and deltas that had ended. A complete backup alone needs none. One
//     that HANA's catalog never confirmed is used, with a note, when no other leads
//     there.
//   - An interruption of the log ends what began before it, and the log on one side
//     of it is not used with a data backup on the other: after a recovery HANA
//     gives the same positions to other log (assumed).
package chain
