// Package job is the conductor: it brings front door, store and HANA together
// into backups, restores and verifications, and decides what may be called
// good. Order, cancellation and commit live here and nowhere else.
package job
