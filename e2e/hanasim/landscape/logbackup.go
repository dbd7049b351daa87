package landscape

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim/files"
)

// TypeLog is the type of a log backup's entry.
const TypeLog = "log backup"

// LogBackup backs up the log of every volume of a database that has records
// which are in no log backup yet, and then its catalog. A log backup that fails
// shows in the catalog only: HANA makes them by itself and nobody waits for it.
// An error says why none could begin.
func (s *System) LogBackup(ctx context.Context, name string) error {
	return s.backUpLogs(ctx, name, 1, false)
}

// LogBurst commits a record in every volume and makes log backups, n times.
func (s *System) LogBurst(ctx context.Context, name string, n int) error {
	return s.backUpLogs(ctx, name, n, true)
}

func (s *System) backUpLogs(ctx context.Context, name string, rounds int, work bool) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	d, end, err := s.beginLogs(name, cancel)
	if err != nil {
		return err
	}
	defer end()
	var last *Entry
	for i := range rounds {
		s.mu.Lock()
		if work {
			s.commit(d, 1)
		}
		jobs := s.planLogs(d)
		each := s.settings.CatalogEach
		s.mu.Unlock()
		for _, job := range jobs {
			if s.writeLog(ctx, d, job) {
				last = job.entry
			}
		}
		if last != nil && (each || i == rounds-1) {
			s.catalogOfLogs(ctx, d, last)
			last = nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return nil
}

// beginLogs makes sure that nobody else backs up the logs of the database until
// end is called.
func (s *System) beginLogs(name string, cancel context.CancelCauseFunc) (d *database, end func(), err error) {
	s.mu.Lock()
	d, err = s.lookup(name)
	s.mu.Unlock()
	if err != nil {
		return nil, nil, err
	}
	d.logs <- struct{}{}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.admitLogs(d); err != nil {
		<-d.logs
		return nil, nil, err
	}
	d.endLogs = cancel
	leave := s.enter(cancel)
	return d, func() {
		s.mu.Lock()
		d.endLogs = nil
		s.mu.Unlock()
		<-d.logs
		leave()
	}, nil
}

// admitLogs tells why the logs of a database are not backed up: until the first
// complete backup HANA runs as in log_mode overwrite.
func (s *System) admitLogs(d *database) error {
	_, exists := s.logDirectory(d.name, basepathLog)
	switch {
	case s.closed || !d.online:
		return general("database %q is stopped", d.name)
	case s.overwrites(d):
		return general("simulator: there are no log backups in log_mode overwrite")
	case !d.based:
		return general("simulator: there are no log backups before the first complete backup")
	case !exists:
		return general("simulator: no directory for log backups is configured")
	}
	return nil
}

// logJob is one log backup to be written.
type logJob struct {
	entry *Entry
	file  *File
	log   *redo
	fault *files.Fault
	skip  bool
}

// planLogs makes the entries of the log backups that are due.
func (s *System) planLogs(d *database) []*logJob {
	dir, _ := s.logDirectory(d.name, basepathLog)
	var jobs []*logJob
	for _, v := range d.volumes {
		log := d.redo[v.ID]
		if log == nil || log.Position == log.backedUp {
			continue
		}
		now := s.now()
		entry := &Entry{ID: s.newID(now), Type: TypeLog, State: StateRunning, Start: now, History: d.history}
		d.entries = append(d.entries, entry)
		path := filepath.Join(dir, fmt.Sprintf("log_backup_%d_0_%d_%d.%d", v.ID, log.backedUp, log.Position, entry.ID))
		data := encodeRecords(log.since(log.backedUp))
		header := files.Header{
			DBID: d.id, BackupID: entry.ID, Host: s.config.Host, Service: v.Service, VolumeID: v.ID, Destination: path,
			Content: files.Content{Volume: v.ID, Size: int64(len(data))}, To: int64(len(data)), Data: data,
			Log: log.log(d.history, log.backedUp),
		}
		job := &logJob{entry: entry, log: log, file: &File{Volume: v.ID, Source: sourceVolume, Service: v.Service, Path: path, Size: header.FileSize(), Header: header}}
		if f, found := s.takeLogFault(failLog, v.ID); found {
			job.fault = &files.Fault{What: "write", At: f.At, Errno: f.Errno}
		}
		_, job.skip = s.takeLogFault(skipLog, v.ID)
		jobs = append(jobs, job)
	}
	return jobs
}

// writeLog writes the file of a log backup and tells whether it succeeded.
func (s *System) writeLog(ctx context.Context, d *database, job *logJob) bool {
	var err error
	if !job.skip {
		err = writeQuietly(ctx, job.file, job.fault)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	job.entry.End = s.now()
	if err != nil {
		job.entry.State, job.entry.Message = StateFailed, message(err)
		s.log.Info("log backup failed", zap.String("database", d.name), zap.Error(err))
		return false
	}
	job.entry.State, job.entry.Message, job.entry.Files = StateSuccessful, "<ok>", []*File{job.file}
	job.log.backedUp = job.file.Header.Log.Last
	return true
}

// writeQuietly writes a file as HANA does that of a log backup (".X", renamed),
// without the waits of data backups, and keeps its digest for its Data.
func writeQuietly(ctx context.Context, file *File, fault *files.Fault) error {
	writer := files.Writer{
		Profile: files.Dotname, WriteSize: int(min(file.Size, 1<<16)),
		Pause:   func(context.Context, files.Point) error { return nil },
		Written: func(int64) {},
	}
	if fault != nil {
		writer.Faults = []files.Fault{*fault}
	}
	sum, err := file.Header.SHA256(ctx)
	if err == nil {
		err = writer.Write(ctx, file.Path, file.Header)
	}
	file.Sum, file.Header.Data = sum, nil
	return err
}

// catalogOfLogs writes the catalog's backup as a file of the newest log backup.
func (s *System) catalogOfLogs(ctx context.Context, d *database, entry *Entry) {
	s.mu.Lock()
	file, exists, err := s.catalogFile(d, entry)
	s.mu.Unlock()
	if err == nil && exists {
		err = writeQuietly(ctx, file, nil)
	}
	if err != nil {
		s.log.Info("catalog backup failed", zap.String("database", d.name), zap.Error(err))
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	entry.Files = append(entry.Files, file)
}

// setLogBackups makes log backups happen by themselves; s.mu is held.
func (s *System) setLogBackups(value string) error {
	every, err := time.ParseDuration(value)
	if err != nil && value != "0" || every < 0 {
		return fmt.Errorf("%q: expected a duration", value)
	}
	if s.endKeeper != nil {
		s.endKeeper(nil)
	}
	if every == 0 || s.closed {
		return nil
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	s.endKeeper = cancel
	leave := s.enter(cancel)
	go func() { // Close waits for it
		defer leave()
		s.keepLogs(ctx, every)
	}()
	return nil
}

// keepLogs makes log backups of every database for which they are possible and
// enabled, until ctx ends.
func (s *System) keepLogs(ctx context.Context, every time.Duration) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		for _, name := range s.Names() {
			s.mu.Lock()
			enabled := s.parameter(name, "persistence", "enable_auto_log_backup") == "yes"
			possible := s.admitLogs(s.find(name)) == nil
			s.mu.Unlock()
			if !enabled || !possible {
				continue
			}
			if err := s.LogBackup(ctx, name); err != nil && !errors.Is(err, context.Canceled) {
				s.log.Info("log backups", zap.String("database", name), zap.Error(err))
			}
		}
	}
}
