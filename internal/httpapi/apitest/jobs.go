// Package apitest has an in-memory httpapi.Jobs for tests.
package apitest

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/pipestreamer/pipestreamer/internal/access"
	"github.com/pipestreamer/pipestreamer/internal/job"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// Operator is an [access.Identify] that takes everybody for an operator.
func Operator(*http.Request) (access.Caller, error) {
	return access.Caller{Identity: "test", Role: access.Operator}, nil
}

// Jobs keeps jobs that do nothing: a test moves them with Change. It has the
// conductor's rules: one job for each database, keys, a channel that keeps the
// newest record only.
type Jobs struct {
	mu          sync.Mutex
	records     []*tracked
	draining    bool
	notReady    error
	manifests   []*backup.Manifest
	backupError error
	unreadable  []job.UnreadableManifest
	onStart     func(job.Record)
	followers   []chan []job.Record
}

type tracked struct {
	job.Record
	request     string
	subscribers []chan job.Record
}

// OnStart calls f, in a goroutine of the request, after a job was accepted.
func (j *Jobs) OnStart(f func(job.Record)) { j.mu.Lock(); defer j.mu.Unlock(); j.onStart = f }

// Drain refuses new jobs.
func (j *Jobs) Drain() { j.mu.Lock(); defer j.mu.Unlock(); j.draining = true }

// SetReady sets the answer of Ready.
func (j *Jobs) SetReady(err error) { j.mu.Lock(); defer j.mu.Unlock(); j.notReady = err }

// SetBackups sets what is in the store, newest first, or why that is unknown.
func (j *Jobs) SetBackups(err error, manifests ...*backup.Manifest) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.manifests, j.backupError = manifests, err
}

// SetUnreadable sets what cannot be read in the store.
func (j *Jobs) SetUnreadable(manifests ...job.UnreadableManifest) { j.unreadable = manifests }

// StartBackup accepts a backup.
func (j *Jobs) StartBackup(_ context.Context, r job.BackupRequest, key string) (job.Record, error) {
	by := r.RequestedBy
	r.RequestedBy = "" // it does not count when requests are compared
	jobs := j.Jobs()
	for i := range jobs {
		if other := &jobs[i]; other.Database == r.Database && other.State == job.StateLost && r.Kind == backup.KindDifferential {
			return job.Record{}, &job.LostError{Database: r.Database, JobID: other.ID, BackupID: 1700000000000}
		}
	}
	return j.start(job.Record{Action: job.ActionBackup, Database: r.Database, Kind: r.Kind, Prefix: r.Prefix, IdempotencyKey: key, RequestedBy: by}, fmt.Sprint(r))
}

// Recovery says that the newest backup can be restored.
func (j *Jobs) Recovery(ctx context.Context, database string) (job.Recovery, error) {
	m, err := j.Backup(ctx, database, job.Latest)
	if err != nil {
		return job.Recovery{}, err
	}
	return job.Recovery{Database: m.Database, Point: m.Catalog.StartedAt}, nil
}

// StartRestore accepts a restore.
func (j *Jobs) StartRestore(ctx context.Context, r job.RestoreRequest, key string) (job.Record, error) {
	by := r.RequestedBy
	r.RequestedBy = "" // it does not count when requests are compared
	if _, err := j.Backup(ctx, r.Database, cmp.Or(r.Backup, job.Latest)); err != nil {
		return job.Record{}, err
	}
	return j.start(job.Record{Action: job.ActionRestore, Database: r.Database, IdempotencyKey: key, RequestedBy: by}, fmt.Sprint(r))
}

// StartVerification accepts a verification.
func (j *Jobs) StartVerification(ctx context.Context, r job.VerificationRequest, key string) (job.Record, error) {
	by := r.RequestedBy
	r.RequestedBy = "" // it does not count when requests are compared
	if _, err := j.Backup(ctx, r.Database, r.Backup); err != nil {
		return job.Record{}, err
	}
	return j.start(job.Record{Action: job.ActionVerification, Database: r.Database, IdempotencyKey: key, RequestedBy: by}, fmt.Sprint(r))
}

// StartProbe accepts a probe.
func (j *Jobs) StartProbe(_ context.Context, r job.ProbeRequest, key string) (job.Record, error) {
	by := r.RequestedBy
	r.RequestedBy = "" // it does not count when requests are compared
	report := &job.ProbeReport{MaxSize: r.MaxSize}
	return j.start(job.Record{Action: job.ActionProbe, Database: r.Database, Probe: report, IdempotencyKey: key, RequestedBy: by}, fmt.Sprint(r))
}

