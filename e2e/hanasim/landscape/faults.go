package landscape

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim/files"
)

// fault is a misbehaviour of the next statement that it is for.
type fault struct {
	files.Fault

	volume int
}

// The faults that are not those of a file.
const (
	refuse        = "refuse"         // 447 at once
	extra         = "extra"          // a volume that no view shows
	stallEnd      = "stall-end"      // everything is written, nobody knows it yet
	failEnd       = "end"            // everything is written, and then the backup fails
	catalogFailed = "catalog-failed" // only the catalog's row says that it failed
	answerFailed  = "answer-failed"  // only the answer says so
	stallAnswer   = "stall-answer"   // the catalog knows it, the client not yet
	hangup        = "hangup"         // there is no answer
	failRecover   = "recover"
	failDelete    = "delete" // of BACKUP CATALOG DELETE

	// Of the next log backup of a volume, or of any.
	failLog = "log-write" // it fails, and its file is removed
	skipLog = "log-skip"  // the catalog claims a file that is not there
)

// faultsOfBackups are those of a backup that was not refused.
func faultsOfBackups() []string {
	return append(files.Faults(), extra, stallEnd, failEnd, catalogFailed, answerFailed, stallAnswer, hangup)
}

// addFault reads <what>[:<volume>[:<bytes>[:<errno>]]].
func (s *System) addFault(text string) error {
	fields := strings.Split(text, ":")
	what := append(faultsOfBackups(), refuse, failRecover, failDelete, failLog, skipLog)
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

// takeFaults takes the faults of the given names out of the queue.
func (s *System) takeFaults(what ...string) []fault {
	var taken []fault
	s.faults = slices.DeleteFunc(s.faults, func(f fault) bool {
		wanted := slices.Contains(what, f.What)
		if wanted {
			taken = append(taken, f)
		}
		return wanted
	})
	return taken
}

// takeFault takes one fault of a name out of the queue.
func (s *System) takeFault(what string) bool {
	i := slices.IndexFunc(s.faults, func(f fault) bool { return f.What == what })
	if i < 0 {
		return false
	}
	s.faults = slices.Delete(s.faults, i, i+1)
	return true
}

// takeLogFault takes the first fault of a name that is for a volume, or for any.
func (s *System) takeLogFault(what string, volume int) (fault, bool) {
	i := slices.IndexFunc(s.faults, func(f fault) bool { return f.What == what && (f.volume == volume || f.volume == 0) })
	if i < 0 {
		return fault{}, false
	}
	f := s.faults[i]
	s.faults = slices.Delete(s.faults, i, i+1)
	return f, true
}

func (r *run) has(what string) bool {
	return slices.ContainsFunc(r.faults, func(f fault) bool { return f.What == what })
}

// of gives the faults of one volume's files.
func (r *run) of(volume int) []files.Fault {
	var faults []files.Fault
	for _, f := range r.faults {
		if f.volume == volume && slices.Contains(files.Faults(), f.What) {
			faults = append(faults, f.Fault)
		}
	}
	return faults
}

// hold is a stall: it lasts until it is resumed or ctx ends, whose cause it
// returns then.
func (s *System) hold(ctx context.Context) error {
	s.mu.Lock()
	resumed := s.resumed
	s.stalled++
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.stalled--
		s.mu.Unlock()
	}()
	select {
	case <-resumed:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// resume ends the stalls that have begun; s.mu is held.
func (s *System) resume(string) error {
	close(s.resumed)
	s.resumed = make(chan struct{})
	return nil
}

// Stalled counts the stalls that last.
func (s *System) Stalled() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stalled
}
