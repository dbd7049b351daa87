package landscape

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim/files"
)

// strategy is what a recovery by the catalog is going to read.
type strategy struct {
	data    []*savedEntry      // a complete backup and the deltas on top of it
	logs    map[int][]logPiece // by volume of the source, in the order of positions
	volumes map[int]int        // the source's volume for each of ours
}

// logPiece is one log backup of a volume.
type logPiece struct {
	savedFile

	id    int64
	start time.Time
}

// plan decides what to read by the newest backup of the catalog.
func (r *recovery) plan(ctx context.Context) (strategy, error) {
	dir := cmp.Or(r.request.CatalogPath, r.catalogDir)
	catalog, err := readCatalog(ctx, files.Reader{Profile: files.Plain}, dir)
	if err != nil {
		return strategy{}, err
	}
	source, _, _ := strings.Cut(r.request.Source, "@")
	if catalog.Database != cmp.Or(source, r.name) {
		return strategy{}, unusable(r.request.BackupID, ", the backup catalog is of database "+catalog.Database)
	}
	st := strategy{data: chain(catalog.Entries, r.request)}
	if len(st.data) == 0 {
		return strategy{}, unusable(r.request.BackupID, "")
	}
	if st.volumes, err = r.assign(st.data[0]); err != nil {
		return strategy{}, err
	}
	if !r.request.Until.IsZero() {
		st.logs = logsOf(catalog.Entries, st.data[0].History)
	}
	return st, nil
}

// chain chooses the data backups, the complete one first: those that lead to the
// wanted backup, or to the newest before the point in time.
func chain(entries []*savedEntry, request Recovery) []*savedEntry {
	usable := map[int64]*savedEntry{}
	begin := request.BackupID
	for _, e := range entries {
		known := e.State == StateSuccessful && strings.HasSuffix(e.Type, dataBackup)
		if !known || (!request.Until.IsZero() && e.End.After(request.Until)) {
			continue
		}
		usable[e.ID] = e
		if request.BackupID == 0 && e.Type == complete+dataBackup {
			begin = e.ID
		}
	}
	for _, e := range slices.Backward(entries) {
		if request.Until.IsZero() && e.ID != begin {
			continue
		}
		found := lead(usable, e.ID)
		if slices.ContainsFunc(found, func(e *savedEntry) bool { return e.ID == begin }) {
			return found
		}
	}
	return nil
}

// lead gives the backups that lead to one; none when one of them is missing.
func lead(usable map[int64]*savedEntry, id int64) []*savedEntry {
	var backwards []*savedEntry
	for {
		e, found := usable[id]
		if !found {
			return nil
		}
		backwards = append(backwards, e)
		if e.Base == 0 {
			slices.Reverse(backwards)
			return backwards
		}
		id = e.Base
	}
}

// assign finds the volume of the backup for each volume of the database: they
// are of the same services in the same order. That HANA does it so is assumed.
func (r *recovery) assign(e *savedEntry) (map[int]int, error) {
	type owner struct {
		volume  int
		service string
	}
	var theirs []owner
	for _, f := range e.Files {
		if f.Source != sourceCatalog {
			theirs = append(theirs, owner{f.Volume, f.Service})
		}
	}
	slices.SortFunc(theirs, func(a, b owner) int { return a.volume - b.volume })
	theirs = slices.Compact(theirs) // parts of one volume
	volumes := map[int]int{}
	for i, v := range r.volumes {
		if len(theirs) != len(r.volumes) || theirs[i].service != v.Service {
			return nil, unusable(e.ID, fmt.Sprintf(", its volumes are %v but those of the database are %v", theirs, r.volumes))
		}
		volumes[v.ID] = theirs[i].volume
	}
	return volumes, nil
}

// logsOf gives the log backups of one history.
func logsOf(entries []*savedEntry, history int64) map[int][]logPiece {
	logs := map[int][]logPiece{}
	for _, e := range entries {
		if e.State != StateSuccessful || e.Type != TypeLog || e.History != history {
			continue
		}
		for _, f := range e.Files {
			if f.Source == sourceVolume {
				logs[f.Volume] = append(logs[f.Volume], logPiece{f, e.ID, e.Start})
			}
		}
	}
	for _, pieces := range logs {
		slices.SortStableFunc(pieces, func(a, b logPiece) int { return cmp.Compare(a.First, b.First) })
	}
	return logs
}

// needed gives the log backups that lead from a position to a time: a log backup
// has everything that was committed before it began.
func needed(pieces []logPiece, position int64, until time.Time) []logPiece {
	pieces = slices.DeleteFunc(slices.Clone(pieces), func(p logPiece) bool { return p.Last <= position })
	for i, p := range pieces {
		if p.start.After(until) {
			return pieces[:i+1]
		}
	}
	return pieces
}

// dataPath is where a file of a data backup is read.
func (r *recovery) dataPath(f savedFile) string {
	if r.request.DataPath != "" {
		return filepath.Join(r.request.DataPath, filepath.Base(f.Path))
	}
	return f.Path
}

// logPath is where a log backup is read, found only when there is something.
func (r *recovery) logPath(f savedFile) (path string, found bool) {
	dirs := r.request.LogPaths
	if len(dirs) == 0 {
		dirs = []string{filepath.Dir(f.Path), r.logDir}
	}
	for _, dir := range dirs {
		path := filepath.Join(dir, filepath.Base(f.Path))
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			return path, true
		}
	}
	return filepath.Join(dirs[0], filepath.Base(f.Path)), false
}

// checkAccess reads the header of every file that will be needed.
func (r *recovery) checkAccess(ctx context.Context, st strategy) error {
	data, logs := files.Reader{Profile: r.settings.Profile}, files.Reader{Profile: files.Plain}
	for _, e := range st.data {
		for _, f := range e.Files {
			if f.Source == sourceCatalog {
				continue
			}
			if _, err := data.Header(ctx, r.dataPath(f)); err != nil {
				return recoveryError(f.Volume, 0, err)
			}
		}
	}
	if !r.request.CheckAccess {
		return nil
	}
	for _, f := range st.data[len(st.data)-1].Files {
		if f.Source != sourceVolume {
			continue
		}
		for _, piece := range needed(st.logs[f.Volume], f.Last, r.request.Until) {
			path, _ := r.logPath(piece.savedFile)
			if _, err := logs.Header(ctx, path); err != nil {
				return recoveryError(f.Volume, f.Last, err)
			}
		}
	}
	return nil
}
