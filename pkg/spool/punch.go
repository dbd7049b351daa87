package spool

import (
	"errors"
	"fmt"
	"os"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// openPuncher opens the file that was just opened as e once more, to free its
// blocks. A file that cannot be opened so is followed all the same.
func (s *Source) openPuncher(e entry) *os.File {
	file, again, err := s.dir.open(e.Name, unix.O_RDWR)
	if err == nil && !again.same(e.File) {
		err = errors.Join(fmt.Errorf("open %s: %w", file.Name(), ErrChanged), file.Close())
		file = nil
	}
	if err != nil {
		s.log.Warn("what the store has is not freed while HANA writes", zap.Error(err))
		return nil
	}
	return file
}

// freed is how many bytes nobody can read any more.
func (f *follower) freed() int64 { return f.punched - f.source.cfg.Head }

// free frees the whole blocks that the store has for good, but for the head and
// for the last ones that were delivered, which are compared later.
func (f *follower) free() error {
	if f.puncher == nil || f.unable || f.over || f.doubt != "" {
		return nil
	}
	end := roundDown(min(f.acked.Load(), f.offset-int64(len(f.tail))))
	if end-f.punched < f.source.cfg.PunchStep {
		return nil
	}
	// What was read last is looked at before anything is lost for ever.
	if _, err := f.look(); err != nil || f.doubt != "" {
		return err
	}
	const mode = unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE
	_, err := retry(func() (struct{}, error) {
		return struct{}{}, unix.Fallocate(int(f.puncher.Fd()), mode, f.punched, end-f.punched)
	})
	if errors.Is(err, unix.EOPNOTSUPP) && f.freed() == 0 {
		f.source.log.Warn("this file system cannot free parts of a file", zap.String("path", f.puncher.Name()))
		f.unable = true // closing it would look like HANA's end
		return nil
	}
	if err != nil {
		return fmt.Errorf("free %s: %w", f.puncher.Name(), err)
	}
	f.source.metrics.punched.Add(float64(end - f.punched))
	f.punched = end
	return nil
}
