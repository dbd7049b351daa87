package fifo

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// Released keeps refusing writers at the names of a backup of an earlier
// process.
type Released struct {
	// Swept tells what stood at the names. A removed pipe at a name that HANA
	// may open has been replaced by one that refuses.
	Swept

	source *Source
	// held are the old pipes, open until nobody can be on the way to them.
	held []*os.File
}

// Release does what [Sweep] does for a backup that HANA may still be writing:
// whoever is blocked in opening a pipe of the earlier process goes on and fails
// with EPIPE, and no byte is read. Until Close it keeps pipes that refuse at
// every name that HANA may open, so that HANA makes no regular file there. pipes
// are what the earlier Source gave as Names or Pipes; should this process die
// before Close, they can be released again. A missing directory is not an error.
//
// After an error everything that could be released is released, and nothing is
// kept.
func Release(directory string, pipes []PipeID, log *zap.Logger) (*Released, error) {
	r := &Released{source: NewSource(Config{Directory: directory}, log, nil)}
	err := r.replace(directory, pipes)
	if len(r.held) > 0 {
		time.Sleep(linger)
	}
	for _, f := range r.held {
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("release pipes: %w", err), r.Close())
	}
	return r, nil
}

// Close removes the pipes. It is idempotent and takes about 20 ms.
func (r *Released) Close() error { return r.source.Close() }

// replace puts a pipe that refuses at every name that HANA may open, in place
// of an old pipe or of nothing, and removes the other old pipes.
func (r *Released) replace(directory string, pipes []PipeID) error {
	s := r.source
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := checkNames(pipes); err != nil {
		return err
	}
	d, err := openDirectory(directory, directory)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	s.dir, s.prepared, s.ours = d, true, s.expected
	s.streams = refusingStreams(pipes)
	var errs []error
	for _, p := range pipes {
		if !s.expected(p.Name) { // first: fresh pipes are made at such names
			errs = append(errs, r.take(pipes, p.Name, func(entry) error {
				_, err := d.remove(p.Name, func(e entry) bool { return isJournaled(e, p.Name, pipes) })
				return err
			}))
		}
	}
	for _, st := range s.streams {
		for _, name := range []string{st.final, st.hidden} {
			errs = append(errs, r.take(pipes, name, func(old entry) error {
				_, err := s.renew(st, name, old)
				return err
			}))
		}
	}
	// Where nothing stood, the first scan puts a pipe.
	return errors.Join(append(errs, s.follow())...)
}

// take holds the old pipe at name and lets replace act on it.
func (r *Released) take(pipes []PipeID, name string, replace func(old entry) error) error {
	old, err := r.source.dir.look(name)
	if err != nil || !old.exists {
		return err
	}
	if !isJournaled(old, name, pipes) {
		r.Left = append(r.Left, name)
		return nil
	}
	f, err := r.source.dir.hold(name)
	if err != nil {
		return err
	}
	r.held = append(r.held, f)
	if err := replace(old); err != nil {
		return err
	}
	r.Removed = append(r.Removed, name)
	return nil
}

// refusingStreams finds in a journal the pairs of names that HANA may open.
func refusingStreams(pipes []PipeID) []*sourceStream {
	var streams []*sourceStream
	seen := make(map[string]bool, len(pipes))
	for _, p := range pipes {
		final := strings.TrimPrefix(p.Name, ".")
		file, err := backup.ParseFileName(final)
		if err != nil || seen[final] {
			continue
		}
		seen[final] = true
		streams = append(streams, &sourceStream{
			report: backup.StreamReport{StreamID: file.StreamID}, final: final, hidden: "." + final,
			begun: make(chan struct{}), refusing: true,
		})
	}
	return streams
}
