package job

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
	"github.com/pipestreamer/pipestreamer/pkg/fifo"
	"github.com/pipestreamer/pipestreamer/pkg/spool"
)

// Door says through which front door a backup comes in.
type Door string

// The doors that can be chosen.
const (
	// DoorAuto is pipes where HANA's file names are known before, with a watch
	// on files that HANA writes past them, and files where they are not.
	DoorAuto Door = "auto"
	// DoorFIFO is pipes only.
	DoorFIFO Door = backup.DoorFIFO
	// DoorSpool is files only.
	DoorSpool Door = backup.DoorSpool
)

// Spool is the front door for files that HANA names itself.
type Spool interface {
	backup.Source
	backup.Discoverer
	// Files gives the files that are finished, as they were read.
	Files() []spool.File
}

// entrance is the way in of one backup: pipes, files, or pipes with an eye on
// the files that HANA writes past them. At least one of both is there.
type entrance struct {
	pipes Source
	files Spool
}

// doorFor is the door of a job. A probe tries pipes, and everything that may have
// to come after, whatever is configured or known.
func (c *Conductor) doorFor(record Record) Door {
	if record.Action == ActionProbe && c.parts.NewSpool != nil {
		return DoorAuto
	}
	return c.config.Door
}

// entranceFor chooses the way in. Names of deltas cannot be known before.
func (c *Conductor) entranceFor(record Record) *entrance {
	door := c.doorFor(record)
	known := door == DoorAuto && record.Action != ActionProbe && c.doors.refuses()
	if record.Kind != backup.KindComplete || record.Attempt > 1 || known {
		door = DoorSpool
	}
	e := new(entrance)
	if door != DoorSpool {
		e.pipes = c.parts.NewSource(door == DoorAuto)
	}
	if door != DoorFIFO {
		e.files = c.parts.NewSpool(e.pipes != nil)
	}
	return e
}

// offers says which doors stand open to HANA.
func (e *entrance) offers() Door {
	switch {
	case e.pipes == nil:
		return DoorSpool
	case e.files == nil:
		return DoorFIFO
	default:
		return DoorAuto
	}
}

// Names implements door.
func (e *entrance) Names(plan backup.Plan) ([]fifo.PipeID, error) {
	if e.pipes == nil {
		return nil, nil
	}
	return e.pipes.Names(plan)
}

// Pipes implements door.
func (e *entrance) Pipes() []fifo.PipeID {
	if e.pipes == nil {
		return nil
	}
	return e.pipes.Pipes()
}

// Prepare implements door. Files that stand in the way are refused before a pipe
// is made.
func (e *entrance) Prepare(ctx context.Context, plan backup.Plan) error {
	if e.files != nil {
		if err := e.files.Prepare(ctx, plan); err != nil {
			return err
		}
	}
	if e.pipes == nil {
		return nil
	}
	return e.pipes.Prepare(ctx, plan)
}

// open waits for the stream at the pipes, and at the files when there are none or
// HANA writes past them; then it calls bypassed first. Streams that the plan did
// not name come as files.
func (e *entrance) open(ctx context.Context, t *transfer, bypassed func(error)) (reader io.ReadCloser, err error) {
	if e.pipes == nil || t.late {
		return e.files.Open(ctx, t.stream)
	}
	reader, err = e.pipes.Open(ctx, t.stream)
	if e.files == nil || !errors.Is(err, backup.ErrBypassed) {
		return reader, err
	}
	bypassed(err)
	return e.files.Open(ctx, t.stream)
}

// watch returns what intrudes on either door, or nil when ctx ends.
func (e *entrance) watch(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	if e.pipes != nil {
		group.Go(func() error { return e.pipes.Watch(ctx) })
	}
	if e.files != nil {
		group.Go(func() error { return e.files.Watch(ctx) })
	}
	return group.Wait()
}

// found yields the streams that the plan did not name. Pipes have none.
func (e *entrance) found() <-chan backup.Stream {
	if e.files == nil {
		return nil
	}
	return e.files.Found()
}

// settle ends found.
func (e *entrance) settle(ctx context.Context) error {
	if e.files == nil {
		return nil
	}
	if err := e.files.Settle(ctx); err != nil {
		return fmt.Errorf("look for the last files of HANA: %w", err)
	}
	return nil
}

// report gives what the door saw through which each stream came.
func (e *entrance) report() map[backup.StreamID]backup.StreamReport {
	reports := make(map[backup.StreamID]backup.StreamReport)
	if e.files != nil {
		for _, r := range e.files.Report() { //nolint:gocritic // a copy is what the map needs
			reports[r.StreamID] = r
		}
	}
	if e.pipes == nil {
		return reports
	}
	for _, r := range e.pipes.Report() { //nolint:gocritic // a copy is what the map needs
		if file, rescued := reports[r.StreamID]; rescued && r.Bypass != "" && r.Intrusion == "" {
			file.Bypass = r.Bypass
			r = file
		}
		reports[r.StreamID] = r
	}
	return reports
}

// written gives how much of each stream HANA has written to a file.
func (e *entrance) written() map[backup.StreamID]int64 {
	if e.files == nil {
		return nil
	}
	sizes := make(map[backup.StreamID]int64)
	for _, r := range e.files.Report() { //nolint:gocritic // seldom called
		sizes[r.StreamID] = r.Written
	}
	return sizes
}

// spooled gives the files from which streams came, to their last byte.
func (e *entrance) spooled() []spool.File {
	if e.files == nil {
		return nil
	}
	read := make(map[string]bool)
	for _, r := range e.report() { //nolint:gocritic // a map's values are copies
		if r.Door == backup.DoorSpool && r.Complete == 1 {
			read[path.Base(r.Path)] = true
		}
	}
	return slices.DeleteFunc(e.files.Files(), func(f spool.File) bool { return !read[f.Name] })
}

// close lets go of whatever HANA may be blocked on and removes the pipes; files
// stay.
func (e *entrance) close() error {
	var errs []error
	if e.pipes != nil {
		errs = append(errs, e.pipes.Close())
	}
	if e.files != nil {
		errs = append(errs, e.files.Close())
	}
	return errors.Join(errs...)
}
