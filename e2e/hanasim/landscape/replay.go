package landscape

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim/files"
)

// recoverByCatalog reads the data backups one after another, all volumes of one
// at once, and then replays the log volume by volume.
func (r *recovery) recoverByCatalog(ctx context.Context) (map[int]*recovered, error) {
	st, err := r.plan(ctx)
	if err != nil {
		return nil, err
	}
	if r.request.CheckAccess || r.settings.HeaderPass {
		if err := r.checkAccess(ctx, st); err != nil {
			return nil, err
		}
	}
	reached := map[int]*recovered{}
	for _, e := range st.data {
		if err := r.restore(ctx, e, st.volumes, reached); err != nil {
			return nil, err
		}
	}
	if !r.request.Until.IsZero() {
		err = r.replayAll(ctx, st, reached)
	}
	return reached, err
}

// replayAll replays the log backups, and unless the log is cleared what is in
// the log area.
func (r *recovery) replayAll(ctx context.Context, st strategy, reached map[int]*recovered) error {
	for _, v := range r.volumes {
		if v.ID == 0 {
			continue
		}
		source := st.volumes[v.ID]
		whole, err := r.replay(ctx, source, reached[v.ID], st.logs[source])
		if err != nil {
			return recoveryError(v.ID, reached[v.ID].point.Position, err)
		}
		if whole && !r.request.ClearLog && r.history == st.data[0].History {
			r.replayArea(v.ID, reached[v.ID])
		}
	}
	return nil
}

// restore reads one data backup.
func (r *recovery) restore(ctx context.Context, e *savedEntry, volumes map[int]int, reached map[int]*recovered) error {
	read := make([]files.Header, len(r.volumes))
	group, groupCtx := errgroup.WithContext(ctx)
	for i, v := range r.volumes {
		group.Go(func() error {
			header, err := r.readFiles(groupCtx, e, volumes[v.ID])
			if err != nil {
				return recoveryError(v.ID, 0, err)
			}
			read[i] = header
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for i, v := range r.volumes {
		header := read[i]
		if header.BackupID != e.ID {
			return unusable(e.ID, fmt.Sprintf(", a file is of backup %d", header.BackupID))
		}
		var err error
		if e.Base == 0 || v.ID == 0 {
			reached[v.ID], err = begun(header)
		} else {
			err = reached[v.ID].add(header)
		}
		if err != nil {
			return recoveryError(v.ID, 0, err)
		}
	}
	return nil
}

// readFiles reads the parts of a volume in order and returns the last header,
// with the data of all.
func (r *recovery) readFiles(ctx context.Context, e *savedEntry, volume int) (files.Header, error) {
	reader := files.Reader{Profile: r.settings.Profile}
	var last files.Header
	for _, f := range e.Files {
		if f.Volume != volume || f.Source == sourceCatalog {
			continue
		}
		path := r.dataPath(f)
		header, err := reader.Verify(ctx, path)
		if err == nil {
			err = matches(header, volume, last.To, path)
		}
		if err != nil {
			return files.Header{}, err
		}
		header.Data = append(last.Data, header.Data...)
		last = header
	}
	return last, nil
}

// add applies a delta: every record, and the state has to be what it was.
func (v *recovered) add(header files.Header) error {
	if header.Log.First != v.point.Position {
		return fmt.Errorf("the delta begins at log position %d", header.Log.First)
	}
	records, err := parseRecords(header.Data)
	if err != nil {
		return err
	}
	for _, record := range records {
		v.point = v.point.after(record)
	}
	return v.check(header.Log)
}

func (v *recovered) check(log files.Log) error {
	if v.point.Hex() != log.State || v.point.Position != log.Last {
		return fmt.Errorf("log position %d has the state %s, expected position %d and state %s", v.point.Position, v.point.Hex(), log.Last, log.State)
	}
	return nil
}

// replay applies log backups up to the point in time. whole tells that none was
// missing: where one is, HANA was seen to stop without an error.
func (r *recovery) replay(ctx context.Context, volume int, v *recovered, pieces []logPiece) (whole bool, err error) {
	reader := files.Reader{Profile: files.Plain}
	for _, piece := range needed(pieces, v.point.Position, r.request.Until) {
		path, found := r.logPath(piece.savedFile)
		if !found || piece.First > v.point.Position {
			return false, r.gap(path)
		}
		header, err := reader.Verify(ctx, path)
		if err != nil {
			return false, err
		}
		if header.VolumeID != volume || header.BackupID != piece.id {
			return false, &files.ReadError{Path: path, Reason: fmt.Sprintf("it is log backup %d of volume %d", header.BackupID, header.VolumeID)}
		}
		records, err := parseRecords(header.Data)
		if err != nil {
			return false, err
		}
		if v.apply(records, r.request) {
			return true, nil
		}
		if err := v.check(header.Log); err != nil {
			return false, err
		}
	}
	return true, nil
}

// gap is a log backup that is missing.
func (r *recovery) gap(path string) error {
	if r.settings.LogGap == gapFails {
		return fmt.Errorf("the log backup %q is missing", path)
	}
	return nil
}

// apply applies records until the point in time, which it tells to be reached.
func (v *recovered) apply(records []record, request Recovery) (reached bool) {
	for _, record := range records {
		if record.time.After(request.Until) {
			return true
		}
		if record.position > v.point.Position {
			v.point = v.point.after(record)
		}
	}
	return false
}

// replayArea goes on with the log area, where it has what comes next.
func (r *recovery) replayArea(volume int, v *recovered) {
	log := redo{records: r.area[volume]}
	rest := log.since(v.point.Position)
	if len(rest) > 0 && rest[0].position == v.point.Position+recordSize {
		v.apply(rest, r.request)
	}
}
