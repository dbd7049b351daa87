package job

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// DefaultProbeSize is how large a database may be that is probed.
const DefaultProbeSize = 8 << 30

// ProbeRequest asks for a probe.
type ProbeRequest struct {
	Database string `json:"database"`
	// MaxSize in bytes refuses a database that HANA estimates to be larger. 0 is
	// DefaultProbeSize.
	MaxSize int64 `json:"max_size,omitempty"`
	// RequestedBy is as in BackupRequest.
	RequestedBy string `json:"-"`
}

// ProbeReport is what a probe has seen of HANA.
type ProbeReport struct {
	// MaxSize is the largest estimate in bytes that was allowed.
	MaxSize     int64  `json:"max_size"`
	HANAVersion string `json:"hana_version,omitempty"`
	// Recommendation is the door that suits this HANA, empty while it is not
	// known. Reason says why, in a sentence.
	Recommendation Door   `json:"recommendation,omitempty"`
	Reason         string `json:"reason,omitempty"`
	// Attempts are the backups that were made for it: a second one through files
	// when HANA refused the pipes.
	Attempts []ProbeAttempt `json:"attempts,omitempty"`
}

// ProbeAttempt is one BACKUP DATA of a probe.
type ProbeAttempt struct {
	// Door says what was offered to HANA: auto, or spool when there were no
	// pipes.
	Door     Door  `json:"door"`
	State    State `json:"state"`
	BackupID int64 `json:"backup_id,omitempty"`
	// Error is why it did not succeed.
	Error string `json:"error,omitempty"`
	// FirstByteSeconds passed from the statement to the first byte in a pipe,
	// AnswerSeconds from the end of the last pipe to HANA's answer, and
	// TotalSeconds from the statement to the answer. The first two are 0 when no
	// byte came through a pipe.
	FirstByteSeconds float64 `json:"first_byte_seconds"`
	AnswerSeconds    float64 `json:"answer_seconds"`
	TotalSeconds     float64 `json:"total_seconds"`
	// NamesUnseen says why the names are not known under which HANA wrote files.
	NamesUnseen string        `json:"names_unseen,omitempty"`
	Streams     []ProbeStream `json:"streams"`
}

// The names under which HANA may open a file.
const (
	NameHidden = "hidden" // ".<file>"
	NameFinal  = "final"
)

// ProbeStream is what HANA did with one file.
type ProbeStream struct {
	backup.StreamID
	Service string `json:"service,omitempty"`
	// Extra says that the plan did not name it.
	Extra bool `json:"extra,omitempty"`
	// Opened is the name that HANA opened, NameHidden or NameFinal, empty when
	// that was not seen. Renamed says that it gave the hidden one its final name.
	Opened  string `json:"opened,omitempty"`
	Renamed bool   `json:"renamed"`
	// Door is where the bytes came through, empty when none did.
	Door string `json:"door,omitempty"`
	// Opens counts the openings with bytes, EmptyOpens those without, and
	// DirectOpens those among them that the kernel refused because of O_DIRECT.
	// The last two are of pipes and "at least".
	Opens       int `json:"opens"`
	EmptyOpens  int `json:"empty_opens"`
	DirectOpens int `json:"direct_opens"`
	// Bypass says in words how HANA wrote past the pipe.
	Bypass string `json:"bypass,omitempty"`
	// Bytes have come, CatalogBytes is BACKUP_SIZE, absent without a row of the
	// catalog.
	Bytes        int64  `json:"bytes"`
	CatalogBytes *int64 `json:"catalog_bytes,omitempty"`
	// Header says what is wrong with the first bytes, empty when they carry this
	// backup and volume. DatabaseUUID is what they carry besides.
	Header       string `json:"header,omitempty"`
	DatabaseUUID string `json:"database_uuid,omitempty"`
}

// StartProbe admits a probe: one complete backup that is kept. Errors are those
// of StartBackup.
func (c *Conductor) StartProbe(ctx context.Context, r ProbeRequest, key string) (Record, error) {
	database, err := backup.ParseDatabase(r.Database)
	if err != nil {
		return Record{}, &FieldError{Field: "database", Err: err}
	}
	if r.MaxSize < 0 {
		return Record{}, &FieldError{Field: "max_size", Err: fmt.Errorf("%d: expected a number of bytes, or 0 for %d", r.MaxSize, int64(DefaultProbeSize))}
	}
	if r.MaxSize == 0 {
		r.MaxSize = DefaultProbeSize
	}
	if err := c.checkStarted(ctx, database, key); err != nil {
		return Record{}, err
	}
	if err := c.checkDatabase(ctx, "database", database, key); err != nil {
		return Record{}, err
	}
	record := Record{
		Action: ActionProbe, Database: database, Kind: backup.KindComplete, Prefix: defaultPrefix("probe", database, time.Now()),
		Probe: &ProbeReport{MaxSize: r.MaxSize}, IdempotencyKey: key, RequestedBy: r.RequestedBy,
	}
	return c.start(record, fmt.Sprintf("probe %s %d", database, r.MaxSize), c.probe) //nolint:contextcheck // a job outlives the request that asked for it
}

// probe makes the backup, draws the conclusion and remembers it.
func (c *Conductor) probe(ctx context.Context, j *live) verdict {
	v := c.backup(ctx, j)
	record := j.snapshot()
	report := *record.Probe
	if v.state != StateSucceeded {
		report.Reason = "the backup of the probe did not succeed, so it recommends nothing"
		j.update(func(record *Record) { record.Probe = &report })
		return v
	}
	var refused bool
	report.Recommendation, refused, report.Reason = recommend(report.Attempts)
	j.update(func(record *Record) { record.Probe = &report })
	err := c.doors.learn(DoorKnowledge{
		Refused: refused, Job: record.ID, At: time.Now().UTC(), Recommendation: report.Recommendation, Summary: report.Reason,
	})
	if err != nil {
		c.log.Warn("what the probe has found is not remembered", zap.Error(err))
		j.warn("what the probe has found is not remembered: " + err.Error())
	}
	return v
}

