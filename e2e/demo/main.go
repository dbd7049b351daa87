// Command demo shows a backup and a restore from end to end: it starts the HANA
// simulator, an S3 server and the daemon, backs up a tenant, destroys its data,
// restores it, and compares. It leaves nothing behind and exits with 1 when
// anything differs from what it should be.
//
// With -try it starts the same and leaves the rest to whoever sits before it.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	bin := flag.String("bin", "bin", "directory with pipestreamer, hanasim, versitygw and rclone")
	try := flag.Bool("try", false, "start everything, say what can be done with it, and wait")
	flag.Parse()
	play := run
	if *try {
		play = stay
	}
	err := play(ctx, os.Stdout, *bin)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo: FAILED:", err)
		os.Exit(1)
	}
}
