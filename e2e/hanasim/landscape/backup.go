package landscape

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim/files"
	"github.com/pipestreamer/pipestreamer/e2e/hanasim/wire"
)

// What ends a backup from outside.
var (
	errStopped  = errors.New("the database was stopped")
	errCanceled = errors.New("the backup was canceled")
)

// Request is a BACKUP DATA.
type Request struct {
	Kind         string // complete, differential or incremental
	Path         string // path prefix; without a directory it goes to BackupDir
	Asynchronous bool
	Comment      string
}

// run is one backup under way.
type run struct {
	database *database
	entry    *Entry
	cancel   context.CancelCauseFunc
	leave    func()
	settings Settings
	faults   []fault
	random   *rand.Rand
	path     string // absolute path prefix
	volumes  []Volume
	contents map[int]files.Content
	chunk    int64
	progress []*Progress
}

// Backup makes a backup of a database and returns when it has ended, or at
// once when it is asynchronous. When ctx ends before, a synchronous backup is
// canceled (assumed of HANA).
func (s *System) Backup(ctx context.Context, name string, request Request) error {
	parent := ctx
	if request.Asynchronous {
		parent = context.WithoutCancel(ctx)
	}
	ctx, cancel := context.WithCancelCause(parent)
	r, err := s.begin(name, request, cancel)
	if err != nil {
		cancel(nil)
		return err
	}
	if !request.Asynchronous {
		return s.carryOut(ctx, r)
	}
	go func() {
		if err := s.carryOut(ctx, r); err != nil {
			s.log.Info("asynchronous backup failed", zap.Int64("backup_id", r.entry.ID), zap.Error(err))
		}
	}()
	return nil
}

// begin makes the catalog's entry and keeps Close from ending before carryOut.
func (s *System) begin(name string, request Request, cancel context.CancelCauseFunc) (*run, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, err := s.lookup(name)
	if err != nil {
		return nil, err
	}
	if err := s.admit(d, request); err != nil {
		return nil, err
	}
	now := time.Now()
	entry := &Entry{ID: s.newID(now), Type: request.Kind + " data backup", State: "running", Comment: request.Comment, Start: now}
	r := &run{
		database: d, entry: entry, cancel: cancel, settings: s.settings,
		faults:  s.takeFaults(func(f fault) bool { return f.What != "recover" }),
		random:  rand.New(rand.NewPCG(s.random.Uint64(), 2)),
		path:    s.absolute(name, request.Path),
		volumes: slices.Clone(d.volumes), contents: maps.Clone(d.contents), chunk: s.chunkSize(name),
	}
	for _, f := range r.faults {
		if f.What == "extra" {
			r.volumes = append(r.volumes, Volume{f.volume, d.master(), f.At})
			r.contents[f.volume] = files.Content{Seed: s.random.Uint64(), Volume: f.volume, Size: f.At}
		}
	}
	d.entries = append(d.entries, entry)
	r.progress = r.newProgress()
	d.progress = r.progress
	d.running = r
	r.leave = s.enter(cancel)
	return r, nil
}

// admit refuses a backup that cannot start. Only the codes are known; the words
// are assumed.
func (s *System) admit(d *database, request Request) error {
	refused := slices.IndexFunc(s.faults, func(f fault) bool { return f.What == "refuse" })
	switch {
	case request.Kind != "complete":
		return general("simulator: delta backups are not simulated")
	case s.closed || !d.online:
		return backupError("Database cannot be backed up while it is stopped")
	case d.running != nil:
		return backupError(fmt.Sprintf("Conflicting operation in progress: backup %d is running", d.running.entry.ID))
	case s.settings.Replication == "secondary":
		return backupError("the system is a secondary site of a system replication")
	case refused >= 0:
		s.faults = slices.Delete(s.faults, refused, refused+1)
		return backupError("[1000002] Allocation failed; $size$=426870912; $name$=ChannelUtils::copy")
	}
	return nil
}

// absolute gives the path prefix. One without a directory goes below BackupDir
// into a directory for the database, an absolute one is taken as it is.
func (s *System) absolute(database, path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(s.config.BackupDir, subdirectory(database), path)
}

func subdirectory(database string) string {
	if database == SystemDB {
		return SystemDB
	}
	return "DB_" + database
}

func (s *System) carryOut(ctx context.Context, r *run) error {
	defer r.leave()
	written, err := s.writeAll(ctx, r)
	if err == nil {
		var catalog *File
		catalog, err = s.writeCatalog(ctx, r)
		written = append(written, catalog)
	}
	answer := s.settle(ctx, r, written, err)
	s.log.Info("backup ended", zap.String("database", r.database.name), zap.Int64("backup_id", r.entry.ID), zap.NamedError("answer", answer))
	if err := pause(ctx, r.settings.Delay.Answer, r.random); err != nil {
		return backupError(err.Error())
	}
	if slices.ContainsFunc(r.faults, func(f fault) bool { return f.What == "hangup" }) {
		return wire.ErrHangUp
	}
	return answer
}

