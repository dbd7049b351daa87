package job

import (
	"context"
	"path"
	"sync"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// discover carries the streams that the plan did not name, until HANA has ended
// or ctx does: more volumes than it told, or further parts of one.
func (r *backupRun) discover(ctx context.Context, stop context.CancelCauseFunc, streams *sync.WaitGroup) {
	found := r.source.found()
	for found != nil {
		select {
		case <-ctx.Done():
			return
		case s, more := <-found:
			if !more {
				return
			}
			t := r.addLate(s)
			r.flow.add(1)
			streams.Go(func() {
				defer r.flow.add(-1)
				r.carryLate(ctx, t, func(err *Error) { r.fail(stop, err) })
			})
		}
	}
}

// addLate takes in a stream that HANA has begun to write.
func (r *backupRun) addLate(s backup.Stream) *transfer {
	t := &transfer{job: r.job, stream: s, counter: r.job.add(s), late: true, noSHA256: r.config.NoSHA256}
	r.mu.Lock()
	r.uploads = append(r.uploads, t)
	r.mu.Unlock()
	t.note(SideHANA, "writes a file that was not expected")
	r.job.warn("HANA writes stream " + s.String() + ", which was not expected, to a file on the volume")
	return t
}

// carryLate waits for memory that the other streams of this and other backups
// free one after the other. HANA does not wait meanwhile: it writes to disk.
func (r *backupRun) carryLate(ctx context.Context, t *transfer, fail func(*Error)) {
	options := t.options()
	options.Patient = true
	upload, err := r.parts.Store.Begin(ctx, backup.StreamKey(r.plan.SID, r.plan.Database, r.plan.Prefix, t.stream.StreamID), options)
	if err != nil {
		if ctx.Err() == nil {
			fail(streamError(StageStream, t.stream.StreamID, CodeStoreUnusable, err))
		}
		return
	}
	t.upload = upload
	t.carry(ctx, r.source, fail)
}

// learnNames adds to the plan what HANA wrote beyond it, and the names of files
// that only HANA could know.
func (r *backupRun) learnNames(reports map[backup.StreamID]backup.StreamReport) {
	var streams []backup.Stream
	for _, t := range r.transfers() {
		s := t.stream
		report := reports[s.StreamID]
		if name := path.Base(report.Path); report.Door == backup.DoorSpool && r.plan.Owns(name) && name != r.plan.FileName(s.StreamID) {
			s.File = name
		}
		streams = append(streams, s)
	}
	r.plan.Streams = streams
}

// nameLate takes the service of a stream that nobody expected from HANA's catalog.
func (r *backupRun) nameLate(entry *backup.CatalogEntry, plan *backup.Plan) {
	files := make(map[string]*backup.CatalogFile, len(entry.Files))
	for i := range entry.Files {
		files[entry.Files[i].Path] = &entry.Files[i]
	}
	for i, t := range r.transfers() {
		file := files[plan.Directory+"/"+plan.FileName(t.stream.StreamID)]
		if !t.late || file == nil {
			continue
		}
		t.stream.Service, t.stream.Host = file.Service, file.Host
		plan.Streams[i].Service, plan.Streams[i].Host = file.Service, file.Host
	}
}
