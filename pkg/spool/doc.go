// Package spool is the front door for files that HANA names itself: [Source] for
// the data backup of one job, [Watcher] for log and catalog backups that come at
// any time.
//
// # What is proven
//
// By tests on a Linux kernel: only regular files of the expected owner with one
// name are opened, relative to a directory in which no link was followed, and
// examined after opening. A finished file is read to exactly the size that it
// had; io.EOF is told only if the same inode with the same size and time of
// change still has its name then. No file is missed when the kernel loses
// events, because every directory is also scanned. Nothing is removed but a file
// that still is the one that was read.
//
// # What is assumed of HANA
//
// One real log line and one real trace show HANA writing under the final name
// with a dot before it; that it renames the file when it is done is inferred
// from listings. So a file counts as finished when it stands under its final
// name and its writer was seen to close it, or when its size and time of change
// did not move between two scans, or when HANA has ended the backup (Settle).
// io.EOF is not success here either: a job compares the sizes with HANA's
// catalog. HANA itself was never available to this project; all of this has
// only been tried on a simulator and on files that the tests write.
//
// # Following a file while it is written
//
// With Config.Follow a reader delivers bytes that HANA has written before HANA is
// done, and with Config.Punch it frees those that the store has, so that a backup
// passes that is larger than the free space. Proven is only what the file system
// shows: nothing behind a hole is delivered, nor within Config.FollowLag of the
// end; when the file is finished, its head is compared with what was delivered.
// Assumed, and never seen, is that HANA writes nothing else again: the checks of
// the last block, of size, time and name find some of that and not all. Where
// nothing was freed, a doubt costs only time, because everything delivered is
// then compared with the finished file. Nothing holds HANA back: if the store is
// slower than HANA, the file system fills all the same.
//
// Names of deltas are from memory; names of log and catalog backups were seen in
// real listings.
package spool
