package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// stay builds the scene with everything that an operator has, says what can be
// done with it, and obeys until ctx ends.
func stay(ctx context.Context, out io.Writer, bin string) error {
	page, err := freeAddress(ctx)
	if err != nil {
		return err
	}
	scene, err := build(ctx, bin, page)
	if err != nil {
		return err
	}
	st := &story{scene: scene, out: out}
	st.before, err = scene.hana.content(ctx)
	if err == nil {
		err = st.introduce()
	}
	if err == nil {
		err = st.obey(ctx, lines(os.Stdin))
	}
	return errors.Join(err, scene.strike())
}

// workPause is the time between two commits of the tenant.
const workPause = 2 * time.Second

// introduce says what runs and what to type.
func (s *story) introduce() error {
	programs, err := filepath.Abs(s.bin)
	if err != nil {
		return err
	}
	s.print(`
A HANA simulator with the tenant %[1]s (300 MiB, a commit every 2 s, a log backup every 10 s), an S3 server and the daemon
run. All files are in %[2]s and go away at the end.

In another shell:

  export PATH="%[3]s:$PATH" PIPESTREAMER_HTTP_SOCKET=%[2]s/state/pipestreamer.sock
  pipestreamer doctor --config %[2]s/pipestreamer.yaml --database %[1]s
  pipestreamer backup --database %[1]s
  pipestreamer list --database %[1]s
  pipestreamer verify --database %[1]s --backup latest
  pipestreamer restore --database %[1]s --until latest    # after "destroy" here

Status page: http://%[4]s/   (any user name; the password is %[5]s)

Type here:
  destroy      the tenant loses its data, and nothing is committed any more: restore before the next backup, which would be of what is left
  compare      is the data there that was there when this began, and what was committed last?
  work         commits go on
  store off    the S3 server ends; store on starts it again
  restart      the daemon ends and starts again, as after a drain
  quit         end everything (or Ctrl-C)
`, tenant, s.dir, programs, s.page, token)
	return nil
}

// obey does what the lines say until they ask for the end or ctx ends. Without
// anybody at the keyboard it waits for ctx.
func (s *story) obey(ctx context.Context, orders <-chan string) error {
	commits := time.NewTicker(workPause)
	defer commits.Stop()
	known := s.orders(commits)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-commits.C:
			// Not while the tenant is stopped for a restore; it is no news, then.
			_ = s.system.Work(tenant, 1)
			s.tellEnded()
		case order, open := <-orders:
			if !open {
				orders = nil
				continue
			}
			if order == "quit" {
				return nil
			}
			s.tellEnded()
			do, found := known[order]
			if !found {
				s.print("expected destroy, compare, work, store off, store on, restart or quit\n")
			} else if err := do(ctx); err != nil {
				s.print("%v\n", err)
			}
		}
	}
}

// orders are what can be typed.
func (s *story) orders(commits *time.Ticker) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"": func(context.Context) error { return nil },
		"destroy": func(ctx context.Context) error {
			commits.Stop()
			if err := s.hana.destroy(ctx); err != nil {
				return err
			}
			s.print("The data of %s is gone.\n", tenant)
			return nil
		},
		"compare":   s.compareNow,
		"work":      func(context.Context) error { commits.Reset(workPause); return nil },
		"store off": func(context.Context) error { return s.end(storeProgram) },
		"store on":  func(ctx context.Context) error { return errors.Join(s.end(storeProgram), s.serveS3(ctx)) },
		"restart":   func(ctx context.Context) error { return errors.Join(s.end(daemonProgram), s.serve(ctx)) },
	}
}

func (s *story) compareNow(ctx context.Context) error {
	now, err := s.hana.content(ctx)
	if err != nil {
		return err
	}
	if s.compare(s.before, now) {
		s.print("%s holds what it held.\n", tenant)
	}
	points := s.system.Points(tenant)
	for _, id := range slices.Sorted(maps.Keys(points)) {
		last := "none"
		if commit := points[id].Commit; !commit.IsZero() {
			last = commit.UTC().Format(time.DateTime) + " UTC"
		}
		s.print("volume %d: last commit %s\n", id, last)
	}
	return nil
}

// tellEnded tells of programs that have ended by themselves.
func (s *story) tellEnded() {
	for _, p := range s.ended() {
		s.print("%s has ended (%v); its log is %s\n", p.name, p.err, p.log)
	}
}

// lines gives what is typed. The goroutine ends with the input, or with the
// process: a read of a terminal cannot be broken off.
func lines(in io.Reader) <-chan string {
	orders := make(chan string)
	go func() {
		defer close(orders)
		scanner := bufio.NewScanner(in)
		for scanner.Scan() {
			orders <- strings.TrimSpace(scanner.Text())
		}
	}()
	return orders
}
