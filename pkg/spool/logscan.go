package spool

import (
	"errors"
	"strings"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// errLost ends the use of a directory.
var errLost = errors.New("the directory was removed, moved or unmounted")

// catchUp takes in everything that has happened up to now, and scans if it is
// time to. A file counts as finished only if no event came after the look at it.
func (w *Watcher) catchUp() error {
	if !time.Now().Before(w.nextScan) {
		if err := w.scan(true); err != nil {
			return err
		}
		pause := w.rescan
		if w.fresh { // what stands there now waits for the second look
			w.fresh, pause = false, min(w.rescan, firstRescan)
		}
		w.nextScan = time.Now().Add(pause)
	}
	for {
		events, err := w.events.read()
		if err != nil || len(events) == 0 {
			return err
		}
		if err := w.handle(events); err != nil {
			return err
		}
	}
}

func (w *Watcher) handle(events []event) error {
	overflow := false
	touched := make(map[string]bool)
	for _, ev := range events {
		name := finalName(ev.name)
		switch {
		case ev.mask&lost != 0:
			return errLost
		case ev.mask&unix.IN_Q_OVERFLOW != 0:
			w.log.Info("events of the log backup directory were lost, scanning it instead")
			w.metrics.overflows.WithLabelValues(contentLog).Inc()
			for _, t := range w.trails {
				t.closed = false // the lost event may be a writer's
			}
			overflow = true
		case isLog(name):
			if w.trails[name] == nil {
				w.trails[name] = new(trail)
			}
			w.trails[name].note(ev.mask)
			touched[name] = true
		}
	}
	if overflow {
		return w.scan(false)
	}
	for name := range touched {
		if err := w.examine(name, false); err != nil {
			return err
		}
	}
	return nil
}

func isLog(name string) bool {
	_, err := backup.ParseLogName(name)
	return err == nil
}

// scan looks at everything in the directory. Two timed scans are w.rescan apart.
func (w *Watcher) scan(timed bool) error {
	names, err := w.dir.list(func(string) bool { return true })
	if err != nil {
		return err
	}
	seen := make(map[string]bool, len(names))
	for _, name := range names {
		seen[name] = true
		seen[finalName(name)] = true
		switch {
		case isLog(name):
			err = w.examine(name, timed)
		case timed:
			err = w.countUnknown(name)
		}
		if err != nil {
			return err
		}
	}
	forgetUnseen(w.files, seen)
	forgetUnseen(w.trails, seen)
	forgetUnseen(w.strange, seen)
	return nil
}

func forgetUnseen[T any](m map[string]T, seen map[string]bool) {
	for name := range m {
		if !seen[name] {
			delete(m, name)
		}
	}
}

// examine looks at the file with this final name.
func (w *Watcher) examine(name string, timed bool) error {
	parsed, err := backup.ParseLogName(name)
	if err != nil {
		return err
	}
	e, err := w.dir.look(name)
	if err != nil {
		return err
	}
	if !e.exists || w.dir.refusal(e) != "" {
		delete(w.files, name)
		if e.exists && !w.strange[name] {
			w.strange[name] = true
			w.metrics.intrusions.WithLabelValues(contentLog).Inc()
			w.log.Error("something has the name of a log backup and is none",
				zap.String("path", w.directory+"/"+name), zap.String("it is", w.dir.refusal(e)))
		}
		return nil
	}
	f := w.files[name]
	if f == nil || !f.file.is(e.File) {
		f = &logFile{file: e.File, name: parsed}
		w.files[name] = f
	}
	t := w.trails[name]
	if t == nil {
		t = new(trail)
		w.trails[name] = t
	}
	if timed {
		t.scanned(e.File, w.cfg.quiet())
	}
	if !f.yielded { // our own reading of a yielded file is an event too
		f.finished = t.finished(e.File)
	}
	return nil
}

// countUnknown counts a regular file that stays and that nobody will ever ship,
// once.
func (w *Watcher) countUnknown(name string) error {
	if w.strange[name] || strings.HasPrefix(name, asidePrefix) {
		return nil
	}
	e, err := w.dir.look(name)
	if err != nil || !e.exists || e.mode&unix.S_IFMT != unix.S_IFREG {
		return err
	}
	if time.Since(e.ModTime) < w.cfg.UnknownAfter {
		return nil
	}
	w.strange[name] = true
	w.metrics.unknown.Inc()
	w.log.Warn("a file stays in the log backup directory and is no log backup", zap.String("path", w.directory+"/"+name))
	return nil
}
