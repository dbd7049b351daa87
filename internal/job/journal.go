package job

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
	"github.com/pipestreamer/pipestreamer/pkg/fifo"
)

// journalVersion is the version of the files in the state directory.
const journalVersion = 1

// journalLength is how many ended jobs are remembered.
const journalLength = 1000

// door is what the journal needs of a front door, so that a later process can
// release its pipes.
type door interface {
	// Names tells what Prepare will make, before anything is made.
	Names(plan backup.Plan) ([]fifo.PipeID, error)
	// Prepare makes it.
	Prepare(ctx context.Context, plan backup.Plan) error
	// Pipes identifies what Prepare made.
	Pipes() []fifo.PipeID
}

// Source is a front door of a backup whose pipes can be journaled.
type Source interface {
	backup.Source
	door
}

// Sink is a front door of a restore whose pipes can be journaled.
type Sink interface {
	backup.Sink
	door
}

// arm prepares a door so that a crash at any moment leaves a journal that knows
// its pipes. When it returns nil, the journal also says that HANA may have been
// told.
func (c *Conductor) arm(ctx context.Context, j *live, d door, plan backup.Plan) *Error {
	pipes, err := d.Names(plan)
	if err != nil {
		return newError(StageArm, CodePipe, err)
	}
	if err := c.journal.save(entry{Record: j.snapshot(), Request: j.request, Pipes: pipes}); err != nil {
		return newError(StageArm, CodeState, err)
	}
	if err := d.Prepare(ctx, plan); err != nil {
		return newError(StageArm, CodePipe, causeOf(ctx, err))
	}
	if pipes := d.Pipes(); len(pipes) > 0 {
		j.note(SideDaemon, "has made its pipes, with a reader or writer on each")
	} else {
		j.note(SideDaemon, "makes no pipes: HANA gets and leaves files")
	}
	j.update(func(record *Record) { record.Stage = StageStream })
	if err := c.journal.save(entry{Record: j.snapshot(), Request: j.request, Pipes: d.Pipes()}); err != nil {
		return newError(StageArm, CodeState, err)
	}
	return nil
}

// entry is one file of the journal.
type entry struct {
	Version int `json:"version"`
	// Sequence counts the jobs of all processes; save sets it. A clock may be
	// set back between two jobs, so neither times nor ids tell their order. 0 is
	// of a program that did not count yet.
	Sequence int64         `json:"sequence,omitempty"`
	Record   Record        `json:"record"`
	Request  string        `json:"request"`
	Pipes    []fifo.PipeID `json:"pipes,omitempty"`
}

// journal keeps one file for each job, replaced atomically.
type journal struct {
	directory string

	mu        sync.Mutex
	last      int64            // sequence
	sequences map[string]int64 // by job id
}

func openJournal(stateDirectory string) (*journal, error) {
	directory := filepath.Join(stateDirectory, "jobs")
	if err := os.MkdirAll(directory, 0o700); err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	return &journal{directory: directory, sequences: make(map[string]int64)}, nil
}

func (j *journal) path(id string) string { return filepath.Join(j.directory, id+".json") }

// save writes an entry so that a crash leaves the old or the new one, whole.
func (j *journal) save(e entry) (err error) {
	defer func() {
		if err != nil {
			err = newError(StageClean, CodeState, fmt.Errorf("write journal: %w", err))
		}
	}()
	e.Version, e.Sequence = journalVersion, j.sequence(e.Record.ID)
	text, err := json.Marshal(e)
	if err != nil {
		return err
	}
	return replaceFile(j.path(e.Record.ID), text)
}

// sequence is that of a job: the next one for a new job.
func (j *journal) sequence(id string) int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	if _, known := j.sequences[id]; !known {
		j.last++
		j.sequences[id] = j.last
	}
	return j.sequences[id]
}

// know takes over the sequence of a job that is on disk.
func (j *journal) know(e *entry) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.sequences[e.Record.ID], j.last = e.Sequence, max(j.last, e.Sequence)
}

// replaceFile writes a file so that a crash leaves the old or the new one, whole
// and on disk, and at most a file .new-… beside it.
func replaceFile(path string, text []byte) (err error) {
	directory := filepath.Dir(path)
	file, err := os.CreateTemp(directory, ".new-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(file.Name()))
		}
	}()
	_, errWrite := file.Write(text)
	errSync := file.Sync()
	if err := errors.Join(errWrite, errSync, file.Close()); err != nil {
		return err
	}
	if err := os.Rename(file.Name(), path); err != nil {
		return err
	}
	return syncDirectory(directory)
}

func (j *journal) remove(id string) error {
	j.mu.Lock()
	delete(j.sequences, id)
	j.mu.Unlock()
	if err := os.Remove(j.path(id)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("trim journal: %w", err)
	}
	return nil
}

// load reads all entries, oldest first. A file that cannot be read is an error
// that names it, beside the entries of the others: guessing about an earlier job
// is worse than not starting.
func (j *journal) load() ([]entry, error) {
	files, err := os.ReadDir(j.directory)
	if err != nil {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	var entries []entry
	var faults []error
	for _, file := range files {
		path := filepath.Join(j.directory, file.Name())
		if strings.HasPrefix(file.Name(), ".new-") {
			faults = append(faults, os.Remove(path))
			continue
		}
		e, err := readEntry(path)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		j.know(e)
		entries = append(entries, *e)
	}
	slices.SortFunc(entries, byAge)
	if err := errors.Join(faults...); err != nil {
		return entries, fmt.Errorf("read journal: %w", err)
	}
	return entries, nil
}

// place is where a job stands in the order of all. The zero place is before any job.
type place struct {
	sequence int64
	id       string
}

func (a place) compare(b place) int {
	// UUIDv7 are in order of time, as long as the clock is.
	return cmp.Or(cmp.Compare(a.sequence, b.sequence), strings.Compare(a.id, b.id))
}

// place is that of a job.
func (j *journal) place(id string) place { return place{j.sequence(id), id} }

// byAge sorts the oldest first.
func byAge(a, b entry) int {
	return place{a.Sequence, a.Record.ID}.compare(place{b.Sequence, b.Record.ID})
}

func readEntry(path string) (*entry, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	e := new(entry)
	if err := json.Unmarshal(text, e); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if e.Version != journalVersion {
		return nil, fmt.Errorf("%s: version %d: this program reads version %d", path, e.Version, journalVersion)
	}
	if e.Record.ID+".json" != filepath.Base(path) {
		return nil, fmt.Errorf("%s: it holds job %q", path, e.Record.ID)
	}
	return e, nil
}

func syncDirectory(path string) error {
	directory, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(directory.Sync(), directory.Close())
}
