package landscape

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim/files"
	"github.com/pipestreamer/pipestreamer/e2e/hanasim/wire"
)

// SystemDB is the name of the system database.
const SystemDB = "SYSTEMDB"

// topologySize makes the file of volume 0 as large as one seen in a real
// listing, 155648 bytes.
const topologySize = 155648 - files.HeaderSize

// Volume is a persistence and the service that owns it. Size is its content in
// bytes; the file of a backup is a header block larger.
type Volume struct {
	ID      int
	Service string
	Size    int64
}

// Database is a database to simulate. Volume 0, the topology, is added when it
// is not among Volumes. An empty Service is the database's master.
type Database struct {
	Name    string
	Volumes []Volume
}

// Config is what a system is made from.
type Config struct {
	SID, Host string
	Instance  int
	Databases []Database
	// BackupDir takes backups whose prefix has no directory; LogDir, when set,
	// takes the backups of the catalog.
	BackupDir, LogDir string
	// Seed makes contents and delays reproducible.
	Seed     uint64
	Settings Settings
}

// System is the landscape. Its methods may be called at once.
type System struct {
	config Config
	log    *zap.Logger
	work   sync.WaitGroup // backups and recoveries

	mu        sync.Mutex
	random    *rand.Rand
	settings  Settings
	faults    []fault
	stalled   int
	resumed   chan struct{} // closed when stalls are resumed
	databases []*database
	lastID    int64
	active    map[int64]context.CancelCauseFunc // of backups and recoveries
	lastWork  int64
	closed    bool
	endKeeper context.CancelCauseFunc // of the log backups that happen by themselves, or nil

	parameters map[Parameter]string
}

// database is guarded by System.mu.
type database struct {
	name       string
	id         string // a UUID, as in [DBID]
	volumes    []Volume
	contents   map[int]files.Content
	online     bool
	unusable   bool // a recovery failed and none has succeeded since
	recovering bool
	entries    []*Entry
	progress   []*Progress
	running    *run

	redo    map[int]*redo // by volume, of all but the topology
	history int64
	based   bool // the history has a complete backup
	broken  []Break
	logs    chan struct{}           // holds one while log backups are written; before System.mu
	endLogs context.CancelCauseFunc // of the log backups under way, or nil
}

// New makes a system whose databases are all online.
func New(config Config, log *zap.Logger) (*System, error) {
	s := &System{
		config: config, log: log.Named("landscape"), settings: config.Settings,
		random:     rand.New(rand.NewPCG(config.Seed, 1)),
		parameters: defaultParameters(config), active: map[int64]context.CancelCauseFunc{}, resumed: make(chan struct{}),
	}
	s.settings.fillIn()
	for _, d := range config.Databases {
		added, err := s.newDatabase(d)
		if err != nil {
			return nil, err
		}
		s.databases = append(s.databases, added)
	}
	if s.find(SystemDB) == nil {
		return nil, errors.New("no database SYSTEMDB is configured")
	}
	return s, nil
}

func (s *System) newDatabase(config Database) (*database, error) {
	if config.Name == "" || s.find(config.Name) != nil {
		return nil, fmt.Errorf("database %q: expected a name of its own", config.Name)
	}
	d := &database{
		name: config.Name, online: true, contents: map[int]files.Content{}, redo: map[int]*redo{}, logs: make(chan struct{}, 1),
	}
	d.id = fmt.Sprintf("%08x-0000-4000-8000-%012x", s.random.Uint32(), s.random.Uint64()>>16)
	volumes := slices.Clone(config.Volumes)
	if !slices.ContainsFunc(volumes, func(v Volume) bool { return v.ID == 0 }) {
		volumes = append(volumes, Volume{Size: topologySize})
	}
	for _, v := range volumes {
		if err := s.addVolume(d, v); err != nil {
			return nil, fmt.Errorf("database %s: %w", config.Name, err)
		}
	}
	return d, nil
}

func (s *System) addVolume(d *database, v Volume) error {
	if _, exists := d.contents[v.ID]; exists || v.ID < 0 || v.Size < 1 {
		return fmt.Errorf("volume %d of %d bytes: expected an id of its own and at least a byte", v.ID, v.Size)
	}
	if v.Service == "" || v.ID == 0 {
		v.Service = d.master()
	}
	d.volumes = append(d.volumes, v)
	slices.SortFunc(d.volumes, func(a, b Volume) int { return a.ID - b.ID })
	s.write(d, v)
	return nil
}

