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

// What ends a backup from outside, and what may fail at its end. The words of
// the last are those of a real message of which no more is known.
var (
	errStopped    = errors.New("the database was stopped")
	errCanceled   = errors.New("the backup was canceled")
	errClientGone = fmt.Errorf("%w: the client has gone", errCanceled)
	errCrashed    = fmt.Errorf("the database crashed: %w", files.ErrKilled)
	errCatalog    = errors.New("[8022830] ltt::exception caught while operating on IDBackupCatalog")
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
	cut      func() // the client's connection
	leave    func()
	settled  chan struct{} // closed when the catalog knows the end
	settings Settings
	faults   []fault
	random   *rand.Rand
	path     string // absolute path prefix
	volumes  []Volume
	contents map[int]files.Content
	chunk    int64
	progress []*Progress
	points   map[int]Point // where the logs stood at its start

	// Of a delta: its kind, its base, the records since and where they begin.
	kind  string
	base  int64
	data  map[int][]byte
	first map[int]int64
}

// Backup makes a backup of a database and returns when it has ended, or at
// once when it is asynchronous. When ctx ends before, a synchronous backup is
// canceled (assumed of HANA), or goes on without its client: see
// Settings.ClientGone.
func (s *System) Backup(ctx context.Context, name string, request Request) error {
	client, cut := context.WithCancelCause(ctx)
	defer cut(nil)
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	r, err := s.begin(name, request, cancel)
	if err != nil {
		cancel(nil)
		return err
	}
	r.cut = func() { cut(wire.ErrHangUp) }
	answer := make(chan error, 1)
	go func() { answer <- s.carryOut(ctx, r) }() // Close waits for it
	if request.Asynchronous {
		return nil
	}
	select {
	case err := <-answer:
		return err
	case <-client.Done():
	}
	if errors.Is(context.Cause(client), wire.ErrHangUp) || r.settings.ClientGone == clientContinues {
		return wire.ErrHangUp
	}
	r.cancel(errClientGone)
	return <-answer
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
	now := s.now()
	entry := &Entry{ID: s.newID(now), Type: request.Kind + dataBackup, State: StateRunning, Comment: request.Comment, Start: now, History: d.history}
	r := &run{
		database: d, entry: entry, cancel: cancel, settled: make(chan struct{}), settings: s.settings,
		faults:  s.takeFaults(faultsOfBackups()...),
		random:  rand.New(rand.NewPCG(s.random.Uint64(), 2)),
		path:    s.absolute(name, request.Path),
		volumes: slices.Clone(d.volumes), contents: maps.Clone(d.contents), chunk: s.chunkSize(name),
		points: d.points(), kind: request.Kind, first: map[int]int64{},
	}
	if isDelta(request.Kind) {
		s.deltaOf(r, d.base(request.Kind))
		entry.Base = r.base
	}
	for _, f := range r.faults {
		if f.What == extra {
			r.volumes = append(r.volumes, Volume{f.volume, d.master(), f.At})
			r.contents[f.volume] = files.Content{Seed: s.random.Uint64(), Volume: f.volume, Size: f.At}
		}
	}
	entry.late = lateness{draw(s.settings.Late.Row, r.random), draw(s.settings.Late.State, r.random), draw(s.settings.Late.Files, r.random)}
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
	switch {
	case s.closed || !d.online:
		return backupError("Database cannot be backed up while it is stopped")
	case d.running != nil:
		return backupError(fmt.Sprintf("Conflicting operation in progress: backup %d is running", d.running.entry.ID))
	case s.settings.Replication == "secondary":
		return backupError("the system is a secondary site of a system replication")
	case isDelta(request.Kind) && d.base(request.Kind) == nil:
		return backupError("No data backups found.") // the words of a real trace
	case s.takeFault(refuse):
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
	if err == nil && r.has(stallEnd) {
		err = s.hold(ctx)
	}
	if err == nil && r.has(failEnd) {
		err = errCatalog
	}
	if err == nil {
		var catalog *File
		catalog, err = s.writeCatalog(ctx, r, written)
		written = append(written, catalog)
	}
	answer := s.settle(ctx, r, written, err)
	s.log.Info("backup ended", zap.String("database", r.database.name), zap.Int64("backup_id", r.entry.ID), zap.NamedError("answer", answer))
	if r.has(stallAnswer) {
		err = s.hold(ctx)
	} else {
		err = pause(ctx, r.settings.Delay.Answer, r.random)
	}
	if err != nil {
		return backupError(err.Error())
	}
	if r.has(hangup) {
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
	writer := s.writer(r, v.ID, random)
	var written []*File
	for from, part := int64(0), 1; from < content.Size; from, part = from+chunk, part+1 {
		file := s.partOf(r, v, part, from, min(from+chunk, content.Size))
		if err := writer.Write(ctx, file.Path, file.Header); err != nil {
			return written, err
		}
		written = append(written, file)
	}
	r.progressOf(v).end.Store(time.Now().Add(r.settings.Clock).UnixNano())
	return written, nil
}

// partOf describes the file with the bytes from one offset of a volume's backup
// to another.
func (s *System) partOf(r *run, v Volume, part int, from, to int64) *File {
	path := r.fileName(v.ID, part)
	data := r.data[v.ID]
	header := files.Header{
		DBID: r.database.id, BackupID: r.entry.ID, Host: s.config.Host, Service: v.Service, VolumeID: v.ID, Destination: path,
		Content: r.contents[v.ID], From: from, To: to,
		Data: data[min(from, int64(len(data))):min(to, int64(len(data)))],
		Log:  files.Log{History: r.entry.History},
	}
	if point, found := r.points[v.ID]; found {
		header.Log = point.log(r.entry.History, r.first[v.ID])
	}
	source := sourceVolume
	if v.ID == 0 {
		source = sourceTopology
	}
	return &File{Volume: v.ID, Source: source, Service: v.Service, Path: path, Size: header.FileSize(), Header: header}
}

func (s *System) writer(r *run, volume int, random *rand.Rand) files.Writer {
	delay := r.settings.Delay
	return files.Writer{
		Profile: r.settings.Profile, WriteSize: r.settings.WriteSize, First: r.settings.First,
		Packets: r.settings.Packets, Sync: r.settings.Sync,
		Pause: func(ctx context.Context, at files.Point) error {
			return pause(ctx, map[files.Point]Range{files.BeforeOpen: delay.Open, files.BetweenWrites: delay.Write, files.BeforeClose: delay.Close}[at], random)
		},
		Faults:  r.of(volume),
		Hold:    s.hold,
		Cut:     r.cut,
		Written: func(n int64) { r.progressOf(Volume{ID: volume}).transferred.Add(n) },
	}
}

// writeCatalog writes the catalog's backup, a regular file, as it is when this
// backup has succeeded.
func (s *System) writeCatalog(ctx context.Context, r *run, written []*File) (*File, error) {
	s.mu.Lock()
	entry := *r.entry
	entry.State, entry.End, entry.Files = StateSuccessful, s.now(), written
	if r.has(catalogFailed) {
		entry.State, entry.Files = StateFailed, nil
	}
	file, exists, err := s.catalogFile(r.database, &entry)
	s.mu.Unlock()
	if err != nil || !exists {
		return file, err
	}
	return file, writeQuietly(ctx, file, nil)
}

// settle brings the catalog up to date and gives the statement's answer.
func (s *System) settle(ctx context.Context, r *run, written []*File, err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer close(r.settled)
	r.database.running = nil
	entry := r.entry
	entry.End = s.now()
	switch {
	case err == nil && r.has(catalogFailed):
		entry.State, entry.Message = StateFailed, message(errCatalog)
		return nil
	case err == nil:
		entry.State, entry.Message, entry.Files = StateSuccessful, "<ok>", written
		s.rely(r)
		if r.has(answerFailed) {
			return backupError(errCatalog.Error())
		}
		return nil
	case errors.Is(context.Cause(ctx), errCrashed):
		entry.State, entry.Message = r.settings.CrashLeaves, message(err)
		if entry.State == StateRunning {
			entry.End, entry.Message = time.Time{}, ""
		}
		return wire.ErrHangUp
	case ctx.Err() != nil:
		entry.State = "canceled"
	default:
		entry.State = StateFailed
	}
	entry.Message = message(err)
	return backupError(err.Error())
}

// rely makes log backups begin with the first complete backup of a history.
func (s *System) rely(r *run) {
	d := r.database
	if r.kind != complete || d.based || d.history != r.entry.History {
		return
	}
	d.based = !s.overwrites(d)
	for id, log := range d.redo {
		log.backedUp = r.points[id].Position
	}
}

// message is the catalog's column.
func message(err error) string {
	return cut("[447] backup could not be completed, " + err.Error())
}

func backupError(inner string) *wire.Error {
	return &wire.Error{Code: 447, State: "HY000", Text: strings.TrimSuffix("backup could not be completed: "+inner, ": ")}
}

// CancelBackup cancels the backup with an id, in any database when database is
// SYSTEMDB. It returns at once. Settings.Cancel may say otherwise.
func (s *System) CancelBackup(name string, id int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.databases {
		r := d.running
		if r == nil || r.entry.ID != id || (name != SystemDB && name != d.name) {
			continue
		}
		if s.settings.Cancel == cancelRefuse {
			return general("backup %d cannot be canceled now", id)
		}
		r.entry.State = "cancel pending"
		if s.settings.Cancel == cancelAccept {
			r.cancel(errCanceled)
		}
		return nil
	}
	return general("there is no running backup with id %d", id)
}
