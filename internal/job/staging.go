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

// stage lays out the log backups and the backup of the catalog, which HANA looks
// for by itself and in an order of its own.
func (r *restoreRun) stage(ctx context.Context) *Error {
	files := r.chain.Staged()
	if len(files) == 0 {
		return nil
	}
	needs := r.chain.Needs()
	shelf, err := spool.NewShelf(r.config.Directory, r.plan.JobID, needs.StagedBytes)
	if err != nil {
		return newError(StageArm, CodeStaging, err)
	}
	r.shelf = shelf
	r.job.note(SideDaemon, "lays out %d log and catalog backups of %d bytes in %s", needs.StagedFiles, needs.StagedBytes, shelf.Path())
	group, staging := errgroup.WithContext(ctx)
	group.SetLimit(stagers)
	for i := range files {
		group.Go(func() error { return r.layOut(staging, &files[i]) })
	}
	err = group.Wait()
	if err == nil {
		err = shelf.Watch()
	}
	if err != nil {
		return newError(StageArm, CodeStaging, causeOf(ctx, err))
	}
	return nil
}

func (r *restoreRun) layOut(ctx context.Context, f *backup.LogFile) error {
	reader, err := r.parts.Store.OpenStream(ctx, f.Objects)
	if err != nil {
		return fmt.Errorf("read %s: %w", f.Name, err)
	}
	return errors.Join(r.shelf.Write(ctx, f.Name, f.Size, reader), reader.Close())
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