// recommend draws the conclusion from the attempts of a probe that succeeded. It
// reports refused for a HANA with which pipes need not be tried again.
func recommend(attempts []ProbeAttempt) (door Door, refused bool, reason string) {
	last := attempts[len(attempts)-1]
	planned, piped, extra := 0, 0, 0
	for i := range last.Streams {
		switch s := &last.Streams[i]; {
		case s.Extra:
			extra++
		case s.Door == backup.DoorFIFO:
			planned, piped = planned+1, piped+1
		default:
			planned++
		}
	}
	switch {
	case last.Door == DoorSpool:
		return DoorSpool, true, "This HANA opens its files with O_DIRECT only, which pipes refuse: every backup has to come through files on the volume."
	case piped == 0:
		return DoorSpool, false, fmt.Sprintf("This HANA wrote all %d files past their pipes, to the volume: pipes are of no use to it.", planned)
	case piped < planned:
		return DoorAuto, false, fmt.Sprintf("This HANA wrote %d of %d files past their pipes, to the volume, from where only auto takes them.", planned-piped, planned)
	case extra > 0:
		return DoorAuto, false, fmt.Sprintf("This HANA used every pipe, and wrote more files (%d) for which nobody could make one: only auto takes them from the volume.", extra)
	default:
		return DoorFIFO, false, "This HANA wrote every file into its pipe, which keeps complete backups off the volume. auto, the default, does the same and also takes deltas, whose names are not known before: leave it at auto unless you make none."
	}
}

// checkProbeSize refuses to probe a large database: the backup is a real one.
func (r *backupRun) checkProbeSize(record Record) *Error {
	if record.Probe == nil {
		return nil
	}
	var estimate int64
	for i := range r.plan.Streams {
		estimate += r.plan.Streams[i].EstimatedSize
	}
	if estimate <= record.Probe.MaxSize {
		return nil
	}
	e := newError(StagePlan, CodePlan, fmt.Errorf("a probe backs up the whole database, and HANA estimates %d bytes for %s: more than the %d that are allowed",
		estimate, r.plan.Database, record.Probe.MaxSize))
	e.Hint = "Probe a small database, usually SYSTEMDB, or allow more (--max-size)."
	return e
}

// watchProbe begins to watch what HANA does with the names of the files.
func (r *backupRun) watchProbe(record Record) {
	if record.Probe == nil {
		return
	}
	r.watch = new(probeWatch)
	r.watch.names, r.watch.err = watchNames(r.plan.Directory)
}

// reportProbe adds what an attempt has seen to the report of a probe.
func (r *backupRun) reportProbe(e evidence, v verdict) {
	if r.watch == nil {
		return
	}
	seen := r.watch.end(e.plan.Owns)
	attempt := ProbeAttempt{Door: r.source.offers(), State: v.state, BackupID: r.job.snapshot().BackupID, Streams: []ProbeStream{}}
	if v.cause != nil {
		attempt.Error = v.cause.Error()
	}
	if r.watch.err != nil {
		attempt.NamesUnseen = r.watch.err.Error()
	}
	attempt.FirstByteSeconds, attempt.AnswerSeconds, attempt.TotalSeconds = r.watch.times(e.streams)
	pipes := make(map[backup.StreamID]backup.StreamReport)
	if r.source.pipes != nil {
		for _, p := range r.source.pipes.Report() { //nolint:gocritic // seldom called
			pipes[p.StreamID] = p
		}
	}
	late := make(map[backup.StreamID]bool)
	for _, t := range r.transfers() {
		late[t.stream.StreamID] = t.late
	}
	for i := range e.streams {
		s := probeStream(e, &e.streams[i], seen)
		s.Extra = late[s.StreamID]
		s.EmptyOpens, s.DirectOpens = pipes[s.StreamID].EmptyOpens, pipes[s.StreamID].DirectOpens
		attempt.Streams = append(attempt.Streams, s)
	}
	r.job.update(func(record *Record) {
		report := *record.Probe
		report.HANAVersion = r.plan.HANAVersion
		report.Attempts = append(append([]ProbeAttempt(nil), report.Attempts...), attempt)
		record.Probe = &report
	})
}

// probeStream tells of one stream what is known of it.
func probeStream(e evidence, s *streamEvidence, seen map[string]nameTrail) ProbeStream {
	file := e.plan.FileName(s.stream.StreamID)
	trail := seen[file]
	p := ProbeStream{
		StreamID: s.stream.StreamID, Service: s.stream.Service, Opened: trail.opened, Renamed: trail.renamed,
		Opens: s.report.Opens, Bypass: s.report.Bypass, Bytes: s.report.Bytes, DatabaseUUID: s.header.DatabaseUUID,
	}
	if s.report.Opens > 0 {
		p.Door = s.report.Door
	}
	if p.Door == backup.DoorFIFO { // it knows which of its pipes had bytes
		p.Opened = nameOf(s.report.Path, file)
	}
	if e.entry == nil {
		return p
	}
	for i := range e.entry.Files {
		if f := &e.entry.Files[i]; f.Path == e.plan.Directory+"/"+file {
			p.CatalogBytes = &f.Size
		}
	}
	if err := headerMismatch(s, e.entry.BackupID); err != nil && p.Door != "" {
		p.Header = err.Error()
	} else if p.Door != "" && p.DatabaseUUID == "" {
		p.Header = errNoUUID.Error()
	}
	return p
}

var errNoUUID = errors.New("its header carries no database UUID")
