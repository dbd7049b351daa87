package spool

import (
	"bytes"
	"errors"
	"fmt"
	"hash/maphash"
	"io"

	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// look makes sure that the file is still the one that was followed, and that
// what was read last is still there.
func (f *follower) look() (entry, error) {
	e, err := inspect(f.file, f.last.Name)
	if err != nil {
		return e, err
	}
	standing, err := f.source.standing(f.stream, e.File)
	if err != nil {
		return e, err
	}
	switch {
	case !standing:
		f.distrust("it has lost its name")
	case e.Size < f.last.Size:
		f.distrust(fmt.Sprintf("it shrank from %d to %d bytes", f.last.Size, e.Size))
	case e.ModTime.Before(f.last.ModTime):
		f.distrust("its time of change went backwards")
	default:
		now := make([]byte, len(f.tail))
		if _, err := f.file.ReadAt(now, f.offset-int64(len(now))); err != nil && !errors.Is(err, io.EOF) {
			return e, fmt.Errorf("read %s: %w", f.file.Name(), err)
		}
		if !bytes.Equal(now, f.tail) {
			f.distrust(fmt.Sprintf("bytes before %d were written again", f.offset))
		}
	}
	f.last = e.File
	return e, nil
}

// standing reports whether file stands at one of the names of st.
func (s *Source) standing(st *sourceStream, file File) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return false, ErrClosed
	}
	p, err := s.pair(st.name)
	return p.holds(file), err
}

// distrust stops following.
func (f *follower) distrust(why string) {
	if f.doubt != "" {
		return
	}
	f.doubt = why
	f.source.metrics.doubts.Inc()
	f.source.log.Warn("a file cannot be followed while HANA writes it, waiting until it is finished",
		zap.String("path", f.file.Name()), zap.String("reason", why), zap.Int64("offset", f.offset))
}

// remember keeps what is needed to find out whether delivered bytes have changed.
func (f *follower) remember(b []byte) {
	if left := f.source.cfg.Head - f.offset; left > 0 {
		f.head.Write(b[:min(int64(len(b)), left)])
	}
	f.all.Write(b)
	f.tail = append(f.tail[:0], b[max(0, len(b)-blockSize):]...)
}

// equal reports whether the next size bytes of r have the hash.
func equal(r io.Reader, size int64, hash *maphash.Hash) (bool, error) {
	var again maphash.Hash
	again.SetSeed(hash.Seed())
	if _, err := io.CopyN(&again, r, size); err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	return again.Sum64() == hash.Sum64(), nil
}

// fallBack reads the finished file, after comparing what was delivered of it.
func (f *follower) fallBack(b []byte) (int, error) {
	if freed := f.freed(); freed > 0 {
		return 0, fmt.Errorf("follow %s: %w: %s, and %d bytes of it were freed", f.file.Name(), ErrChanged, f.doubt, freed)
	}
	r, err := f.source.openFinished(f.stream, readerHooks{ // it reads for nobody yet
		stopped: f.hooks.stopped, passed: func(int) {}, ended: func(err error) error { return err },
	})
	if err != nil {
		return 0, err
	}
	same, err := equal(r, f.offset, &f.all)
	if err == nil && !same {
		err = fmt.Errorf("follow %s: the first %d bytes changed after they were read: %w", r.file.Name(), f.offset, backup.ErrCorrupt)
	}
	if err != nil {
		return 0, errors.Join(err, r.Close())
	}
	r.hooks, f.rest = f.hooks, r
	return r.Read(b)
}

func (s *Source) openFinished(st *sourceStream, hooks readerHooks) (*reader, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return nil, ErrClosed
	}
	return s.reader(st, hooks)
}
