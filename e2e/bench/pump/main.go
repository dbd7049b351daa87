// Command pump is what surrounds the client that a benchmark measures, each in a
// process of its own so that its cost is not counted with the client's: HANA's
// side of the pipes (write, read), a store that costs little (serve), and the
// least that a client can do (put, get, drain).
//
// A verb says "ready" on its standard output when it is; write and read then wait
// until their standard input ends. What is wrong ends the process with status 1.
// A signal ends it at once, for it may be blocked in opening a pipe; serve ends
// in order.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "pump:", err)
		os.Exit(1)
	}
}

// settings are the flags of all verbs.
type settings struct {
	payload  string
	size     int64
	pipeSize int

	endpoint string
	key      string
	partSize int64
	parallel int

	serve serveSettings
}

func run(args []string) error {
	if len(args) == 0 {
		return errors.New("expected a verb: write, read, put, get, drain or serve")
	}
	var s settings
	flags := flag.NewFlagSet("pump "+args[0], flag.ContinueOnError)
	flags.StringVar(&s.payload, "payload", "random", "kind of the bytes")
	flags.Int64Var(&s.size, "size", 0, "bytes of each stream")
	flags.IntVar(&s.pipeSize, "pipe", 0, "size of the pipes in bytes; 0 leaves them as they are")
	flags.StringVar(&s.endpoint, "endpoint", "", "URL of the store")
	flags.StringVar(&s.key, "key", "", "bucket and key; {} stands for the number of the stream")
	flags.Int64Var(&s.partSize, "part", 16<<20, "bytes of a part")
	flags.IntVar(&s.parallel, "parallel", 4, "parts on their way at once")
	flags.StringVar(&s.serve.certificate, "certificate", "", "PEM file with certificate and key: serve https")
	flags.DurationVar(&s.serve.delay, "delay", 0, "added to each request")
	flags.Int64Var(&s.serve.rate, "rate", 0, "bytes per second of each connection")
	flags.StringVar(&s.serve.forward, "forward", "", "URL of a real store to stand before")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	switch paths := flags.Args(); args[0] {
	case "write":
		return s.each(paths, true, s.writer())
	case "read":
		return s.each(paths, true, s.read)
	case "drain":
		return s.each(paths, false, s.read)
	case "put":
		return s.each(paths, false, s.put(context.Background()))
	case "get":
		return s.each(paths, false, s.get(context.Background()))
	case "serve":
		return s.runServer()
	}
	return fmt.Errorf("unknown verb %q", args[0])
}

// ready tells whoever has started this process that it may go on.
func ready(more string) error {
	if _, err := fmt.Fprintln(os.Stdout, "ready"+more); err != nil {
		return fmt.Errorf("say ready: %w", err)
	}
	return nil
}

// awaitGo returns when the standard input ends.
func awaitGo() error {
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return fmt.Errorf("wait for the end of the standard input: %w", err)
	}
	return nil
}
