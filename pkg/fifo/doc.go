// Package fifo is the front door made of named pipes: [Source] for a backup
// that HANA writes, [Sink] for a restore that HANA reads.
//
// A pipe cannot say whether its writer finished or died (fifo(7)): io.EOF from
// a Source is never success. What the package does promise is that whichever
// name HANA opens, a reader was there before, that bytes of two openings are
// not mixed, that whatever happens to the pipes is noticed, and that nobody
// stays blocked in open(2) when the front door closes.
//
// One inode serves one opening. As soon as the first bytes of an opening are
// seen (Source) or before they are written (Sink), another pipe takes the path,
// so that the next opening meets a pipe of its own.
//
// HANA 2.0 was seen to write under a hidden name and to rename it afterwards,
// with O_DIRECT, which a pipe refuses with EINVAL. A Source therefore arms both
// names. What a real HANA does with a pipe has only been tried on a simulator.
package fifo
