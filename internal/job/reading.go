package job

import (
	"context"
	"fmt"
	"time"
)

// consumed checks that HANA took every stream to its last byte: a recovery
// that reads less has not restored these backups.
func (r *restoreRun) consumed() []*Error {
	var failures []*Error
	for i := range r.outlet.sinks {
		complete, _ := r.outlet.complete(i)
		for _, s := range r.outlet.plans[i].Streams {
			if !complete[s.StreamID] {
				failures = append(failures, streamError(StageSettle, s.StreamID, CodeUnread,
					fmt.Errorf("HANA says that it has recovered, but did not read %s to its end", r.outlet.plans[i].FileName(s.StreamID))))
			}
		}
	}
	if r.files {
		failures = append(failures, r.unopened()...)
	}
	return append(failures, r.reached()...)
}

// unopened lists the data files that HANA has not even opened.
func (r *restoreRun) unopened() []*Error {
	var failures []*Error
	opened := r.shelf.Opened()
	for i := range r.served {
		if s := &r.served[i]; !opened[s.name] {
			failures = append(failures, streamError(StageSettle, s.stream.StreamID, CodeUnread,
				fmt.Errorf("HANA says that it has recovered, but did not open %s", s.name)))
		}
	}
	return failures
}

// awaitReaders waits until every stream was read to its end and nobody has
// opened one, or a log backup, for EndTimeout. Whether SYSTEMDB came back is then
// for recoverSys.py to say: SQL cannot recover it and cannot see it recover.
func (r *restoreRun) awaitReaders(ctx context.Context) error {
	ticker := time.NewTicker(r.config.EndTimeout / 10)
	defer ticker.Stop()
	var quiet int
	var last int
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ticker.C:
		}
		opens, missing := r.readers()
		if missing || opens != last {
			quiet, last = 0, opens
			continue
		}
		if quiet++; quiet >= 10 {
			return nil
		}
	}
}

// readers counts the openings by HANA, and says whether a stream or a log backup
// is still to be read.
func (r *restoreRun) readers() (opens int, missing bool) {
	for i := range r.outlet.sinks {
		complete, n := r.outlet.complete(i)
		opens += n
		for _, s := range r.outlet.plans[i].Streams {
			missing = missing || !complete[s.StreamID]
		}
	}
	if r.shelf != nil {
		opens += len(r.shelf.Opened())
		missing = missing || len(r.reached()) > 0 || r.files && len(r.unopened()) > 0
	}
	return opens, missing
}
