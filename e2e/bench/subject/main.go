// Command subject is the daemon's data path without HANA's SQL, the catalog and
// the HTTP interface: the front door and the store of the daemon, wired as
// internal/job wires them. "up" arms pipes, says "ready", takes one stream from
// each into the store and commits; "down" serves streams of the store from pipes,
// each once. The benchmarks measure this process.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime/pprof"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
	"github.com/pipestreamer/pipestreamer/pkg/uploader"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "subject:", err)
		os.Exit(1)
	}
}

// closeTimeout bounds the closing of the store.
const closeTimeout = 10 * time.Second

// subject is one direction of the data path.
type subject struct {
	store    *uploader.Store
	plan     backup.Plan
	manifest string
	log      *zap.Logger
	noSHA256 bool
}

func run(ctx context.Context, args []string) (err error) {
	flags := flag.NewFlagSet("subject", flag.ContinueOnError)
	cfg := uploader.Config{Type: "s3"}
	flags.Func("store", "uploader.Config in JSON; may be repeated, the later wins", func(text string) error {
		return json.Unmarshal([]byte(text), &cfg)
	})
	directory := flags.String("directory", "", "where the pipes are made")
	prefix := flags.String("prefix", "", "of the names of the pipes and in the keys")
	manifest := flags.String("manifest", "", "file with the objects of the streams: written by up, read by down")
	streams := flags.Int("streams", 1, "streams, from volume 1 on")
	size := flags.Int64("size", 0, "estimate of the bytes of a stream")
	noSHA256 := flags.Bool("no-sha256", false, "make no SHA-256 of the streams, as with store.checksum: crc64nvme")
	profile := flags.String("profile", "", "file for a CPU profile")
	if len(args) == 0 {
		return errors.New("expected up or down")
	}
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	stop, err := startProfile(*profile)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	log, err := zap.NewProduction(zap.IncreaseLevel(zap.WarnLevel))
	if err != nil {
		return err
	}
	uploader.Quiet(log)
	s := &subject{manifest: *manifest, log: log, noSHA256: *noSHA256, plan: backup.Plan{
		JobID: *prefix, SID: "HXE", Database: "HXE", Kind: backup.KindComplete, Directory: *directory, Prefix: *prefix,
	}}
	for n := range *streams {
		s.plan.Streams = append(s.plan.Streams, backup.Stream{StreamID: backup.StreamID{VolumeID: n + 1, PartID: 1}, EstimatedSize: *size})
	}
	if s.store, err = uploader.New(ctx, cfg, log, nil); err != nil {
		return err
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		err = errors.Join(err, s.store.Close(closing))
	}()
	switch args[0] {
	case "up":
		return s.up(ctx)
	case "down":
		return s.down(ctx)
	}
	return fmt.Errorf("%q: expected up or down", args[0])
}

// startProfile writes a CPU profile to path, if any, until stop is called.
func startProfile(path string) (stop func() error, err error) {
	if path == "" {
		return func() error { return nil }, nil
	}
	file, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("profile: %w", err)
	}
	if err := pprof.StartCPUProfile(file); err != nil {
		return nil, errors.Join(fmt.Errorf("profile: %w", err), file.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		return file.Close()
	}, nil
}

// ready says that the pipes may be opened.
func ready() error {
	if _, err := fmt.Fprintln(os.Stdout, "ready"); err != nil {
		return fmt.Errorf("say ready: %w", err)
	}
	return nil
}
