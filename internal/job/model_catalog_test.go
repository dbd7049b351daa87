package job

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// Entry reads HANA's catalog.
func (h *modelHANA) Entry(ctx context.Context, plan backup.Plan) (backup.CatalogEntry, error) {
	r, spec := h.run(plan), h.now()
	entry, err := h.entry(ctx, r, spec)
	r.mu.Lock()
	defer r.mu.Unlock()
	said := entry.State
	if err != nil {
		said = "-"
	}
	r.told = append(r.told, said)
	return entry, err
}

func (h *modelHANA) entry(ctx context.Context, r *modelRun, spec *hanaSpec) (backup.CatalogEntry, error) {
	if err := h.w.pause(ctx, spec.entryDelay); err != nil {
		return backup.CatalogEntry{}, err
	}
	if spec.away.has(time.Since(h.w.born)) {
		if spec.awayHangs {
			return backup.CatalogEntry{}, h.w.hang(ctx)
		}
		return backup.CatalogEntry{}, errModelRefused
	}
	return r.row(time.Now())
}

// remains says whether the catalog has shown a success, and shows it still.
func (r *modelRun) remains() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Contains(r.told, backup.CatalogSuccessful) && r.deleted == 0
}

// row is what the catalog shows of a run at one moment.
func (r *modelRun) row(now time.Time) (backup.CatalogEntry, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.began || r.spec.rowNever || r.deleted != 0 || now.Sub(r.beganAt) < r.spec.rowAppears {
		return backup.CatalogEntry{}, backup.ErrNotFound
	}
	entry := backup.CatalogEntry{
		EntryID: r.id, BackupID: r.id, EntryType: "complete data backup", State: r.truth, Message: "<ok>",
		Comment: r.plan.JobID, StartedAt: r.beganAt, EndedAt: r.endedAt,
	}
	switch {
	case (r.truth == "" || now.Sub(r.endedAt) < r.spec.rowSettles) && isClosed(r.canceled):
		entry.State = backup.CatalogCancelPending
		return entry, nil
	case r.truth == "" || now.Sub(r.endedAt) < r.spec.rowSettles:
		entry.State = backup.CatalogRunning
		return entry, nil
	}
	for i, s := range r.plan.Streams {
		source := backup.SourceVolume
		if s.VolumeID == backup.TopologyVolume {
			source = backup.SourceTopology
		}
		entry.Files = append(entry.Files, backup.CatalogFile{
			VolumeID: s.VolumeID, SourceType: source, Service: s.Service, Host: s.Host,
			Size: int64(r.w.s.sizes[i]), DestinationType: "file", Path: r.plan.Directory + "/" + r.plan.FileName(s.StreamID),
		})
	}
	entry.Files = append(entry.Files, backup.CatalogFile{SourceType: backup.SourceCatalog, Size: 12288, Path: "/log/log_backup_0_0_0_0.1"})
	if r.spec.distort != nil {
		r.spec.distort(&entry)
	}
	return entry, nil
}

// Delete removes the entry of a successful backup.
func (h *modelHANA) Delete(ctx context.Context, plan backup.Plan, backupID int64) error {
	r, spec := h.run(plan), h.now()
	if err := h.w.pause(ctx, spec.entryDelay); err != nil {
		return err
	}
	if spec.away.has(time.Since(h.w.born)) {
		return errModelRefused
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.truth != backup.CatalogSuccessful {
		h.w.violate("HANA was asked to delete backup %d, which it calls %q", backupID, r.truth)
		return errors.New("no such backup")
	}
	if backupID != r.id {
		h.w.violate("HANA was asked to delete backup %d, but this job's is %d", backupID, r.id)
	}
	r.deleted = r.id
	return nil
}
