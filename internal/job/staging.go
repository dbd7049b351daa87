package job

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
	"github.com/pipestreamer/pipestreamer/pkg/spool"
)

// stagers is how many files are laid out at a time.
const stagers = 4

// staged is one file to be laid out.
type staged struct {
	name    string
	size    int64
	sum     string // SHA-256
	objects []backup.Object
	counter *counter // of a data file
}

// toStage lists the log backups and the backup of the catalog, which HANA looks
// for by itself and in an order of its own; and the data, when pipes do not do.
func (r *restoreRun) toStage() (files []staged, bytes int64) {
	logs := r.chain.Staged()
	for i := range logs {
		files = append(files, staged{name: logs[i].Name, size: logs[i].Size, sum: logs[i].SHA256, objects: logs[i].Objects})
	}
	for i := range r.served {
		if s := &r.served[i]; r.files {
			files = append(files, staged{name: s.name, size: s.stream.EstimatedSize, sum: s.sum, objects: s.objects, counter: s.counter})
		}
	}
	for i := range files {
		bytes += files[i].size
	}
	return files, bytes
}

// stage lays out what HANA has to find as files.
func (r *restoreRun) stage(ctx context.Context) *Error {
	files, bytes := r.toStage()
	if len(files) == 0 {
		return nil
	}
	shelf, err := spool.NewShelf(r.config.Directory, r.plan.JobID, bytes)
	if err != nil {
		return newError(StageArm, CodeStaging, err)
	}
	r.shelf = shelf
	r.job.note(SideDaemon, "lays out %d files of %d bytes in %s", len(files), bytes, shelf.Path())
	group, staging := errgroup.WithContext(ctx)
	group.SetLimit(stagers)
	for i := range files {
		group.Go(func() error { return r.layOut(staging, &files[i]) })
	}
	err = group.Wait()
	if err == nil {
		err = shelf.Watch(ctx)
	}
	if err != nil {
		return newError(StageArm, CodeStaging, causeOf(ctx, err))
	}
	return nil
}

func (r *restoreRun) layOut(ctx context.Context, f *staged) error {
	reader, err := r.parts.Store.OpenStream(ctx, f.objects)
	if err != nil {
		return fmt.Errorf("read %s: %w", f.name, err)
	}
	reader = backup.Checked(reader, f.objects, f.size, f.sum)
	if f.counter != nil {
		reader = &countedReader{ReadCloser: reader, counter: f.counter, fail: func(error) {}}
	}
	return errors.Join(r.shelf.Write(ctx, f.name, f.size, reader), reader.Close())
}

// refusedRead says whether HANA could not even open the pipes: it insists on
// O_DIRECT, which a pipe refuses with EINVAL (22), and has read nothing.
func (r *restoreRun) refusedRead(failures []*Error) bool {
	if r.files || r.outlet == nil || !slices.ContainsFunc(failures, saysInvalid) {
		return false
	}
	for i := range r.outlet.sinks {
		if _, opens := r.outlet.complete(i); opens > 0 {
			return false
		}
	}
	return true
}

// reached compares what HANA has read of the log with what it had to read to get
// to the point that was asked for. A recovery that does not find a log backup
// does not fail in HANA: it stops there and calls itself done (SAP KBA 3006027).
// HANA does not say by SQL how far it came, so its openings are the evidence.
func (r *restoreRun) reached() []*Error {
	if r.shelf == nil {
		return nil
	}
	opened := r.shelf.Opened()
	var unread []backup.LogFile
	for i := range r.chain.Logs {
		if f := r.chain.Logs[i]; !opened[f.Name] && !coveredBy(r.chain.Logs, opened, f.Parsed()) {
			unread = append(unread, f)
		}
	}
	if len(unread) == 0 {
		return nil
	}
	first := slices.MinFunc(unread, func(a, b backup.LogFile) int { return a.CoveredUntil().Compare(b.CoveredUntil()) })
	names := make([]string, 0, len(unread))
	for i := range unread {
		names = append(names, unread[i].Name)
	}
	const most = 5
	if len(names) > most {
		names = append(names[:most], fmt.Sprintf("and %d more", len(names)-most))
	}
	return []*Error{newError(StageSettle, CodePointMissed, fmt.Errorf(
		"HANA says that it has recovered, but it never opened %s: the database is at an earlier point, before %s at best, and not at %s",
		strings.Join(names, ", "), first.CoveredUntil().UTC().Format(time.DateTime), r.chain.Reaches.UTC().Format(time.DateTime)))}
}

// coveredBy says whether the positions of a log backup are in others that were
// opened: HANA does not read twice what it has.
func coveredBy(logs []backup.LogFile, opened map[string]bool, n backup.LogName) bool {
	at := n.First
	for i := range logs { // sorted by volume and position
		o := logs[i].Parsed()
		if opened[logs[i].Name] && o.VolumeID == n.VolumeID && o.First <= at {
			at = max(at, o.Last)
		}
	}
	return at >= n.Last
}
