package landscape

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

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
	// First is a size of the first writes of a file; see files.Writer.
	First files.First
	// Packets puts pipes into packet mode.
	Packets bool
	// Late makes the catalog tell the end of a backup later than it came.
	Late Late
	// Replication is empty, primary or secondary; set it by Set only.
	Replication string
	// ClientGone is what becomes of a synchronous backup whose client has
	// gone: cancel, the default, or continue.
	ClientGone string
	// Cancel is what BACKUP CANCEL does: accept, the default, refuse or ignore.
	Cancel string
	// Catalog is what a query of the catalog gives: ok, the default, error, or
	// hang until its client gives up.
	Catalog string
	// CrashLeaves is the state of a backup's row after a crash: failed, the
	// default, or running, for ever.
	CrashLeaves string
	// Clock is by how much HANA's clock is ahead of the machine's.
	Clock time.Duration
	// CatalogEach makes a burst write a backup of the catalog after each of its
	// log backups, and not only one at its end.
	CatalogEach bool
	// DeltaSize is the least content of a volume in a delta backup in bytes,
	// 1 MiB by default.
	DeltaSize int64
	// LogGap is what becomes of a recovery whose next log backup is missing:
	// stop, the default, or fail.
	LogGap string
}

func (s *Settings) fillIn() {
	if s.Profile == "" {
		s.Profile = files.Plain
	}
	if s.WriteSize == 0 {
		s.WriteSize = 1 << 20
	}
	if s.DeltaSize == 0 {
		s.DeltaSize = 1 << 20
	}
	s.LogGap = gapStops
	s.ClientGone, s.Cancel, s.Catalog, s.CrashLeaves = clientCancels, cancelAccept, CatalogOK, StateFailed
}

// The values of settings that are words.
const (
	clientCancels   = "cancel"
	clientContinues = "continue"

	cancelAccept = "accept"
	cancelRefuse = "refuse"
	cancelIgnore = "ignore"

	gapStops = "stop"
	gapFails = "fail"

	// CatalogOK and the next two are values of Settings.Catalog.
	CatalogOK    = "ok"
	CatalogError = "error"
	CatalogHang  = "hang"
)

// Delay makes a backup wait; each time a duration of the range is drawn.
type Delay struct{ Open, Write, Close, Answer Range }

// Late is for how long after the end of a backup its row in the catalog is
// missing (from its start on), says running without an end, and has no files.
type Late struct{ Row, State, Files Range }

// Range is from Min to Max, both included.
type Range struct{ Min, Max time.Duration }

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
		"first-writes": into(&s.settings.First, parseFirst),
		"packets":      into(&s.settings.Packets, strconv.ParseBool),
		"late-row":     into(&s.settings.Late.Row, parseRange),
		"late-state":   into(&s.settings.Late.State, parseRange),
		"late-files":   into(&s.settings.Late.Files, parseRange),
		"client-gone":  into(&s.settings.ClientGone, oneOf(clientCancels, clientContinues)),
		"cancel":       into(&s.settings.Cancel, oneOf(cancelAccept, cancelRefuse, cancelIgnore)),
		"catalog":      into(&s.settings.Catalog, oneOf(CatalogOK, CatalogError, CatalogHang)),
		"crash-leaves": into(&s.settings.CrashLeaves, oneOf(StateFailed, StateRunning)),
		"clock":        into(&s.settings.Clock, time.ParseDuration),
		"log-backups":  s.setLogBackups,
		"catalog-each": into(&s.settings.CatalogEach, strconv.ParseBool),
		"delta-size":   into(&s.settings.DeltaSize, ParseSize),
		"log-gap":      into(&s.settings.LogGap, oneOf(gapStops, gapFails)),
		"fail":         s.addFault,
		"resume":       s.resume,
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

func oneOf(words ...string) func(string) (string, error) {
	return func(value string) (string, error) {
		if !slices.Contains(words, value) {
			return "", fmt.Errorf("%q: expected one of %s", value, strings.Join(words, ", "))
		}
		return value, nil
	}
}

// parseFirst reads <size>:<bytes>, or 0 for nothing.
func parseFirst(value string) (files.First, error) {
	if value == "0" {
		return files.First{}, nil
	}
	size, bytes, _ := strings.Cut(value, ":")
	write, errSize := parseWriteSize(size)
	until, errBytes := ParseSize(bytes)
	if err := errors.Join(errSize, errBytes); err != nil {
		return files.First{}, fmt.Errorf("%q: expected <size>:<bytes>: %w", value, err)
	}
	return files.First{Size: write, Bytes: until}, nil
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

// draw gives a duration of r.
func draw(r Range, random *rand.Rand) time.Duration {
	if r.Max > r.Min {
		return r.Min + time.Duration(random.Int64N(int64(r.Max-r.Min)+1))
	}
	return r.Min
}

// pause waits for a time drawn from r, or until ctx ends, whose cause it
// returns then.
func pause(ctx context.Context, r Range, random *rand.Rand) error {
	wait := draw(r, random)
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
