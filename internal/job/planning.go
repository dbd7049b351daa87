package job

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/semaphore"

	"github.com/pipestreamer/pipestreamer/internal/chain"
	"github.com/pipestreamer/pipestreamer/internal/logship"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
	"github.com/pipestreamer/pipestreamer/pkg/hdbtrigger"
)

// archive is what the store says about the backups of one system. It needs
// neither HANA nor a daemon.
type archive struct {
	store backup.Store
	sid   string
	log   *zap.Logger
	// memory is what all who read many manifests share.
	memory *semaphore.Weighted
}

func (c *Conductor) archive() archive {
	return archive{c.parts.Store, c.config.SID, c.log, c.manifestMemory}
}

// PlanFiles plans what has to be written as files for a recovery by hand, from
// the store alone, and builds the statement for HANA, with dir as the directory
// of all files. Errors are *FieldError for the request and *Error.
func PlanFiles(ctx context.Context, store backup.Store, sid string, r RestoreRequest, dir string, log *zap.Logger) (chain.Chain, string, error) {
	source, target, point, err := r.parse()
	if err != nil {
		return chain.Chain{}, "", err
	}
	c, problem := archive{store, sid, log, semaphore.NewWeighted(manifestMemory)}.plan(ctx, source, point)
	if problem != nil {
		return chain.Chain{}, "", problem
	}
	recovery := recoveryOf(&c, point, target)
	recovery.DataPath, recovery.CatalogPath, recovery.LogPaths = dir, dir, []string{dir}
	if len(c.Staged()) == 0 {
		plan := c.Complete.Plan("by-hand", dir)
		plan.Database = target
		text, err := hdbtrigger.RecoverFilesText(plan)
		return c, text, err
	}
	text, err := hdbtrigger.RecoverText(recovery)
	return c, text, err
}

// recoveryOf says what HANA is told to reach a point with a chain; the
// directories are the caller's to fill in.
func recoveryOf(c *chain.Chain, point chain.Target, target string) backup.Recovery {
	r := backup.Recovery{
		SID: c.Complete.SID, Database: target, Source: c.Complete.Database, SourceSID: c.Complete.SID, BackupID: c.Last().BackupID,
	}
	switch {
	case len(c.Logs) == 0:
	case point.Until.IsZero(): // any time in the future means all there is (NetApp, SAP HANA disaster recovery)
		r.Until, r.BackupID = time.Now().UTC().Add(24*time.Hour).Truncate(time.Second), c.Complete.BackupID
	default:
		r.Until, r.BackupID = point.Until, c.Complete.BackupID
	}
	return r
}

// plan decides from the store alone what a restore uses: nothing but the bucket
// may be left of the system that made the backups.
func (a archive) plan(ctx context.Context, source string, point chain.Target) (chain.Chain, *Error) {
	if point.BackupID == newestBackup {
		newest, err := ReadManifest(ctx, a.store, a.sid, source, Latest)
		if err != nil {
			return chain.Chain{}, newError(StagePlan, manifestCode(err), causeOf(ctx, err))
		}
		point.BackupID = newest.BackupID
	}
	if point.BackupID != 0 {
		m, err := readManifest(ctx, a.store, backup.ManifestKey(a.sid, source, point.BackupID))
		if err != nil {
			return chain.Chain{}, newError(StagePlan, manifestCode(err), causeOf(ctx, err))
		}
		if m.Kind == backup.KindComplete { // needs nothing else
			return chain.Chain{Complete: m, Reaches: m.Catalog.StartedAt}, presence(ctx, a.store, m)
		}
	}
	history, notes, err := a.history(ctx, source)
	if err != nil {
		return chain.Chain{}, newError(StagePlan, CodeStoreUnusable, causeOf(ctx, err))
	}
	c, err := chain.Plan(history, point)
	if err != nil {
		if len(notes) > 0 {
			err = fmt.Errorf("%w; besides, %w", err, errors.Join(notes...))
		}
		return chain.Chain{}, newError(StagePlan, CodePointUnreachable, err)
	}
	for _, note := range notes {
		c.Notes = append(c.Notes, note.Error())
	}
	for _, id := range c.Skipped {
		c.Notes = append(c.Notes, fmt.Sprintf("backup %d is newer and cannot be used; HANA, which finds it in its catalog, may ask for it and fail", id))
	}
	problem := a.readChosen(ctx, &c)
	return c, problem
}

