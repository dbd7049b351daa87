package logship_test

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/pipestreamer/pipestreamer/internal/logship"
)

// parts are those of a process that may be killed.
func (p *place) parts(k *killer) logship.Parts {
	v := &dirVolume{dir: p.dir, given: make(map[string]bool)}
	return logship.Parts{
		Volume: v, Store: &mortalStore{Store: p.store, killer: k}, Historian: p.hana,
		Remove: func(f logship.File) (removed bool, err error) {
			err = k.step(func() error {
				removed = true
				return os.Remove(filepath.Join(p.dir, f.Name))
			})
			return removed, err
		},
	}
}

type dirVolume struct {
	dir   string
	given map[string]bool
}

func (v *dirVolume) Next(ctx context.Context) ([]logship.File, error) {
	for {
		entries, err := os.ReadDir(v.dir)
		if err != nil {
			return nil, err
		}
		var files []logship.File
		for _, e := range entries {
			info, err := e.Info()
			if err != nil || v.given[e.Name()] || strings.HasPrefix(e.Name(), ".") {
				continue
			}
			v.given[e.Name()] = true
			files = append(files, logship.File{Name: e.Name(), Ino: info.Sys().(*syscall.Stat_t).Ino, Size: info.Size(), ModTime: info.ModTime()})
		}
		if len(files) > 0 {
			return files, nil
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(2 * time.Millisecond):
		}
	}
}

func (v *dirVolume) Open(f logship.File) (io.ReadCloser, error) {
	return os.Open(filepath.Join(v.dir, f.Name))
}
func (*dirVolume) Again(string)                          {}
func (*dirVolume) Space() (free, total int64, err error) { return 1 << 30, 1 << 31, nil }
