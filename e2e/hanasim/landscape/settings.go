package landscape

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim/files"
)

// Settings shape what backups and recoveries do. They can be changed at run
// time and hold from the next backup or recovery on.
type Settings struct {
	// Profile defaults to files.Plain.
	Profile files.Profile
	// WriteSize is the size of one write in bytes, 1 MiB by default.
	WriteSize int
	// Sync calls fsync before close.
	Sync bool
	// HeaderPass makes a recovery read every header before it reads any file.
	HeaderPass bool
	// Compressible makes new content half zeros.
	Compressible bool
	Delay        Delay
	// Replication is empty, primary or secondary; set it by Set only.
	Replication string
}

func (s *Settings) fillIn() {
	if s.Profile == "" {
		s.Profile = files.Plain
	}
	if s.WriteSize == 0 {
		s.WriteSize = 1 << 20
	}
}

// Delay makes a backup wait; each time a duration of the range is drawn.
type Delay struct{ Open, Write, Close, Answer Range }

// Range is from Min to Max, both included.
type Range struct{ Min, Max time.Duration }

// fault is a misbehaviour of the next backup or recovery.
type fault struct {
	files.Fault
	volume int
}

// Set changes one setting. The keys are those of [System.setters]; README.md
// lists them.
func (s *System) Set(key, value string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	set, known := s.setters()[key]
	if !known {
		return fmt.Errorf("setting %q: unknown", key)
	}
	if err := set(value); err != nil {
		return fmt.Errorf("setting %s: %w", key, err)
	}
	return nil
}

func (s *System) setters() map[string]func(string) error {
	return map[string]func(string) error{
		"profile":      into(&s.settings.Profile, files.ParseProfile),
		"write-size":   into(&s.settings.WriteSize, parseWriteSize),
		"sync":         into(&s.settings.Sync, strconv.ParseBool),
		"header-pass":  into(&s.settings.HeaderPass, strconv.ParseBool),
		"compressible": into(&s.settings.Compressible, strconv.ParseBool),
		"replication":  s.setReplication,
		"delay-open":   into(&s.settings.Delay.Open, parseRange),
		"delay-write":  into(&s.settings.Delay.Write, parseRange),
		"delay-close":  into(&s.settings.Delay.Close, parseRange),
		"delay-answer": into(&s.settings.Delay.Answer, parseRange),
		"chunk-size":   s.setChunkSize,
		"fail":         s.addFault,
	}
}

func into[T any](target *T, parse func(string) (T, error)) func(string) error {
	return func(value string) error {
		parsed, err := parse(value)
		if err == nil {
			*target = parsed
		}
		return err
	}
}

func parseWriteSize(value string) (int, error) {
	size, err := ParseSize(value)
	if err == nil && size > 1<<30 {
		err = fmt.Errorf("%q: expected at most 1GiB", value)
	}
	return int(size), err
}

func (s *System) setReplication(value string) error {
	if !slices.Contains([]string{"", "primary", "secondary"}, value) {
		return fmt.Errorf("%q: expected primary, secondary or nothing", value)
	}
	s.settings.Replication = value
	s.replicate(value)
	return nil
}

func (s *System) setChunkSize(value string) error {
	size, err := ParseSize(value)
	if value != "0" && err != nil {
		return err
	}
	s.configure(systemLayer("backup", "data_backup_max_chunk_size"), strconv.FormatInt(size, 10))
	return nil
}

// ParseSize reads a positive number of bytes, with B, KiB, MiB, GiB or TiB.
func ParseSize(text string) (int64, error) {
	number, shift := strings.TrimSuffix(text, "B"), 0
	for i, unit := range []string{"Ki", "Mi", "Gi", "Ti"} {
		if cut, found := strings.CutSuffix(number, unit); found {
			number, shift = cut, 10*(i+1)
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 1 || n > (1<<62)>>shift {
		return 0, fmt.Errorf("size %q: expected a positive number and B, KiB, MiB, GiB or TiB", text)
	}
	return n << shift, nil
}

func parseRange(text string) (Range, error) {
	low, high, found := strings.Cut(text, "..")
	if !found {
		high = low
	}
	least, errLow := time.ParseDuration(low)
	most, errHigh := time.ParseDuration(high)
	if errLow != nil || errHigh != nil || most < least || least < 0 {
		return Range{}, fmt.Errorf("%q: expected a duration or <least>..<most>", text)
	}
	return Range{least, most}, nil
}

// addFault reads <what>[:<volume>[:<bytes>[:<errno>]]].
func (s *System) addFault(text string) error {
	fields := strings.Split(text, ":")
	what := []string{"open", "write", "close", "rename", "stall", "truncate", "header", "extra", "refuse", "hangup", "recover"}
	if len(fields) > 4 || !slices.Contains(what, fields[0]) {
		return fmt.Errorf("%q: expected <what>[:<volume>[:<bytes>[:<errno>]]], what being one of %s", text, strings.Join(what, ", "))
	}
	f := fault{Fault: files.Fault{What: fields[0], Errno: syscall.EIO}}
	var errVolume, errAt, errErrno error
	if len(fields) > 1 {
		f.volume, errVolume = strconv.Atoi(fields[1])
	}
	if len(fields) > 2 && fields[2] != "0" {
		f.At, errAt = ParseSize(fields[2])
	}
	if len(fields) > 3 {
		f.Errno, errErrno = parseErrno(fields[3])
	}
	if err := errors.Join(errVolume, errAt, errErrno); err != nil {
		return fmt.Errorf("%q: %w", text, err)
	}
	s.faults = append(s.faults, f)
	return nil
}

func parseErrno(name string) (syscall.Errno, error) {
	for number := range syscall.Errno(134) {
		if name != "" && unix.ErrnoName(number) == name {
			return number, nil
		}
	}
	return 0, fmt.Errorf("errno %q: expected a name such as ENOSPC", name)
}

// takeFaults takes the faults for which want is true out of the queue.
func (s *System) takeFaults(want func(fault) bool) []fault {
	var taken []fault
	s.faults = slices.DeleteFunc(s.faults, func(f fault) bool {
		if want(f) {
			taken = append(taken, f)
			return true
		}
		return false
	})
	return taken
}

// pause waits for a time drawn from r, or until ctx ends, whose cause it
// returns then.
func pause(ctx context.Context, r Range, random *rand.Rand) error {
	wait := r.Min
	if r.Max > r.Min {
		wait += time.Duration(random.Int64N(int64(r.Max-r.Min) + 1))
	}
	if wait == 0 {
		return nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
