// Package e2e holds the tests that run the compiled daemon against the HANA
// simulator and a real S3 server, and those that run what the documents say.
// It has no code of its own.
//
// The daemon is built once, without the race detector, as it is shipped;
// E2E_PIPESTREAMER names another one to test. With -short, what moves gigabytes
// is left out: a volume of 5 GiB to an S3 server and back, the memory that a
// stream of 20 GiB takes. Those and the 500 backups in a row are most of the
// time that the package takes.
package e2e
