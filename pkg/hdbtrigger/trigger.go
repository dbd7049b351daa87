package hdbtrigger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// queryTimeout bounds a SELECT, its connection and its repetitions included.
const queryTimeout = 30 * time.Second

// errClosed means that Close came before HANA's answer.
var errClosed = errors.New("the connection to HANA was closed by this program")

// Trigger is HANA behind one SYSTEMDB user. It is safe for concurrent use.
type Trigger struct {
	log     *zap.Logger
	metrics *Metrics
	short   *sql.DB // SELECTs: pooled, with a time limit
	long    *sql.DB // everything else: never pooled, no time limit

	allowParts bool

	mu      sync.Mutex // guards closed and the adding to running
	closed  bool
	closing chan struct{}
	running sync.WaitGroup
}

var _ backup.Trigger = (*Trigger)(nil)

// New checks config, the password and certificate files included, and returns
// a Trigger without connecting. Close it.
func New(config Config, log *zap.Logger, metrics *Metrics) (*Trigger, error) {
	config = config.withDefaults()
	if err := config.check(); err != nil {
		return nil, fmt.Errorf("hana: %w", err)
	}
	gate := newGate()
	pool := func(timeout time.Duration) *sql.DB {
		return sql.OpenDB(&connector{
			config: config, timeout: timeout, gate: gate, metrics: metrics, log: driverLog(log),
		})
	}
	t := &Trigger{
		log: log, metrics: metrics, short: pool(queryTimeout), long: pool(0),
		allowParts: config.AllowParts, closing: make(chan struct{}),
	}
	t.short.SetMaxOpenConns(4)
	t.short.SetMaxIdleConns(1)
	t.short.SetConnMaxIdleTime(time.Minute)
	t.short.SetConnMaxLifetime(10 * time.Minute)
	t.long.SetMaxIdleConns(-1)
	return t, nil
}

// Close closes every connection and waits until they are gone. A statement
// that still runs returns to its caller as unanswered; what HANA does with a
// backup whose client is gone is not known.
func (t *Trigger) Close() error {
	t.mu.Lock()
	if !t.closed {
		t.closed = true
		close(t.closing)
	}
	t.mu.Unlock()
	t.running.Wait()
	return errors.Join(t.short.Close(), t.long.Close())
}

// Ping reports whether HANA answers a SELECT. It may be called often: see gate
// for what keeps it from locking the user.
func (t *Trigger) Ping(ctx context.Context) error {
	return t.query(ctx, selectPing, func(func(...any) error) error { return nil })
}

// Backup issues BACKUP DATA once and returns when HANA has answered: nil or a
// *backup.HANAError. Any other error means that the answer is not known. When
// ctx ends, Backup returns its cause; the statement keeps its connection until
// HANA answers or Close is called.
func (t *Trigger) Backup(ctx context.Context, plan backup.Plan) error {
	backupData, err := backupStatement(plan)
	if err != nil {
		return err
	}
	return t.execute(ctx, backupData)
}

// Cancel looks for the running backup that carries plan's job id and asks HANA
// to cancel it, on a connection of its own. It does not wait for the end. No
// such backup, or one that is being canceled already, is not an error.
func (t *Trigger) Cancel(ctx context.Context, plan backup.Plan) error {
	id, err := t.runningID(ctx, plan)
	if err != nil || id == 0 {
		return err
	}
	cancel, err := cancelStatement(id)
	if err != nil {
		return err
	}
	cancelErr := t.execute(ctx, cancel)
	if cancelErr == nil {
		return nil
	}
	// It may have ended meanwhile, for which HANA has an error too.
	if id, err := t.runningID(ctx, plan); err == nil && id == 0 {
		return nil
	}
	return cancelErr
}

// Delete removes the backup with backupID from the catalog of plan's database;
// files are not touched. Only one that carries plan's comment is removed: a wrong
// id must not cost anybody a good backup. It is sent once, as everything that
// changes something.
func (t *Trigger) Delete(ctx context.Context, plan backup.Plan, backupID int64) error {
	entry, err := t.entry(ctx, plan)
	if err == nil && entry.BackupID != backupID {
		err = fmt.Errorf("it is not the backup of job %s, which has the backup id %d", plan.JobID, entry.BackupID)
	}
	if err != nil {
		return fmt.Errorf("delete backup %d from the catalog: %w: %w", backupID, backup.ErrNotSent, err)
	}
	remove, err := deleteStatement(plan, backupID)
	if err != nil {
		return err
	}
	return t.execute(ctx, remove)
}

// runningID is the backup id of plan's backup, or 0 when none runs.
func (t *Trigger) runningID(ctx context.Context, plan backup.Plan) (int64, error) {
	entry, err := t.entry(ctx, plan)
	if err != nil && !errors.Is(err, backup.ErrNotFound) {
		return 0, fmt.Errorf("look for the running backup of job %s: %w", plan.JobID, err)
	}
	if entry.State != backup.CatalogRunning {
		return 0, nil
	}
	return entry.BackupID, nil
}

// execute sends s once, on a new connection, and waits for the answer or for
// the end of ctx, whichever comes first.
func (t *Trigger) execute(ctx context.Context, s statement) error {
	conn, err := t.long.Conn(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w: %w", s.kind, backup.ErrNotSent, err)
	}
	// go-hdb closes the connection when the context of a statement ends, so
	// the statement gets one that ends with the Trigger only.
	statementCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	answer := make(chan error, 1)
	send := func() {
		defer cancel()
		start := time.Now()
		_, err := conn.ExecContext(statementCtx, s.text)
		err = translate(s.kind, err)
		t.metrics.statement(s.kind, start, err)
		answer <- err
		// The error is the caller's to log, if it still waits.
		t.log.Debug("statement answered", zap.String("statement", s.kind),
			zap.Duration("duration", time.Since(start)), zap.Bool("ok", err == nil))
		if err := conn.Close(); err != nil {
			t.log.Debug("close connection", zap.String("statement", s.kind), zap.Error(err))
		}
	}
	watch := func() {
		select {
		case <-t.closing:
			cancel()
		case <-statementCtx.Done():
		}
	}
	if !t.start(send, watch) {
		cancel()
		return errors.Join(fmt.Errorf("%s: %w: %w", s.kind, backup.ErrNotSent, errClosed), conn.Close())
	}
	t.log.Debug("statement sent", zap.String("statement", s.kind), zap.String("text", s.text))
	var abandoned error
	select {
	case err := <-answer:
		return err
	case <-t.closing:
		abandoned = errClosed
	case <-ctx.Done():
		abandoned = context.Cause(ctx)
	}
	select {
	case err := <-answer: // both were ready: HANA's word counts
		return err
	default:
		return fmt.Errorf("%s: no answer from HANA: %w", s.kind, abandoned)
	}
}

// start runs functions that Close waits for, unless it was called already.
func (t *Trigger) start(functions ...func()) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return false
	}
	for _, f := range functions {
		t.running.Go(f)
	}
	return true
}

// query runs a SELECT and calls each with the Scan of every row.
func (t *Trigger) query(ctx context.Context, text string, each func(scan func(...any) error) error, args ...any) (err error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	start := time.Now()
	defer func() { t.metrics.statement(kindSelect, start, err) }()

	rows, err := t.short.QueryContext(ctx, text, args...)
	if err != nil {
		return translate(kindSelect, err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		if err := each(rows.Scan); err != nil {
			return fmt.Errorf("read the answer to %s: %w", text, err)
		}
	}
	return translate(kindSelect, rows.Err())
}
