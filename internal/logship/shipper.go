package logship

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
	"github.com/pipestreamer/pipestreamer/pkg/spool"
)

const (
	// lookInterval is between two looks at files that are not done with, and
	// keptInterval when all that are left only have to become old.
	lookInterval = time.Second
	keptInterval = 15 * time.Second
	// roundPause and longestRoundPause are between two rounds while the store
	// is away.
	roundPause        = time.Second
	longestRoundPause = time.Minute
)

// Shipper ships the log and catalog backups of one database.
type Shipper struct {
	config  Config
	parts   Parts
	log     *zap.Logger
	metrics *Metrics
	arrived chan struct{}

	// These belong to the goroutine that ships: the newest sequence, the
	// sequences of the indexes that were not read, and when HANA and the store
	// may be asked.
	sequence int64
	older    []int64
	hana     hanaPause
	baseDue  time.Time

	mu      sync.Mutex
	running bool
	// stepped: there was a round that did not fail. judged is that of [Status];
	// unjudged are the names of the files that it waits for, nil before these are known.
	stepped, judged bool
	unjudged        map[string]bool
	// items are the files that stand on the volume, by name.
	items map[string]*item
	// known are the files that indexes of earlier processes name.
	known map[string]backup.LogFile
	// unproven are those in the store that HANA's catalog did not confirm, as far
	// as an index names them or this process has stored them.
	unproven map[string]backup.LogFile
	history  *history
	// base is the data backup in the store from which the log counts, nil when
	// there is none or asked is not set; baseFault is why there is no newer answer.
	base      *Base
	asked     bool
	baseFault error
	// told are the gaps that were logged.
	told    map[Gap]bool
	damaged []string
	// goodCatalog is the id of the newest catalog backup that was shipped and
	// confirmed.
	goodCatalog int64
	trouble     trouble
	unseenFor   trouble
	space       space
	// breaks are the interruptions of the log, sorted; recorded are those that the
	// store has, by milliseconds, and brokenTold is the one that was logged. rebase
	// says that there is a new one, which a data backup may have behind it.
	breaks      []backup.Break
	recorded    map[int64]bool
	breaksAsked time.Time
	newFiles    bool // have come since
	brokenTold  time.Time
	rebase      bool
	// looks is how often somebody asked to look now, breaksLook and baseLook are
	// which of these HANA and the store have answered.
	looks, breaksLook, baseLook int
}

// New checks config and parts. metrics may be shared by the Shippers of all
// databases.
func New(config Config, parts Parts, log *zap.Logger, metrics *Metrics) (*Shipper, error) {
	config = config.withDefaults()
	if err := errors.Join(config.check(), parts.check()); err != nil {
		return nil, fmt.Errorf("ship log backups: %w", err)
	}
	if parts.arrivals == nil {
		parts.arrivals = &arrivals{began: time.Now()}
	}
	s := &Shipper{
		config: config, parts: parts, metrics: metrics,
		log:     log.With(zap.String("sid", config.SID), zap.String("database", config.Database)),
		arrived: make(chan struct{}, 1),
		items:   make(map[string]*item), known: make(map[string]backup.LogFile),
		unproven: make(map[string]backup.LogFile),
		history:  newHistory(), told: make(map[Gap]bool), recorded: make(map[int64]bool),
	}
	metrics.begin(config.Database)
	return s, nil
}

// Run ships until ctx ends, and then returns nil. Whatever fails meanwhile is a
// state, see [Shipper.Status], and is tried again. It may be called once.
func (s *Shipper) Run(ctx context.Context) error {
	s.mu.Lock()
	ran := s.running
	s.running = true
	s.mu.Unlock()
	if ran {
		return errors.New("ship log backups: this shipper has run already")
	}
	var group errgroup.Group
	for _, work := range []func(context.Context){s.feed, s.ship, s.watch} {
		group.Go(func() error {
			work(ctx)
			return nil
		})
	}
	return group.Wait()
}

// feed takes the files from the volume as they come, also while the store is
// away: what waits has to be known.
func (s *Shipper) feed(ctx context.Context) {
	policy := roundPolicy()
	for ctx.Err() == nil {
		files, err := s.parts.Volume.Next(ctx)
		if err != nil {
			if ctx.Err() == nil {
				s.unseen(err)
				sleep(ctx, policy.NextBackOff())
			}
			continue
		}
		policy.Reset()
		s.unseen(nil)
		s.take(files)
		s.rouse()
	}
}

// rouse ends the rest between two rounds.
func (s *Shipper) rouse() {
	select {
	case s.arrived <- struct{}{}:
	default:
	}
}