// writeAll writes all volumes at once, the parts of one volume in order.
func (s *System) writeAll(ctx context.Context, r *run) ([]*File, error) {
	written := make([][]*File, len(r.volumes))
	group, groupCtx := errgroup.WithContext(ctx)
	for i, v := range r.volumes {
		seed := r.random.Uint64()
		group.Go(func() error {
			var err error
			written[i], err = s.writeVolume(groupCtx, r, v, rand.New(rand.NewPCG(seed, 3)))
			return err
		})
	}
	err := group.Wait()
	return slices.Concat(written...), err
}

func (s *System) writeVolume(ctx context.Context, r *run, v Volume, random *rand.Rand) ([]*File, error) {
	content := r.contents[v.ID]
	chunk := content.Size
	if r.chunk > 0 {
		chunk = max(r.chunk-files.HeaderSize, 1)
	}
	writer := r.writer(v.ID, random)
	var written []*File
	for from, part := int64(0), 1; from < content.Size; from, part = from+chunk, part+1 {
		path := partPath(r.path, v.ID, part)
		header := files.Header{
			DBID: r.database.id, BackupID: r.entry.ID, Host: s.config.Host, Service: v.Service, VolumeID: v.ID, Destination: path,
			Content: content, From: from, To: min(from+chunk, content.Size),
		}
		if err := writer.Write(ctx, path, header); err != nil {
			return written, err
		}
		source := "volume"
		if v.ID == 0 {
			source = "topology"
		}
		written = append(written, &File{Volume: v.ID, Source: source, Service: v.Service, Path: path, Size: header.FileSize(), Header: header})
	}
	r.progressOf(v).end.Store(time.Now().UnixNano())
	return written, nil
}

func (r *run) writer(volume int, random *rand.Rand) files.Writer {
	delay := r.settings.Delay
	writer := files.Writer{
		Profile: r.settings.Profile, WriteSize: r.settings.WriteSize, Sync: r.settings.Sync,
		Pause: func(ctx context.Context, at files.Point) error {
			return pause(ctx, map[files.Point]Range{files.BeforeOpen: delay.Open, files.BetweenWrites: delay.Write, files.BeforeClose: delay.Close}[at], random)
		},
		Written: func(n int64) { r.progressOf(Volume{ID: volume}).transferred.Add(n) },
	}
	for _, f := range r.faults {
		if f.volume == volume {
			writer.Fault = &f.Fault
		}
	}
	return writer
}

// writeCatalog writes the catalog's backup, a regular file, into LogDir. Its
// content is a stand-in of the size seen of an empty system, 12288 bytes.
func (s *System) writeCatalog(ctx context.Context, r *run) (*File, error) {
	dir := s.config.LogDir
	if dir == "" {
		dir = fmt.Sprintf("/usr/sap/%s/HDB%02d/backup/log", s.config.SID, s.config.Instance)
	}
	path := filepath.Join(dir, subdirectory(r.database.name), fmt.Sprintf("log_backup_0_0_0_0.%d", r.entry.ID))
	const size = 12288 - files.HeaderSize
	header := files.Header{
		DBID: r.database.id, BackupID: r.entry.ID, Host: s.config.Host, Service: r.database.master(), Destination: path,
		Content: files.Content{Seed: uint64(r.entry.ID), Size: size}, To: size,
	}
	file := &File{Source: "catalog", Service: r.database.master(), Path: path, Size: header.FileSize(), Header: header}
	if s.config.LogDir == "" {
		return file, nil
	}
	nothing := func(context.Context, files.Point) error { return nil }
	writer := files.Writer{Profile: files.Dotname, WriteSize: 1 << 16, Pause: nothing, Written: func(int64) {}}
	return file, writer.Write(ctx, path, header)
}

// settle brings the catalog up to date and gives the statement's answer.
func (s *System) settle(ctx context.Context, r *run, written []*File, err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r.database.running = nil
	entry := r.entry
	entry.End = time.Now()
	switch {
	case err == nil:
		entry.State, entry.Message, entry.Files = "successful", "<ok>", written
		return nil
	case ctx.Err() != nil:
		entry.State = "canceled"
		if cause := context.Cause(ctx); errors.Is(cause, context.Canceled) {
			err = fmt.Errorf("%w: the client has gone", errCanceled)
		}
	default:
		entry.State = "failed"
	}
	entry.Message = cut("[447] backup could not be completed, " + err.Error())
	return backupError(err.Error())
}

func backupError(inner string) *wire.Error {
	return &wire.Error{Code: 447, State: "HY000", Text: strings.TrimSuffix("backup could not be completed: "+inner, ": ")}
}

// CancelBackup cancels the backup with an id, in any database when database is
// SYSTEMDB. It returns at once.
func (s *System) CancelBackup(name string, id int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.databases {
		if r := d.running; r != nil && r.entry.ID == id && (name == SystemDB || name == d.name) {
			r.entry.State = "cancel pending"
			r.cancel(errCanceled)
			return nil
		}
	}
	return general("there is no running backup with id %d", id)
}
