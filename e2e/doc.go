// Package e2e holds the tests that run the compiled daemon against the HANA
// simulator and a real S3 server, and those that run what the documents say.
// It has no code of its own.
package e2e
