// Command pipestreamer backs up SAP HANA from a pod straight to object storage
// and restores it. "pipestreamer serve" is the daemon beside HANA; the other
// verbs talk to it, but for "doctor" and "restore --to-path", which work without.
//
// Exit status: 0 success, 1 failed, 2 usage or configuration, 3 findings, 4 lost
// (HANA believes in a backup that the store does not have), 130 cancelled, or
// interrupted while the job goes on.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// version is set by the build; without it the module's version is shown.
var version string

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal asks to end in order; a second one ends the process at
	// once, because handling is switched off by then.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
}
