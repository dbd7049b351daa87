package fifo

import (
	"errors"
	"fmt"
	"io/fs"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// maxRearmed bounds how often the names of one stream are taken again after
// somebody has removed a pipe that refuses.
const maxRearmed = 1000

// A pipe refuses like this: it has a reader, so nobody blocks in open(2). When
// bytes arrive, a fresh pipe of that kind takes the name and the reader is
// closed: the writer's next write fails with EPIPE. A first write of up to
// armedPipeSize bytes is accepted and lost.

// refuse lets no writer of st succeed any more. It makes sure that a pipe that
// refuses stands at both names, whatever HANA renamed or removed. Writers of
// current, which is no longer live, fail when the caller closes it.
func (s *Source) refuse(st *sourceStream, current *pipe) error {
	st.refusing = true
	s.log.Info("writers of this stream are refused from now on", zap.Stringer("stream", st.report.StreamID))
	// It has left its name when it got its first bytes, unless that failed.
	fresh, err := s.replace(st, current)
	if fresh != nil {
		s.wg.Go(func() { s.guard(st, fresh) })
	}
	return errors.Join(err, s.rearm(st))
}

// rearm puts a pipe that refuses at every name of st at which nothing stands.
func (s *Source) rearm(st *sourceStream) error {
	for _, name := range []string{st.hidden, st.final} {
		e, err := s.dir.look(name)
		if err != nil {
			return err
		}
		if e.exists || s.closing {
			continue
		}
		if st.rearmed == maxRearmed {
			return fmt.Errorf("%s/%s was removed %d times", s.dir.path, name, maxRearmed)
		}
		st.rearmed++
		fresh, err := s.renew(st, name, entry{})
		if fresh != nil {
			s.wg.Go(func() { s.guard(st, fresh) })
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// replace puts a fresh pipe where p stands and returns it, or nil when p stands
// at no name of its stream any more.
func (s *Source) replace(st *sourceStream, p *pipe) (*pipe, error) {
	for _, name := range []string{st.hidden, st.final} {
		e, err := s.dir.look(name)
		if err != nil {
			return nil, err
		}
		if e.is(p.id) {
			return s.renew(st, name, e)
		}
	}
	return nil, nil
}

// renew is that of the directory for a name of st; the new pipe is live. Where
// it cannot be made, as without a free inode, the name is freed: an old pipe
// without a reader would block whoever opens it.
func (s *Source) renew(st *sourceStream, name string, old entry) (*pipe, error) {
	fresh, err := s.dir.renew(temporaryName(st.final, 0), name, s.cfg.Mode, old)
	if fresh != nil {
		st.live = append(st.live, fresh)
	} else if err != nil && old.exists {
		_, removeErr := s.dir.remove(name, func(e entry) bool { return e.is(old.id()) })
		err = errors.Join(err, removeErr)
	}
	return fresh, err
}

// renew makes a pipe and puts it at name, where old stands, or nothing if old
// does not exist. It returns nil when something else stands there by now. An
// error beside a pipe is about what it replaced.
func (d *directory) renew(temporary, name string, mode fs.FileMode, old entry) (*pipe, error) {
	fresh, err := d.create(temporary, mode)
	if err != nil {
		return nil, err
	}
	var placed bool
	if old.exists {
		placed, err = d.swap(temporary, name, old.id())
	} else if err = d.place(temporary, name); err == nil {
		placed = true
	} else if errors.Is(err, unix.EEXIST) {
		err = nil
	}
	if placed {
		fresh.id.Name = name
		return fresh, err
	}
	_, removeErr := d.remove(temporary, func(e entry) bool { return e.is(fresh.id) })
	return nil, errors.Join(err, removeErr, fresh.file.Close())
}
