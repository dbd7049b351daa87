package job

import (
	"context"
	"errors"
	"fmt"

	"github.com/cenkalti/backoff/v5"
	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// isDelta says whether a backup of this kind builds on another one.
func isDelta(kind backup.Kind) bool {
	return kind == backup.KindDifferential || kind == backup.KindIncremental
}

// findBase makes sure that a delta could be restored: HANA would build it on a
// backup that the store has, with everything on which that one builds in turn,
// and both mean the same history of the database.
func (r *backupRun) findBase(ctx context.Context) *Error {
	if !isDelta(r.plan.Kind) {
		return nil
	}
	entry, err := r.parts.Historian.Base(ctx, r.plan.Database, r.plan.Kind)
	switch {
	case errors.Is(err, backup.ErrNotFound):
		return newError(StagePlan, CodeBaseMissing, errors.New("HANA has no successful data backup of this database on which a delta could build"))
	case err != nil:
		return newError(StagePlan, CodePlan, causeOf(ctx, err))
	}
	base, problem := r.chain(ctx, entry.BackupID)
	if problem != nil {
		return problem
	}
	if !base.Catalog.StartedAt.Equal(entry.StartedAt) || base.Catalog.EntryID != entry.EntryID {
		return newError(StagePlan, CodeBaseForeign, fmt.Errorf(
			"HANA would build on backup %d of %s, and the store's backup of that id is of %s: it is of another database or of an earlier life of this one",
			entry.BackupID, entry.StartedAt.UTC().Format(timeForm), base.Catalog.StartedAt.UTC().Format(timeForm)))
	}
	if b := r.broken; b != nil && b.At.After(base.Catalog.StartedAt) {
		return newError(StagePlan, CodeBaseForeign, fmt.Errorf(
			"the history of the database was broken at %s, after backup %d on which a delta would build: %s %s",
			b.At.UTC().Format(timeForm), entry.BackupID, b.Reason, b.Message))
	}
	if !r.config.ShipsLogs {
		r.job.warn("a delta is restored with a backup of HANA's catalog, and none is shipped, because logs.directory is not set: this one cannot be restored until one is")
	}
	r.base = base
	r.job.update(func(record *Record) { record.BaseID = base.BackupID })
	return nil
}

// findBreak notes the newest interruption of the log. Restores read it from the
// manifest, when HANA cannot be asked any more.
func (r *backupRun) findBreak(ctx context.Context) *Error {
	if r.parts.Historian == nil {
		return nil
	}
	breaks, err := r.parts.Historian.Breaks(ctx, r.plan.Database)
	r.unasked = err != nil
	switch {
	case err == nil && len(breaks) > 0:
		r.broken = &breaks[len(breaks)-1]
	case err == nil:
	case isDelta(r.plan.Kind):
		return newError(StagePlan, CodePlan, causeOf(ctx, err))
	default: // a complete backup does not depend on it, and it is asked again
		r.log.Warn("HANA does not tell whether the log was interrupted", zap.Error(err))
	}
	return nil
}

// breakTries is how often HANA is asked at the end of a backup, when it did not
// answer at its begin.
const breakTries = 3

// findBreakAgain asks before the manifest is written, if that is necessary: a
// restore that does not know of an interruption could be planned past it.
func (r *backupRun) findBreakAgain(ctx context.Context) {
	if !r.unasked {
		return
	}
	asking, cancel := cleanContext(ctx, r.config.AnswerTimeout)
	defer cancel()
	breaks, err := backoff.Retry(asking, func() ([]backup.Break, error) {
		return r.parts.Historian.Breaks(asking, r.plan.Database)
	}, backoff.WithBackOff(backoff.NewExponentialBackOff()), backoff.WithMaxTries(breakTries))
	switch {
	case err != nil:
		r.job.warn("HANA did not tell whether the log was interrupted before this backup, so the manifest does not: " + err.Error())
	case len(breaks) > 0:
		r.broken = &breaks[len(breaks)-1]
	}
}

// timeForm is how times stand in messages.
const timeForm = "2006-01-02 15:04:05.000 MST"

// chain reads the manifest of a backup and of all on which it builds, and checks
// that their objects are there. It returns the first.
func (r *backupRun) chain(ctx context.Context, id int64) (*backup.Manifest, *Error) {
	var first *backup.Manifest
	for next := id; next != 0; {
		key := backup.ManifestKey(r.plan.SID, r.plan.Database, next)
		m, err := readManifest(ctx, r.parts.Store, key)
		switch {
		case errors.Is(err, backup.ErrNotFound):
			return nil, newError(StagePlan, CodeBaseMissing, fmt.Errorf("HANA would build on backup %d, which the store does not have: %w", next, err))
		case err != nil:
			return nil, newError(StagePlan, CodeBaseMissing, causeOf(ctx, err))
		}
		if problem := presence(ctx, r.parts.Store, m); problem != nil {
			return nil, newError(StagePlan, CodeBaseMissing, fmt.Errorf("HANA would build on backup %d: %w", next, problem.Err))
		}
		if first == nil {
			first = m
		}
		next = m.BaseID
	}
	return first, nil
}

// baseMismatch says what is wrong with what a delta builds on, as its files say
// it. The form of their names is from memory; a real HANA was never seen.
func baseMismatch(e evidence) error {
	for i := range e.streams {
		s := &e.streams[i]
		file, err := backup.ParseFileName(e.plan.FileName(s.stream.StreamID))
		switch {
		case err != nil:
			return err
		case file.Kind != e.plan.Kind:
			return fmt.Errorf("file %s is of a %s backup", file.Name(), file.Kind)
		case file.BaseID != e.base.BackupID:
			return fmt.Errorf("file %s builds on backup %d, expected %d", file.Name(), file.BaseID, e.base.BackupID)
		case s.header.DatabaseUUID != "" && e.base.DatabaseUUID != "" && s.header.DatabaseUUID != e.base.DatabaseUUID:
			return fmt.Errorf("file %s is of database %s, its base of %s", file.Name(), s.header.DatabaseUUID, e.base.DatabaseUUID)
		}
	}
	return nil
}
