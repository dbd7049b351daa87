package logship_test

import (
	"github.com/pipestreamer/pipestreamer/internal/logship"
	"github.com/pipestreamer/pipestreamer/pkg/spool"
)

// parts are those of a process that may be killed, and its watcher.
func (p *place) parts(k *killer) (logship.Parts, *spool.Watcher) {
	watcher := spool.NewWatcher(spool.Config{Directory: p.dir, Rescan: p.rescan}, p.dir, nil, nil)
	return logship.Parts{
		Volume: watcher, Store: &mortalStore{Store: p.store, killer: k}, Historian: p.hana, Bases: newBases(),
		Remove: func(f spool.File) (removed bool, err error) {
			err = k.step(func() error {
				removed, err = spool.Remove(p.dir, p.dir, f)
				return err
			})
			return removed, err
		},
	}, watcher
}