// Recovery is to which points a database can be restored.
type Recovery struct {
	Database string `json:"database"`
	// Point is the newest point that can be reached.
	Point   time.Time      `json:"recovery_point,omitzero"`
	Windows []chain.Window `json:"windows"`
	Gaps    []chain.Gap    `json:"gaps,omitempty"`
	// Missing are the keys of objects that a manifest or an index names and the
	// store does not have.
	Missing []string `json:"missing,omitempty"`
	// Notes are manifests that could not be read.
	Notes []string `json:"notes,omitempty"`
}

// Recovery reads everything that the store says about a database.
func (c *Conductor) Recovery(ctx context.Context, database string) (Recovery, error) {
	name, err := backup.ParseDatabase(database)
	if err != nil {
		return Recovery{}, &FieldError{Field: "database", Err: err}
	}
	history, notes, err := c.archive().history(ctx, name)
	if err != nil {
		return Recovery{}, err
	}
	r := Recovery{
		Database: name, Point: chain.RecoveryPoint(history), Windows: chain.Windows(history), Gaps: chain.Gaps(history),
		Missing: slices.Sorted(maps.Keys(history.Missing)),
	}
	for _, note := range notes {
		r.Notes = append(r.Notes, note.Error())
	}
	return r, nil
}

// readChosen reads the chosen manifests once more, with all of their parts.
func (a archive) readChosen(ctx context.Context, c *chain.Chain) *Error {
	again := func(m *backup.Manifest) (*backup.Manifest, *Error) {
		whole, err := readManifest(ctx, a.store, backup.ManifestKey(m.SID, m.Database, m.BackupID))
		if err != nil {
			return nil, newError(StagePlan, manifestCode(err), causeOf(ctx, err))
		}
		return whole, presence(ctx, a.store, whole)
	}
	var problem *Error
	if c.Complete, problem = again(c.Complete); problem != nil {
		return problem
	}
	for i := range c.Deltas {
		if c.Deltas[i], problem = again(c.Deltas[i]); problem != nil {
			return problem
		}
	}
	return nil
}

// history reads what the store knows of a database. A manifest or log index that
// cannot be read is left out and told: others may do.
func (a archive) history(ctx context.Context, database string) (h chain.History, notes []error, err error) {
	objects, err := a.listManifests(ctx, database)
	if err != nil {
		return h, nil, err
	}
	err = a.readManifests(ctx, objects, func(_ backup.Object, m *backup.Manifest, err error) {
		if err != nil {
			notes = append(notes, err)
			return
		}
		h.Backups = append(h.Backups, m)
	})
	if err != nil {
		return h, nil, err
	}
	var damaged []error
	if h.Logs, damaged, err = logship.ReadIndexes(ctx, a.store, a.sid, database, time.Time{}); err != nil {
		return h, nil, err
	}
	notes = append(notes, damaged...)
	if h.Breaks, damaged, err = logship.ReadBreaks(ctx, a.store, a.sid, database); err != nil {
		return h, nil, err
	}
	notes = append(notes, damaged...)
	for _, m := range h.Backups { // those of before breaks were recorded
		if b := m.Broken; b != nil && !slices.ContainsFunc(h.Breaks, func(other backup.Break) bool { return other.At.Equal(b.At) }) {
			h.Breaks = append(h.Breaks, *b)
		}
	}
	h.Missing, err = a.missing(ctx, database, &h)
	return h, notes, err
}

// missing lists the objects of a history that are not in the store, or not with
// their size: two lists instead of a question for each.
func (a archive) missing(ctx context.Context, database string, h *chain.History) (map[string]bool, error) {
	sizes := make(map[string]int64)
	for _, prefix := range []string{backup.DataPrefix(a.sid, database), backup.LogPrefix(a.sid, database)} {
		objects, err := a.store.List(ctx, prefix)
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", prefix, err)
		}
		for i := range objects {
			sizes[objects[i].Key] = objects[i].Size
		}
	}
	missing := make(map[string]bool)
	check := func(objects []backup.Object) {
		for i := range objects {
			if size, there := sizes[objects[i].Key]; !there || size != objects[i].Size {
				missing[objects[i].Key] = true
			}
		}
	}
	for _, m := range h.Backups {
		for i := range m.Streams {
			check(m.Streams[i].Objects)
		}
	}
	for i := range h.Logs {
		check(h.Logs[i].Objects)
	}
	return missing, nil
}
