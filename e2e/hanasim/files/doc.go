// Package files writes and reads the simulator's backup files: a header block
// as HANA's, then a payload that a few numbers reproduce, so that every byte of
// a file of any size can be checked without keeping it.
package files
