package job

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// The words of HANA and of a store that fail. None wraps anything that the
// conductor knows.
var (
	errModelConnection = errors.New("read tcp: connection reset by peer")
	errModelRefused    = errors.New("dial tcp: connection refused")
	errModelStore      = errors.New("503 SlowDown")
)

const (
	modelSID      = "HXE"
	modelDatabase = "HXE"
	modelOther    = "SYSTEMDB"
)

// modelWorld is everything around one conductor: HANA, pipes and a store, all
// on the clock of the bubble that the world was made in.
type modelWorld struct {
	s     *modelSchedule
	born  time.Time
	state string
	hana  *modelHANA
	doors *modelDoors
	store *modelStore
	// tenant is the database as a restore sees it.
	tenant *modelTenant
	// over is closed when the world ends: whoever waits for ever lets go.
	over chan struct{}
	// actors are HANA's threads.
	actors sync.WaitGroup

	mu         sync.Mutex
	violations []string
}

func newModelWorld(s *modelSchedule, state string) *modelWorld {
	w := &modelWorld{s: s, born: time.Now(), state: state, over: make(chan struct{})}
	w.hana = &modelHANA{w: w, spec: &s.hana, runs: make(map[string]*modelRun)}
	w.doors = &modelDoors{w: w, spec: &s.door, byPrefix: make(map[string]*modelDoor)}
	w.store = newModelStore(w, &s.store)
	w.tenant = &modelTenant{w: w, spec: &s.restore}
	return w
}

// config has short limits, so that a schedule is short, and limits that differ,
// so that each can be told from the others.
func (w *modelWorld) config() Config {
	return Config{
		Tool: "model", SID: modelSID, Directory: filepath.Join(w.state, "pipes"), StateDirectory: w.state,
		ReserveTimeout: 5 * time.Second, OpenTimeout: 9 * time.Second, AnswerTimeout: 4 * time.Second,
		EndTimeout: 2 * time.Second, CommitTimeout: 6 * time.Second, CleanTimeout: 3 * time.Second,
		DeleteLost: w.s.deleteLost, StallTimeout: 3 * time.Second, IdleTimeout: 7 * time.Second, StoreTimeout: 11 * time.Second,
	}
}

func (w *modelWorld) parts() Parts {
	return Parts{
		Store: w.store, Trigger: w.hana, Recoverer: w.tenant,
		NewSource: func(bool) Source { return w.doors.open() },
		NewSink:   func() Sink { return w.tenant.sink() },
	}
}

func (w *modelWorld) conductor() (*Conductor, error) {
	return NewConductor(w.config(), w.parts(), zap.NewNop(), NewMetrics(prometheus.NewRegistry()))
}

// heal takes every fault away.
func (w *modelWorld) heal() {
	healthy := drawHealthy(w.s)
	w.hana.heal(&healthy.hana)
	w.doors.heal(&healthy.door)
	w.store.heal(&healthy.store)
	w.rename("jobs.away", "jobs")
}

func (w *modelWorld) violate(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.violations = append(w.violations, fmt.Sprintf("%8.3fs ", time.Since(w.born).Seconds())+fmt.Sprintf(format, args...))
}

// sleep waits for d and reports whether it did: it ends early with the world or
// with one of the others.
func (w *modelWorld) sleep(d time.Duration, early ...<-chan struct{}) bool {
	var first, second <-chan struct{}
	if len(early) > 0 {
		first = early[0]
	}
	if len(early) > 1 {
		second = early[1]
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-first:
	case <-second:
	case <-w.over:
	}
	return false
}

// pause is sleep for a call: it returns the cause of ctx when that ends first.
func (w *modelWorld) pause(ctx context.Context, d time.Duration) error {
	if w.sleep(d, ctx.Done()) {
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return errors.New("the world ended")
}

// hang returns when ctx or the world ends.
func (w *modelWorld) hang(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-w.over:
		return errors.New("the world ended")
	}
}

// modelBytes are what HANA writes: a header, then a pattern.
func modelBytes(header backup.Header, magic string, size int) []byte {
	text := make([]byte, max(size, 0))
	for i := range text {
		text[i] = byte(i*7 + i>>8 + header.VolumeID)
	}
	copy(text, append(append([]byte{1}, make([]byte, 15)...),
		fmt.Sprintf("[MAGIC]%s[BACKUPID]%d[VOLUMEID]%d[", magic, header.BackupID, header.VolumeID)...))
	return text
}

const modelMagic = "HANABackup - designed by SAP in Berlin"