func (j *Jobs) start(record job.Record, request string) (job.Record, error) {
	database, err := backup.ParseDatabase(record.Database)
	if err != nil {
		return job.Record{}, &job.FieldError{Field: "database", Err: err}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.draining {
		return job.Record{}, job.ErrDraining
	}
	for _, other := range j.records {
		if record.IdempotencyKey != "" && other.IdempotencyKey == record.IdempotencyKey {
			if other.request == request {
				return other.Record, nil
			}
			return job.Record{}, &job.ConflictError{Key: record.IdempotencyKey, JobID: other.ID}
		}
		if other.Database == database && !other.State.Terminal() {
			return job.Record{}, &job.BusyError{Database: database, JobID: other.ID}
		}
	}
	record.ID, record.SID, record.Database = "job-"+strconv.Itoa(len(j.records)+1), "HXE", database
	record.State, record.Stage, record.StartedAt = job.StateRunning, job.StagePlan, time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	j.records = append(j.records, &tracked{Record: record, request: request})
	if j.onStart != nil {
		go j.onStart(record)
	}
	return record, nil
}

// Change changes a job's record and tells its subscribers.
func (j *Jobs) Change(id string, change func(*job.Record)) {
	j.mu.Lock()
	defer j.mu.Unlock()
	t, err := j.find(id)
	if err != nil || t.State.Terminal() {
		return
	}
	change(&t.Record)
	for _, follower := range j.followers {
		var waiting []job.Record
		select {
		case waiting = <-follower:
		default:
		}
		waiting = slices.DeleteFunc(waiting, func(r job.Record) bool { return r.ID == id })
		follower <- append(waiting, t.Record)
	}
	for _, subscriber := range t.subscribers {
		select {
		case <-subscriber:
		default:
		}
		subscriber <- t.Record
		if t.State.Terminal() {
			close(subscriber)
		}
	}
	if t.State.Terminal() {
		t.subscribers = nil
	}
}

// Finish ends a job in state.
func (j *Jobs) Finish(id string, state job.State) {
	j.Change(id, func(r *job.Record) { r.State, r.FinishedAt = state, r.StartedAt.Add(time.Minute) })
}

func (j *Jobs) find(id string) (*tracked, error) {
	for _, t := range j.records {
		if t.ID == id {
			return t, nil
		}
	}
	return nil, job.ErrUnknownJob
}

// Jobs lists the jobs.
func (j *Jobs) Jobs() []job.Record {
	j.mu.Lock()
	defer j.mu.Unlock()
	var list []job.Record
	for _, t := range slices.Backward(j.records) {
		list = append(list, t.Record)
	}
	return list
}

// Job returns one.
func (j *Jobs) Job(id string) (job.Record, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	t, err := j.find(id)
	if err != nil {
		return job.Record{}, err
	}
	return t.Record, nil
}

// Cancel ends a job as canceled, at once.
func (j *Jobs) Cancel(id string) error {
	r, err := j.Job(id)
	if err != nil {
		return err
	}
	if r.State.Terminal() {
		return job.ErrFinished
	}
	j.Finish(id, job.StateCanceled)
	return nil
}

// Subscribe follows a job.
func (j *Jobs) Subscribe(id string) (<-chan job.Record, func(), error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	t, err := j.find(id)
	if err != nil {
		return nil, nil, err
	}
	records := make(chan job.Record, 1)
	records <- t.Record
	if t.State.Terminal() {
		close(records)
		return records, func() {}, nil
	}
	t.subscribers = append(t.subscribers, records)
	return records, func() {
		j.mu.Lock()
		defer j.mu.Unlock()
		t.subscribers = slices.DeleteFunc(t.subscribers, func(c chan job.Record) bool { return c == records })
	}, nil
}

// SubscribeAll follows all jobs.
func (j *Jobs) SubscribeAll() (<-chan []job.Record, func()) {
	j.mu.Lock()
	defer j.mu.Unlock()
	batches := make(chan []job.Record, 1)
	var running []job.Record
	for _, t := range j.records {
		if !t.State.Terminal() {
			running = append(running, t.Record)
		}
	}
	if len(running) > 0 {
		batches <- running
	}
	j.followers = append(j.followers, batches)
	return batches, func() {
		j.mu.Lock()
		defer j.mu.Unlock()
		j.followers = slices.DeleteFunc(j.followers, func(c chan []job.Record) bool { return c == batches })
	}
}

// Followers counts those who follow all jobs.
func (j *Jobs) Followers() int { j.mu.Lock(); defer j.mu.Unlock(); return len(j.followers) }

// Subscribers counts those who follow a job.
func (j *Jobs) Subscribers(id string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	t, err := j.find(id)
	if err != nil {
		return 0
	}
	return len(t.subscribers)
}

// Backups lists the backups of a database, or all.
func (j *Jobs) Backups(_ context.Context, database string) (job.BackupList, error) {
	manifests, err := j.of(database)
	list := job.BackupList{Unreadable: j.unreadable}
	for _, m := range manifests {
		list.Backups = append(list.Backups, job.SummaryOf(m))
	}
	return list, err
}

// of returns the manifests of a database, or all.
func (j *Jobs) of(database string) ([]*backup.Manifest, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if database != "" {
		if _, err := backup.ParseDatabase(database); err != nil {
			return nil, &job.FieldError{Field: "database", Err: err}
		}
	}
	var list []*backup.Manifest
	for _, m := range j.manifests {
		if database == "" || m.Database == database {
			list = append(list, m)
		}
	}
	return list, j.backupError
}

// Backup returns one.
func (j *Jobs) Backup(_ context.Context, database, id string) (*backup.Manifest, error) {
	list, err := j.of(database)
	if err != nil {
		return nil, err
	}
	for _, m := range list {
		if id == "latest" || strconv.FormatInt(m.BackupID, 10) == id {
			return m, nil
		}
	}
	return nil, fmt.Errorf("backup %s of %s: %w", id, database, backup.ErrNotFound)
}

// Ready answers what SetReady set.
func (j *Jobs) Ready(context.Context) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.notReady
}