// write fills a volume with new content, at which its log goes on.
func (s *System) write(d *database, v Volume) {
	content := files.Content{Seed: s.random.Uint64(), Volume: v.ID, Size: v.Size, Compressible: s.settings.Compressible}
	d.contents[v.ID] = content
	s.renew(d)
	if v.ID == 0 {
		return
	}
	position := int64(firstPosition)
	if old := d.redo[v.ID]; old != nil {
		position = old.Position
	}
	d.redo[v.ID] = &redo{Point: newPoint(content, position)}
}

// master is the service that writes the topology.
func (d *database) master() string {
	if d.name == SystemDB {
		return "nameserver"
	}
	return "indexserver"
}

func (s *System) find(name string) *database {
	for _, d := range s.databases {
		if d.name == name {
			return d
		}
	}
	return nil
}

// lookup is find with HANA's error. The wording is assumed.
func (s *System) lookup(name string) (*database, error) {
	if d := s.find(name); d != nil {
		return d, nil
	}
	return nil, general("database %q does not exist", name)
}

// newID gives a backup id: epoch milliseconds, never one twice.
func (s *System) newID(now time.Time) int64 {
	s.lastID = max(s.lastID+1, now.UnixMilli())
	return s.lastID
}

// Names gives the databases in the order of the configuration.
func (s *System) Names() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	names := make([]string, len(s.databases))
	for i, d := range s.databases {
		names[i] = d.name
	}
	return names
}

// SetOnline notes that a database was stopped or started. A database that is
// being recovered or whose recovery failed cannot start.
func (s *System) SetOnline(name string, online bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, err := s.lookup(name)
	switch {
	case err != nil:
		return err
	case d.online == online:
		return general("database %q is already %s", name, map[bool]string{true: "started", false: "stopped"}[online])
	case online && (d.unusable || d.recovering):
		return general("database %q cannot be started, its recovery has not succeeded", name)
	}
	d.online = online
	if !online {
		d.interrupt(errStopped)
	}
	if online {
		d.progress = nil // "cleared by restart"
	}
	return nil
}

// Crash takes every database down, waits until no backup writes any more, and
// gives the names of those that were online.
func (s *System) Crash() []string {
	s.mu.Lock()
	var names []string
	var ended []<-chan struct{}
	for _, d := range s.databases {
		if d.online {
			names = append(names, d.name)
		}
		d.online = false
		d.interrupt(errCrashed)
		if d.running != nil {
			ended = append(ended, d.running.settled)
		}
	}
	databases := slices.Clone(s.databases)
	s.mu.Unlock()
	for _, settled := range ended {
		<-settled
	}
	for _, d := range databases {
		d.logs <- struct{}{} // when nobody writes log backups any more
		<-d.logs
	}
	return names
}

// interrupt cancels whatever writes backups of d.
func (d *database) interrupt(cause error) {
	if d.running != nil {
		d.running.cancel(cause)
	}
	if d.endLogs != nil {
		d.endLogs(cause)
	}
}

// Destroy fills every volume of a database with new content: the old is lost.
func (s *System) Destroy(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, err := s.lookup(name)
	if err != nil {
		return err
	}
	for _, v := range d.volumes {
		s.write(d, v)
	}
	return nil
}

// Resize gives a volume a new size and new content. A volume that is not there
// is added.
func (s *System) Resize(name string, volume Volume) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, err := s.lookup(name)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(d.volumes, func(v Volume) bool { return v.ID == volume.ID })
	if i < 0 || volume.Size < 1 {
		return s.addVolume(d, volume)
	}
	d.volumes[i].Size = volume.Size
	s.write(d, d.volumes[i])
	return nil
}

// enter registers a backup or recovery, which Close then cancels and waits for;
// s.mu is held. The work ends by calling leave.
func (s *System) enter(cancel context.CancelCauseFunc) (leave func()) {
	s.lastWork++
	number := s.lastWork
	s.active[number] = cancel
	s.work.Add(1)
	return func() {
		s.mu.Lock()
		delete(s.active, number)
		s.mu.Unlock()
		cancel(nil)
		s.work.Done()
	}
}

// Close cancels every backup and recovery and waits for them. Later ones are
// refused.
func (s *System) Close() {
	s.mu.Lock()
	s.closed = true
	for _, cancel := range s.active {
		cancel(errStopped)
	}
	s.mu.Unlock()
	s.work.Wait()
}

func general(format string, values ...any) *wire.Error {
	return &wire.Error{Code: 2, State: "HY000", Text: "general error: " + fmt.Sprintf(format, values...)}
}

// cut shortens a MESSAGE as the catalog's column does.
func cut(text string) string {
	const limit = 512
	if len(text) > limit {
		text = strings.ToValidUTF8(text[:limit], "")
	}
	return text
}
