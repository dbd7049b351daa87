// Command bench measures the daemon's data path beside what else could be done:
// the least that a client of a store can do, rclone, and the AWS command line.
// Every client carries the same streams between pipes and the same store, one
// client after the other, round by round. It prints medians and, with
// -update docs/performance.md, writes them and a plot into the documents.
//
// Its numbers are of one machine, on which HANA's side, the client and the store
// share the cores: compare them with each other and not with those of another.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	b := &bench{out: os.Stdout, aws: findAWS(), only: regexp.MustCompile("")}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.StringVar(&b.bin, "bin", "bin", "directory with rclone and versitygw (make tools)")
	flags.IntVar(&b.runs, "runs", 3, "measured runs of each client")
	flags.Float64Var(&b.gibibytes, "size", 1, "GiB of each run, all streams together")
	flags.StringVar(&b.data, "data", "", "directory for what the real store keeps (default: a temporary one)")
	flags.StringVar(&b.profiles, "profiles", "", "directory for CPU profiles of the data path, one for each run")
	flags.Func("clients", "only clients whose name matches", func(text string) (err error) {
		b.only, err = regexp.Compile(text)
		return err
	})
	flags.Func("variant", `one more client: name={"Concurrency": 8}, settings of the store of the data path, or name=program, another build of it; may be repeated`, b.addVariant)
	flags.StringVar(&b.document, "update", "", "write the results into this document, between its marks, and a plot beside it")
	only := flags.String("only", usual, "scenarios whose name begins so (regular expression)")
	full := flags.Bool("full", false, "all scenarios: hours")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *full && *only == usual {
		*only = ".*"
	}
	scenarios, err := choose(*only)
	if err != nil {
		return err
	}
	return b.measure(ctx, scenarios)
}
