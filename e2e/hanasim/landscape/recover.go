package landscape

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim/files"
	"github.com/pipestreamer/pipestreamer/e2e/hanasim/wire"
)

// Recovery is a RECOVER.
type Recovery struct {
	// Path is the path prefix of a complete backup that is recovered alone. All
	// but Path needs a backup of the catalog.
	Path string
	// BackupID is the data backup to recover; with Until the one to begin with.
	BackupID int64
	// Until is the point in time to reach; zero recovers one data backup.
	Until time.Time
	// Source is the database that the catalog is of, <database>@<system>; empty
	// for the same.
	Source string
	// CatalogPath, DataPath and LogPaths are directories. By default the catalog
	// is read from the log directory, the others where the catalog says.
	CatalogPath, DataPath string
	LogPaths              []string
	// ClearLog leaves the log area alone, which otherwise comes after the log
	// backups.
	ClearLog bool
	// CheckAccess opens every file that will be needed before any is read.
	CheckAccess bool
}

// Recover gives the database, which must be stopped, what the backups hold.
// Every byte is compared. After an error the database cannot start until a
// recovery succeeds. The caller starts it afterwards.
func (s *System) Recover(ctx context.Context, name string, request Recovery) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r, err := s.beginRecovery(name, request, cancel)
	if err != nil {
		return err
	}
	defer r.leave()
	var reached map[int]*recovered
	if request.Path != "" {
		reached, err = r.recoverFiles(ctx, s.absolute(name, request.Path))
	} else {
		reached, err = r.recoverByCatalog(ctx)
	}
	if err == nil && r.fail {
		err = recoveryError(0, 0, errors.New("[71000018] ptime::PtimeException"))
	}
	s.endRecovery(r.database, reached, err)
	s.log.Info("recovery ended", zap.String("database", name), zap.Error(err))
	return err
}

// recovery is one under way.
type recovery struct {
	request    Recovery
	database   *database
	name       string
	settings   Settings
	volumes    []Volume
	fail       bool
	leave      func()
	catalogDir string
	logDir     string
	history    int64            // of the log area
	area       map[int][]record // the log area
}

// recovered is what a recovery makes of one volume.
type recovered struct {
	dbid    string
	content files.Content
	point   Point
}

func (s *System) beginRecovery(name string, request Recovery, cancel context.CancelCauseFunc) (*recovery, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, err := s.lookup(name)
	switch {
	case err != nil:
		return nil, err
	case s.closed || d.online || d.recovering:
		return nil, &wire.Error{Code: 448, State: "HY000", Text: "recovery could not be completed: database " + name + " is not stopped"}
	}
	d.recovering = true
	faults := s.takeFaults(failRecover)
	r := &recovery{
		request: request, database: d, name: name, settings: s.settings, volumes: slices.Clone(d.volumes),
		fail: len(faults) > 0, leave: s.enter(cancel), history: d.history, area: map[int][]record{},
	}
	r.catalogDir, _ = s.logDirectory(name, basepathCatalog)
	r.logDir, _ = s.logDirectory(name, basepathLog)
	for id, log := range d.redo {
		r.area[id] = log.records
	}
	return r, nil
}

// endRecovery puts what was reached into the database, whose history begins
// anew.
func (s *System) endRecovery(d *database, reached map[int]*recovered, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d.recovering, d.unusable = false, err != nil
	if err != nil {
		return
	}
	for i, v := range d.volumes {
		r := reached[v.ID]
		d.contents[v.ID] = r.content
		d.volumes[i].Size = r.content.Size
		d.id = r.dbid
		if v.ID != 0 {
			d.redo[v.ID] = &redo{Point: r.point}
		}
	}
	s.breakHistory(d, "recovery", "the database was recovered")
}

// recoverFiles reads the files of all volumes of a complete backup at once, and
// all headers one by one before when the settings say so.
func (r *recovery) recoverFiles(ctx context.Context, path string) (map[int]*recovered, error) {
	reader := files.Reader{Profile: r.settings.Profile}
	for _, v := range r.volumes {
		if !r.settings.HeaderPass {
			break
		}
		header, err := reader.Header(ctx, partPath(path, v.ID, 1))
		if err == nil {
			err = matches(header, v.ID, 0, partPath(path, v.ID, 1))
		}
		if err != nil {
			return nil, recoveryError(v.ID, 0, err)
		}
	}
	read := make([]files.Header, len(r.volumes))
	group, groupCtx := errgroup.WithContext(ctx)
	for i, v := range r.volumes {
		group.Go(func() error {
			header, err := readVolume(groupCtx, reader, v.ID, path)
			if err != nil {
				return recoveryError(v.ID, 0, err)
			}
			read[i] = header
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	if err := sameBackup(read); err != nil {
		return nil, err
	}
	reached := map[int]*recovered{}
	for i, v := range r.volumes {
		var err error
		if reached[v.ID], err = begun(read[i]); err != nil {
			return nil, recoveryError(v.ID, 0, err)
		}
	}
	return reached, nil
}

// begun is what a complete backup holds.
func begun(header files.Header) (*recovered, error) {
	r := &recovered{dbid: header.DBID, content: header.Content}
	if header.VolumeID == 0 {
		return r, nil
	}
	var err error
	r.point, err = pointOf(header.Log)
	return r, err
}

// readVolume reads the parts of a volume in order and returns the last header.
func readVolume(ctx context.Context, reader files.Reader, volume int, path string) (files.Header, error) {
	for from, part := int64(0), 1; ; part++ {
		header, err := reader.Verify(ctx, partPath(path, volume, part))
		if err == nil {
			err = matches(header, volume, from, partPath(path, volume, part))
		}
		if err != nil || header.To == header.Content.Size {
			return header, err
		}
		from = header.To
	}
}

// matches checks that a file is the part of the volume that it should be.
func matches(header files.Header, volume int, from int64, path string) error {
	if header.VolumeID != volume || header.From != from {
		return &files.ReadError{Path: path, Reason: fmt.Sprintf(
			"wrong backup file, expected volume %d from byte %d but found volume %d from byte %d", volume, from, header.VolumeID, header.From)}
	}
	return nil
}

func sameBackup(read []files.Header) error {
	ids := map[int64]bool{}
	for i := range read {
		ids[read[i].BackupID] = true
	}
	if len(ids) != 1 {
		return unusable(read[0].BackupID, fmt.Sprintf(", files of backups %v are mixed", slices.Sorted(maps.Keys(ids))))
	}
	return nil
}

func partPath(path string, volume, part int) string {
	return fmt.Sprintf("%s_databackup_%d_%d", path, volume, part)
}

// recoveryError is HANA's 448. The frame is that of a real backup.log.
func recoveryError(volume int, position int64, inner error) *wire.Error {
	return &wire.Error{Code: 448, State: "HY000", Text: fmt.Sprintf(
		"recovery could not be completed, volume %d, reached log position %d, %v", volume, position, inner)}
}

// strategyError is HANA's 449, which comes before any data is touched.
func strategyError(format string, values ...any) *wire.Error {
	return &wire.Error{Code: 449, State: "HY000", Text: "recovery strategy could not be determined: " + fmt.Sprintf(format, values...)}
}

// unusable is the 449 that was seen for a backup that does not fit. What comes
// after HANA's words is the simulator's.
func unusable(id int64, why string) *wire.Error {
	return strategyError("[111014] The backup with backup id '%d' cannot be used for recovery%s", id, why)
}
