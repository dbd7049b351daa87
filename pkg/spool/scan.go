package spool

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// Watch implements [backup.Source]. The error wraps [ErrIntrusion]; an intrusion
// that was there before ctx ended or Close was called is still told.
func (s *Source) Watch(ctx context.Context) error {
	select {
	case <-s.intruded:
	case <-ctx.Done():
	case <-s.done:
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.intrusion
}

// watch looks at the names of an event at once, and at the whole directory from
// time to time.
func (s *Source) watch() {
	ctx := context.Background() // Close ends the wait
	next := time.Now().Add(s.rescan)
	for {
		err := s.events.wait(ctx, next)
		s.mu.Lock()
		closing := s.closing
		switch {
		case closing:
		case err != nil:
			s.intrude(nil, fmt.Sprintf("the directory can no longer be watched: %v", err))
		default:
			timed := !time.Now().Before(next)
			if timed {
				next = time.Now().Add(s.rescan)
			}
			s.catchUp(timed)
		}
		s.mu.Unlock()
		if err != nil || closing {
			return
		}
	}
}

// catchUp takes in everything that has happened up to now. A file is called
// finished only when no event came after the look at it: a writer that has just
// opened it again would be one.
func (s *Source) catchUp(timed bool) {
	if timed {
		s.look(true)
	}
	for {
		events, err := s.events.read()
		if err != nil {
			s.intrude(nil, fmt.Sprintf("the directory can no longer be watched: %v", err))
		}
		if len(events) == 0 {
			break
		}
		s.handle(events)
	}
	for _, st := range s.streams {
		if st.ripe && !st.over {
			s.finish(st, st.file)
		}
	}
}

func (s *Source) handle(events []event) {
	overflow := false
	touched := make(map[string]bool)
	for _, ev := range events {
		switch name := finalName(ev.name); {
		case ev.mask&lost != 0:
			s.intrude(nil, "the directory was removed, moved or unmounted")
		case ev.mask&unix.IN_Q_OVERFLOW != 0:
			s.log.Warn("events of the backup directory were lost, scanning it instead")
			s.metrics.overflows.WithLabelValues(contentData).Inc()
			for _, t := range s.trails {
				t.closed = false // the lost event may be a writer's
			}
			overflow = true
		case s.plan.Owns(ev.name):
			s.trail(name).note(ev.mask)
			touched[name] = true
		}
	}
	if overflow {
		s.look(false)
		return
	}
	for name := range touched {
		s.examine(name, false)
	}
}

func (s *Source) trail(name string) *trail {
	if s.trails[name] == nil {
		s.trails[name] = new(trail)
	}
	return s.trails[name]
}

// look is a scan of which a failure is an intrusion.
func (s *Source) look(timed bool) {
	if err := s.scan(timed); err != nil {
		s.intrude(nil, err.Error())
	}
}

// scan looks at every file of the backup. It needs no events, so it is right
// after any number of lost ones. Two timed scans are s.rescan apart.
func (s *Source) scan(timed bool) error {
	names, err := s.dir.list(s.plan.Owns)
	if err != nil {
		return err
	}
	seen := make(map[string]bool, len(names))
	for _, name := range names {
		seen[finalName(name)] = true
	}
	for _, st := range s.streams {
		if st.name != "" {
			seen[st.name] = true
		}
	}
	for name := range seen {
		s.examine(name, timed)
	}
	return nil
}

// pair is what stands at the two names of one file.
type pair struct{ hidden, final entry }

// pair looks at the hidden name first: HANA may rename the file at any moment,
// and what is gone from there by then is at the final name already. A pipe that is another
// front door's counts as nothing.
func (s *Source) pair(name string) (p pair, err error) {
	for _, at := range []struct {
		name  string
		entry *entry
	}{{"." + name, &p.hidden}, {name, &p.final}} {
		e, err := s.dir.look(at.name)
		if err != nil {
			return pair{}, err
		}
		if e.exists && !s.others(e) {
			*at.entry = e
		}
	}
	return p, nil
}

// holds reports whether file stands at one of the two names.
func (p pair) holds(file File) bool {
	return p.hidden.exists && p.hidden.same(file) || p.final.exists && p.final.same(file)
}

// examine looks at the file with this final name.
func (s *Source) examine(name string, timed bool) {
	p, err := s.pair(name)
	if err != nil {
		s.intrude(nil, err.Error())
		return
	}
	if !p.hidden.exists && !p.final.exists {
		delete(s.trails, name)
		return
	}
	st := s.bind(name, p)
	if st == nil {
		return
	}
	for _, e := range []entry{p.hidden, p.final} {
		if e.exists && s.dir.refusal(e) != "" {
			s.intrude(st, s.dir.path+"/"+e.Name+" is "+s.dir.refusal(e))
			return
		}
	}
	s.appear(st, p)
	s.progress(st, p, timed)
}

// bind finds or adds the stream of the file with this final name. It returns nil
// for a file that is no stream's.
func (s *Source) bind(name string, p pair) *sourceStream {
	id, err := s.identify(name)
	if err != nil {
		s.intrudeOnce(name, err.Error())
		return nil
	}
	st := s.find(id)
	if st == nil {
		return s.discover(name, id, p)
	}
	if st.name != "" && st.name != name {
		if before, err := s.pair(st.name); err != nil || before.hidden.exists || before.final.exists || st.opened {
			s.intrude(st, fmt.Sprintf("HANA wrote %s/%s beside %s", s.dir.path, name, st.name))
			return nil
		}
	}
	st.name = name
	return st
}

// identify reads a final name. Names of deltas are from memory, so a delta may
// also have the name of a complete backup.
func (s *Source) identify(name string) (backup.StreamID, error) {
	f, err := backup.ParseFileName(name)
	switch {
	case err != nil:
		return f.StreamID, fmt.Errorf("an unexpected file appeared: %s/%s: %w", s.dir.path, name, err)
	case f.Prefix != s.plan.Prefix, f.Kind != s.plan.Kind && f.Kind != backup.KindComplete:
		return f.StreamID, fmt.Errorf("an unexpected file appeared: %s/%s: it is of another backup", s.dir.path, name)
	}
	return f.StreamID, nil
}

// discover adds a stream that the plan does not know, for a file that could be
// HANA's.
func (s *Source) discover(name string, id backup.StreamID, p pair) *sourceStream {
	for _, e := range []entry{p.hidden, p.final} {
		if e.exists && s.dir.refusal(e) != "" {
			s.intrudeOnce(e.Name, "an unexpected file appeared: "+s.dir.path+"/"+e.Name+" is "+s.dir.refusal(e))
			return nil
		}
	}
	if s.settled {
		s.intrudeOnce(name, "a file appeared after HANA was done: "+s.dir.path+"/"+name)
		return nil
	}
	s.log.Info("HANA writes a file that was not planned", zap.Stringer("stream", id), zap.String("file", name))
	st := s.add(id)
	st.name = name
	s.pending = append(s.pending, backup.Stream{StreamID: id, File: name})
	s.wake()
	return st
}

// appear takes in that the file of a stream is there.
func (s *Source) appear(st *sourceStream, p pair) {
	at := st.name
	if !p.final.exists {
		at = "." + st.name
	}
	st.report.Path = s.dir.path + "/" + at
	if !st.hasAppeared {
		st.hasAppeared = true
		close(st.appeared)
	}
}

// progress finds out whether HANA has finished the file of a stream, and whether
// a finished one stays as it was.
func (s *Source) progress(st *sourceStream, p pair, timed bool) {
	t := s.trail(st.name)
	if timed && p.final.exists {
		t.scanned(p.final.File, s.cfg.quiet())
	}
	st.ripe = false
	switch {
	case st.err != nil:
	case st.report.Complete > 0 && (p.hidden.exists || !p.final.is(st.file)):
		s.intrude(st, fmt.Sprintf("%s/%s was written again after it was read", s.dir.path, st.name))
	case p.hidden.exists, st.opened && st.over:
	case st.over:
		st.file = p.final.File // HANA wrote again, and nobody has read it yet
	case t.finished(p.final.File):
		st.ripe, st.file = true, p.final.File
	}
}

func (s *Source) finish(st *sourceStream, f File) {
	st.file, st.over = f, true
	close(st.ready)
	s.metrics.files.WithLabelValues(contentData).Inc()
	s.log.Debug("HANA finished a file", zap.Stringer("stream", st.report.StreamID), zap.Int64("size", f.Size))
}

// conclude decides about a stream when HANA is done: its file stands under its
// final name, or it does not come.
func (s *Source) conclude(st *sourceStream) {
	if st.over {
		return
	}
	var p pair
	var err error
	if st.name != "" {
		p, err = s.pair(st.name)
	}
	switch {
	case err != nil:
		s.fail(st, err)
	case p.final.exists && s.dir.refusal(p.final) == "":
		s.finish(st, p.final.File)
	case p.hidden.exists:
		s.fail(st, fmt.Errorf("HANA is done and %s/%s still has its hidden name", s.dir.path, p.hidden.Name))
	default:
		s.fail(st, fmt.Errorf("HANA is done and wrote no file: %w", backup.ErrNotFound))
	}
}

// fail ends the wait for a stream that cannot be read.
func (s *Source) fail(st *sourceStream, err error) {
	if st.err == nil {
		st.err = err
	}
	if !st.over {
		st.over = true
		close(st.ready)
	}
	if !st.hasAppeared {
		st.hasAppeared = true
		close(st.appeared)
	}
}

func (s *Source) intrudeOnce(name, what string) {
	if !s.strange[name] {
		s.strange[name] = true
		s.intrude(nil, what)
	}
}

// intrude records what happened, the first for its stream and the first of all.
// A nil stream is the directory.
func (s *Source) intrude(st *sourceStream, what string) {
	if st != nil {
		if st.report.Intrusion != "" {
			return
		}
		st.report.Intrusion = what
		what = "stream " + st.report.String() + ": " + what
		s.fail(st, fmt.Errorf("%w: %s", ErrIntrusion, st.report.Intrusion))
	}
	s.metrics.intrusions.WithLabelValues(contentData).Inc()
	s.log.Error("something is in the directory that HANA does not put there", zap.String("intrusion", what))
	if s.intrusion == nil {
		s.intrusion = fmt.Errorf("%w: %s", ErrIntrusion, what)
		close(s.intruded)
	}
}
