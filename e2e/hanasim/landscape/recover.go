package landscape

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim/files"
	"github.com/pipestreamer/pipestreamer/e2e/hanasim/wire"
)

// Recover reads the complete backup at a path prefix and gives the database,
// which must be stopped, the content that the backup holds. Every byte is
// compared. After an error the database cannot start until a recovery succeeds.
// The caller starts it afterwards.
func (s *System) Recover(ctx context.Context, name, path string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r, err := s.beginRecovery(name, cancel)
	if err != nil {
		return err
	}
	defer r.leave()
	headers, err := r.readAll(ctx, s.absolute(name, path))
	if err == nil && r.fail {
		err = recoveryError(0, errors.New("[71000018] ptime::PtimeException"))
	}
	s.endRecovery(r.database, headers, err)
	s.log.Info("recovery ended", zap.String("database", name), zap.Error(err))
	return err
}

// recovery is one under way.
type recovery struct {
	database *database
	settings Settings
	volumes  []Volume
	fail     bool
	leave    func()
}

func (s *System) beginRecovery(name string, cancel context.CancelCauseFunc) (*recovery, error) {
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
	return &recovery{d, s.settings, slices.Clone(d.volumes), len(faults) > 0, s.enter(cancel)}, nil
}

func (s *System) endRecovery(d *database, headers map[int]files.Header, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d.recovering, d.unusable = false, err != nil
	for i, v := range d.volumes {
		if err == nil {
			d.contents[v.ID] = headers[v.ID].Content
			d.volumes[i].Size = headers[v.ID].Content.Size
		}
	}
}

// readAll reads the files of all volumes at once, and all headers one by one
// before when the settings say so.
func (r *recovery) readAll(ctx context.Context, path string) (map[int]files.Header, error) {
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
			return nil, recoveryError(v.ID, err)
		}
	}
	read := make([]files.Header, len(r.volumes))
	group, groupCtx := errgroup.WithContext(ctx)
	for i, v := range r.volumes {
		group.Go(func() error {
			header, err := readVolume(groupCtx, reader, v.ID, path)
			if err != nil {
				return recoveryError(v.ID, err)
			}
			read[i] = header
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return sameBackup(r.volumes, read)
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

func sameBackup(volumes []Volume, read []files.Header) (map[int]files.Header, error) {
	headers := map[int]files.Header{}
	ids := map[int64]bool{}
	for i, v := range volumes {
		headers[v.ID] = read[i]
		ids[read[i].BackupID] = true
	}
	if len(ids) != 1 {
		return nil, &wire.Error{Code: 449, State: "HY000", Text: fmt.Sprintf(
			"recovery strategy could not be determined: [111014] The backup with backup id '%d' cannot be used for recovery, files of backups %v are mixed",
			read[0].BackupID, slices.Sorted(maps.Keys(ids)))}
	}
	return headers, nil
}

func partPath(path string, volume, part int) string {
	return fmt.Sprintf("%s_databackup_%d_%d", path, volume, part)
}

// recoveryError is HANA's 448. The frame is that of a real backup.log.
func recoveryError(volume int, inner error) *wire.Error {
	return &wire.Error{Code: 448, State: "HY000", Text: fmt.Sprintf(
		"recovery could not be completed, volume %d, reached log position 0, %v", volume, inner)}
}