// LookNow asks HANA soon whether the log was interrupted, and the store from which
// data backup on the log counts, which else is done at intervals only: somebody
// knows that either is another now. It does not block.
func (s *Shipper) LookNow() {
	s.update(func() { s.looks++ })
	s.rouse()
}

// unseen notes why new files cannot be seen, and that they can again.
func (s *Shipper) unseen(err error) {
	s.mu.Lock()
	before := s.unseenFor
	switch {
	case err == nil:
		s.unseenFor = trouble{}
	case before.err == nil:
		s.unseenFor = trouble{err: err, since: time.Now()}
	default:
		s.unseenFor.err = err
	}
	s.mu.Unlock()
	switch {
	case err != nil:
		s.log.Error("the volume of the log backups cannot be read", zap.Error(err))
	case before.err != nil:
		s.log.Info("the volume of the log backups can be read again", zap.Duration("after", time.Since(before.since)))
	}
}

// take notes files that stand on the volume. One that was replaced begins anew,
// with the patience that is left.
func (s *Shipper) take(files []spool.File) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range files {
		name, err := backup.ParseLogName(f.Name)
		if err != nil {
			s.log.Warn("a file that is no log backup is left alone", zap.String("file", f.Name), zap.Error(err))
			continue
		}
		before := s.items[f.Name]
		if before != nil && isSame(before.file, f) {
			continue
		}
		it := &item{file: f, name: name, record: backup.LogFile{Name: f.Name, Size: f.Size, WrittenAt: f.ModTime.UTC()}}
		if before != nil {
			it.problem, it.since, it.tries, it.notBefore = before.problem, before.since, before.tries, before.notBefore
		}
		s.items[f.Name], s.newFiles = it, true
		s.space.largest = max(s.space.largest, f.Size)
		s.parts.arrivals.add(f, time.Now())
	}
}

// ship does round after round.
func (s *Shipper) ship(ctx context.Context) {
	policy := roundPolicy()
	recalled := false
	for ctx.Err() == nil {
		err := s.step(ctx, &recalled)
		s.publish()
		if err != nil && ctx.Err() == nil {
			s.troubled(err)
			sleep(ctx, policy.NextBackOff())
			continue
		}
		policy.Reset()
		s.update(func() { s.stepped = true })
		s.rest(ctx)
	}
}

// step is one round, after the indexes were read once.
func (s *Shipper) step(ctx context.Context, recalled *bool) error {
	if !*recalled {
		if err := s.recall(ctx); err != nil {
			return err
		}
		*recalled = true
		s.helped()
	}
	if err := s.round(ctx); err != nil {
		return err
	}
	s.findBase(ctx)
	return nil
}

// rest waits for another file, or until it is time to look at the others or to
// ask the store.
func (s *Shipper) rest(ctx context.Context) {
	timer := time.NewTimer(s.nextLook())
	defer timer.Stop()
	select {
	case <-s.arrived:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// nextLook is how long the next round may wait: not at all when one had to leave
// files.
func (s *Shipper) nextLook() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	interval := s.baseDue.Sub(now)
	for _, it := range s.items {
		if !it.stored && !it.notBefore.After(now) {
			return 0
		}
		if !it.shipped() || !it.record.Confirmed {
			interval = min(interval, lookInterval)
		}
		interval = min(interval, keptInterval)
	}
	return interval
}

// round brings every file as far as it comes. The error is the store's.
func (s *Shipper) round(ctx context.Context) error {
	errUpload := s.upload(ctx)
	s.confirm(ctx)
	s.askBreaksFirst(ctx)
	if err := s.recordBreaks(ctx); err != nil {
		return errors.Join(errUpload, err)
	}
	if err := s.index(ctx); err != nil {
		return errors.Join(errUpload, err)
	}
	errCheck := s.check(ctx)
	s.clear()
	return errors.Join(errUpload, errCheck)
}

// list returns the items for which is holds, sorted.
func (s *Shipper) list(is func(*item) bool) []*item {
	s.mu.Lock()
	defer s.mu.Unlock()
	var items []*item
	for _, it := range s.items {
		if is(it) {
			items = append(items, it)
		}
	}
	sortItems(items)
	return items
}

// update changes an item under the lock.
func (s *Shipper) update(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

func roundPolicy() *backoff.ExponentialBackOff {
	policy := backoff.NewExponentialBackOff()
	policy.InitialInterval, policy.MaxInterval = roundPause, longestRoundPause
	return policy
}

func sleep(ctx context.Context, pause time.Duration) {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
